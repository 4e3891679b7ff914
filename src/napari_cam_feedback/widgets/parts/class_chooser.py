"""Choosing some of many classes, with a filter."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, wrapped_label

#: More cells than this are too small to see anything.
MAX_CLASSES = 16


class ClassChooser(QDialog):
    """A list of classes to tick, with a filter.

    Parameters
    ----------
    names : sequence of str
        All classes.
    chosen : sequence of int
        Those ticked at first.
    """

    def __init__(self, names: Sequence[str], chosen: Sequence[int] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Classes side by side")
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("find a class")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._filter)
        self.list = QListWidget()
        for number, name in enumerate(names):
            item = QListWidgetItem(name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if number in chosen else Qt.CheckState.Unchecked)
            self.list.addItem(item)
        self.list.itemChanged.connect(lambda _: self._count())
        self.count = wrapped_label()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        fill(column, self.filter, self.list, self.count, self.buttons)
        self._count()

    @property
    def chosen(self) -> tuple[int, ...]:
        """The classes ticked, in the classifier's order."""
        ticked = Qt.CheckState.Checked
        return tuple(row for row in range(self.list.count()) if self.list.item(row).checkState() == ticked)

    def _filter(self, text: str) -> None:
        for row in range(self.list.count()):
            item = self.list.item(row)
            item.setHidden(text.casefold() not in item.text().casefold())

    def _count(self) -> None:
        number = len(self.chosen)
        self.count.setText(
            f"{number} chosen" if number <= MAX_CLASSES else f"{number} chosen; untick some, {MAX_CLASSES} at most"
        )
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(0 < number <= MAX_CLASSES)
