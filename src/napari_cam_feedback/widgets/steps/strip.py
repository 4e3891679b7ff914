"""The strip of steps: where one is and how far, and the way to any other."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from napari_cam_feedback.widgets.parts.basics import tight
from napari_cam_feedback.widgets.viewer import shortcuts
from napari_cam_feedback.widgets.viewer.docks import COMPARE, LOOK, OPEN, PAINT, RETUNE, STEPS

_TIPS = {
    OPEN: "What to work on: a sample, a model with its images, or a project",
    LOOK: "What the model uses in each image",
    PAINT: "Paint what is irrelevant; which images help most, and masks proposed for others",
    RETUNE: "Let the model learn from what is painted",
    COMPARE: "What came of it, before and after; keep it or discard it",
}
# Five stand beside each other in a narrow dock.
_STYLE = "QPushButton { padding: 5px 2px; }"


class Strip(QWidget):
    """A button for each step, of which one is pressed.

    Signals
    -------
    chosen : str
        The user wants this step.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        row = tight(QHBoxLayout(self), 2)
        for number, step in enumerate(STEPS, 1):
            button = self.buttons[step] = QPushButton(step)
            button.setCheckable(True)
            button.setStyleSheet(_STYLE)
            button.setSizePolicy(QSizePolicy.Policy.MinimumExpanding, QSizePolicy.Policy.Fixed)
            button.setToolTip(f"{_TIPS[step]} [{shortcuts.key_of(f'step_{number}')}]")
            button.clicked.connect(lambda _=False, step=step: self.chosen.emit(step))
            group.addButton(button)
            row.addWidget(button)

    def show_step(self, step: str) -> None:
        """Press the button of a step; emits nothing."""
        self.buttons[step].setChecked(True)

    def set_titles(self, titles: Mapping[str, str]) -> None:
        """Say how far each step is."""
        for step, text in titles.items():
            if self.buttons[step].text() != text:
                self.buttons[step].setText(text)
