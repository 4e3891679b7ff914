"""A part of a dock that can be folded away under its title."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, tight


class Fold(QWidget):
    """A title with an arrow, and under it a content that a click shows or hides.

    superqt's collapsible fixes its height when it is opened, which cuts off content that grows afterwards, as settings do
    when another method is chosen.

    Parameters
    ----------
    title : str
        What the content is.
    content : QWidget
        What is folded away.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, content: QWidget, *, opened: bool = False) -> None:
        super().__init__()
        self.content = content
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        # A long title must not make the dock wider than it is.
        self.button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        # The theme would draw an open fold as a pressed button.
        self.button.setStyleSheet(
            "QToolButton, QToolButton:checked, QToolButton:hover"
            " { border: none; background: transparent; font-weight: bold; text-align: left; padding: 1px 0; }"
        )
        layout = tight(QVBoxLayout(self), 2)
        fill(layout, self.button, content)
        self.button.toggled.connect(self._show)
        self.button.setChecked(opened)
        self._show(opened)

    @property
    def opened(self) -> bool:
        """Whether the content is shown."""
        return self.button.isChecked()

    def set_opened(self, opened: bool) -> None:
        """Show or hide the content."""
        self.button.setChecked(opened)

    def _show(self, opened: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self.content.setVisible(opened)
        self.toggled.emit(opened)
