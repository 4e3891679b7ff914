"""The concepts chosen: folders of images, added by a dialog or dropped, and what is painted."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent, QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.concepts.model import READ_JOB, ConceptModel
from napari_cam_feedback.widgets.parts.basics import fill, plain, tight

_NAME, _COUNT = range(2)
_MAX_ROWS = 6
_PAINTED_TIP = (
    "The places painted as a concept. Everything else is blotted out, in the random images too, by the same shapes."
)


class ConceptTable(QTableWidget):
    """Names, which a double click changes, and numbers of images; takes folders that are dropped on it."""

    def __init__(self, model: ConceptModel) -> None:
        super().__init__(0, 2)
        self._model = model
        self.setHorizontalHeaderLabels(["concept", "images"])
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        header = self.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_COUNT, QHeaderView.ResizeMode.ResizeToContents)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        self.setAcceptDrops(True)
        self.setToolTip("Double click to rename; folders can be dropped here")
        self.itemChanged.connect(self._renamed)
        model.chosen.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """List what is chosen."""
        sets = self._model.sets
        with QSignalBlocker(self):
            self.setRowCount(len(sets))
            for row, chosen in enumerate(sets):
                name = QTableWidgetItem(chosen.name)
                name.setToolTip(plain(str(chosen.dataset.source or "")))
                self.setItem(row, _NAME, name)
                count = QTableWidgetItem(str(len(chosen)))
                count.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                count.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.setItem(row, _COUNT, count)
        # An empty table is a place to drop folders on.
        rows = min(max(len(sets), 2), _MAX_ROWS)
        height = self.verticalHeader().defaultSectionSize() * rows
        self.setFixedHeight(height + self.horizontalHeader().sizeHint().height() + 4)

    def chosen_names(self) -> list[str]:
        """Return the names of the selected rows."""
        rows = sorted({index.row() for index in self.selectedIndexes()})
        return [self._model.sets[row].name for row in rows]

    def _renamed(self, item: QTableWidgetItem) -> None:
        if item.column() == _NAME:
            self._model.rename(self._model.sets[item.row()].name, item.text())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Take the selected concepts off the list with Delete."""
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self._model.remove(self.chosen_names())
        else:
            super().keyPressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take what has paths."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        """Take what has paths."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Add the folders."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self._model.add(paths)


class ConceptList(QWidget):
    """The table of concepts, its buttons, and the tick for what is painted.

    Parameters
    ----------
    model : ConceptModel
        What is chosen.
    """

    def __init__(self, model: ConceptModel) -> None:
        super().__init__()
        self._model = model
        self._start = Path.home()
        self.table = ConceptTable(model)
        self.add_button = QPushButton("Add folder…")
        self.add_button.setToolTip("A folder of images is a concept; a folder of folders gives one for each")
        self.add_button.clicked.connect(self._choose)
        self.remove_button = QPushButton("Remove")
        self.remove_button.setToolTip("Take the selected concepts off the list; their images stay where they are")
        self.remove_button.clicked.connect(lambda: model.remove(self.table.chosen_names()))
        self.painted = QCheckBox()
        self.painted.setToolTip(_PAINTED_TIP)
        self.painted.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.painted_name = QLineEdit("painted")
        self.painted_name.setToolTip("What the painted places show")
        buttons = QHBoxLayout()
        buttons.addWidget(self.add_button, 1)
        buttons.addWidget(self.remove_button, 1)
        row = QHBoxLayout()
        row.addWidget(self.painted)
        row.addWidget(self.painted_name, 1)
        column = tight(QVBoxLayout(self), 4)
        fill(column, self.table, buttons, row)
        machine = model.session.jobs.phase(READ_JOB)
        self._refresh = machine.drive(start=[self.add_button], ready=lambda: model.session.project is not None)
        self.painted.toggled.connect(self.painted_name.setEnabled)
        self.painted_name.setEnabled(False)
        model.session.opened.connect(self.refresh)
        model.session.mask_changed.connect(lambda _: self.refresh())
        self.refresh()

    @property
    def painted_concept(self) -> str:
        """What the painted places are called; empty where they are no concept."""
        return (self.painted_name.text().strip() or "painted") if self.painted.isChecked() else ""

    def refresh(self) -> None:
        """Say how many images are painted."""
        session = self._model.session
        count = 0 if session.project is None else len(session.painted())
        self.painted.setText(f"What I painted ({count}), as")
        self.painted.setEnabled(count > 0)
        if not count:
            self.painted.setChecked(False)
        self._refresh()

    def _choose(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "A folder of images, or of folders", str(self._start))
        if name:
            self._start = Path(name).parent
            self._model.add([Path(name)])
