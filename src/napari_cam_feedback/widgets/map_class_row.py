"""The button for classes side by side, and the choice of which."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.map_classes import ClassLayers
from napari_cam_feedback.widgets.parts import narrow, wrapped_label
from napari_cam_feedback.widgets.state import Session

#: More cells than this are too small to see anything.
MOST = 16
_COUNTS = (2, 3, 4, 6, 9)
_FIRST = 4


class ClassRow(QWidget):
    """Shows the maps of the most probable classes, or of chosen ones, side by side.

    Parameters
    ----------
    session : Session
        Whose maps are shown.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._chosen: tuple[int, ...] = ()
        self.layers = ClassLayers(session, self)
        self.button = QPushButton("Classes side by side")
        self.button.setCheckable(True)
        self.button.setToolTip(
            "Show what speaks for each of several classes beside each other, in the same colours for the same strength"
        )
        self.which = QComboBox()
        self.which.setToolTip("Which classes are shown side by side")
        narrow(self.which, 8)
        self.status = wrapped_label()
        self.status.hide()
        row = QHBoxLayout()
        row.addWidget(self.button, 1)
        row.addWidget(self.which)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.status)
        self.button.toggled.connect(self._toggled)
        self.which.activated.connect(self._which_chosen)
        self.layers.shown.connect(self._shown)
        self.layers.described.connect(self._describe)
        session.opened.connect(self._opened)
        self._opened()

    def _opened(self) -> None:
        self._chosen = ()
        self.fill()
        self.button.setEnabled(self._session.project is not None)

    def fill(self) -> None:
        """Offer so many of the most probable classes as there are, and a choice."""
        known = len(self._session.class_names)
        counts = sorted({min(count, known) for count in _COUNTS} - {0, 1}) or [1]
        with QSignalBlocker(self.which):
            self.which.clear()
            for count in counts:
                self.which.addItem(f"all {count}" if count == known else f"top {count}", count)
            if self._chosen:
                self.which.addItem(f"{len(self._chosen)} chosen", self._chosen)
            self.which.addItem("choose …", None)
            chosen = self.which.findData(self._chosen) if self._chosen else -1
            nearest = max(place for place, count in enumerate(counts) if count <= max(_FIRST, counts[0]))
            self.which.setCurrentIndex(chosen if chosen >= 0 else nearest)
        self.layers.choose(self.which.currentData())

    def _which_chosen(self, place: int) -> None:
        value = self.which.itemData(place)
        if value is not None:
            self.layers.choose(value)
            return
        dialog = ClassChooser(self._session.class_names, self._chosen, self)
        if dialog.exec() == QDialog.DialogCode.Accepted and dialog.chosen:
            self._chosen = dialog.chosen
        self.fill()

    def _toggled(self, on: bool) -> None:
        if on:
            self.layers.show()
        else:
            self.layers.hide()

    def _shown(self, on: bool) -> None:
        with QSignalBlocker(self.button):
            self.button.setChecked(on)
        self._describe("")

    def _describe(self, sentence: str) -> None:
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))


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
        for widget in (self.filter, self.list, self.count, self.buttons):
            column.addWidget(widget)
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
        self.count.setText(f"{number} chosen" if number <= MOST else f"{number} chosen; untick some, {MOST} at most")
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(0 < number <= MOST)
