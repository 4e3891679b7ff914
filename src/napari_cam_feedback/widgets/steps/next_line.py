"""The line that says what is sensible next, with its buttons."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout

from napari_cam_feedback.widgets.parts.basics import fill, rich_label, tight
from napari_cam_feedback.widgets.steps.standing import NextStep
from napari_cam_feedback.widgets.viewer import shortcuts

#: More are never offered.
_BUTTONS = 2


class NextLine(QFrame):
    """A sentence, and at most two buttons, which are also reached by keys.

    Signals
    -------
    wanted : Act
        A button was pressed.
    """

    wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.shown = NextStep("")
        self.sentence = rich_label()
        self.buttons = [QPushButton() for _ in range(_BUTTONS)]
        row = QHBoxLayout()
        row.setSpacing(4)
        for number, button in enumerate(self.buttons):
            button.clicked.connect(lambda _=False, number=number: self.press(number))
            row.addWidget(button, 1 if number else 2)
        self.buttons[0].setStyleSheet("font-weight: bold;")
        for button, name in zip(self.buttons, ("next_step", "other_step"), strict=True):
            button.setToolTip(f"[{shortcuts.key_of(name)}]")
        column = tight(QVBoxLayout(self), 4, margins=(4, 2, 4, 4))
        fill(column, self.sentence, row)

    def show_next(self, following: NextStep) -> None:
        """Show what is sensible next."""
        if following == self.shown:
            return
        self.shown = following
        self.sentence.setText(following.sentence)
        for number, button in enumerate(self.buttons):
            there = number < len(following.buttons)
            if there:
                button.setText(following.buttons[number][0])
            button.setVisible(there)

    def press(self, number: int = 0) -> None:
        """Do as if a button had been pressed; nothing where there is none."""
        if number < len(self.shown.buttons):
            self.wanted.emit(self.shown.buttons[number][1])
