"""The button for classes side by side, and the choice of which."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.browse.class_layers import ClassLayers
from napari_cam_feedback.widgets.parts.basics import fill, narrow, tight, wrapped_label
from napari_cam_feedback.widgets.parts.class_chooser import ClassChooser
from napari_cam_feedback.widgets.session.session import Session

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
        column = tight(QVBoxLayout(self), 2)
        fill(column, row, self.status)
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
