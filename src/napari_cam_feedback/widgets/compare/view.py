"""What the *Compare* dock is made of, from top to bottom; what its parts do is in `compare_widget`."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QListWidget,
    QProgressBar,
    QPushButton,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.compare.tables import ClassTable, ConfusionTable, FlipTable
from napari_cam_feedback.widgets.parts.basics import fill, linked_label, narrow, plain_label, tight, wrapped_label
from napari_cam_feedback.widgets.parts.comparison_table import ComparisonTable

#: Rows of the list of versions that are seen at once.
_LIST_ROWS = 4
_TABLE_PIXELS = 230


class CompareView(QWidget):
    """Hint, list of versions, start and stop, progress; then summary, tables, maps side by side, and saving a report."""

    def __init__(self) -> None:
        super().__init__()
        layout = tight(QVBoxLayout(self), 5, margins=(4, 6, 4, 6))

        self.hint = wrapped_label()
        layout.addWidget(self.hint)
        self.list = QListWidget()
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFixedHeight(_LIST_ROWS * (self.list.fontMetrics().height() + 6) + 6)
        layout.addWidget(self.list)

        buttons = QHBoxLayout()
        self.start_button = QPushButton("Compare")
        self.start_button.setToolTip("Measure the ticked versions on all images with labels, in the background")
        self.stop_button = QPushButton("Stop")
        buttons.addWidget(self.start_button, 2)
        buttons.addWidget(self.stop_button, 1)
        layout.addLayout(buttons)
        self.bar = QProgressBar()
        self.said = linked_label()
        fill(layout, self.bar, self.said)

        self.result_box = QWidget()
        result = tight(QVBoxLayout(self.result_box), 5)
        self.pair_row = QWidget()
        row = tight(QHBoxLayout(self.pair_row))
        self.pair_title = plain_label()
        self.pair_box = QComboBox()
        self.pair_box.setToolTip("Which of the versions the tables and maps show beside the first one")
        row.addWidget(self.pair_title)
        row.addWidget(self.pair_box, 1)
        result.addWidget(self.pair_row)
        self.summary = wrapped_label()
        result.addWidget(self.summary)
        shown = QHBoxLayout()
        self.side_button = QPushButton("Maps side by side")
        self.side_button.setCheckable(True)
        self.side_button.setToolTip("Show the current image's heatmaps before, after, and their difference in napari's grid")
        self.save_button = QPushButton("Save report…")
        self.save_button.setToolTip("Write report.html, tables (CSV, LaTeX) and pictures into a folder")
        fill(shown, self.side_button, self.save_button)
        result.addLayout(shown)
        self.item_label = wrapped_label()
        result.addWidget(self.item_label)

        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.table = ComparisonTable()
        self.classes = ClassTable()
        self.confusion = ConfusionTable()
        self.flips = FlipTable()
        measures = QWidget()
        column = tight(QVBoxLayout(measures))
        column.addWidget(self.table)
        column.addStretch(1)
        self.tabs.addTab(measures, "Measures")
        self.split_box, self.class_view = QComboBox(), _table(self.classes)
        self.tabs.addTab(_under("Images", self.split_box, self.class_view), "Classes")
        self.matrix_split_box, self.matrix_view = QComboBox(), _table(self.confusion)
        self.matrix_view.verticalHeader().show()
        self.matrix_view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        sides = "Rows: the true class. Columns: what is predicted now, and the change."
        self.tabs.addTab(_under("Images", self.matrix_split_box, self.matrix_view, sides), "Confusion")
        self.kind_box, self.flip_view = QComboBox(), _table(self.flips)
        self.flip_view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.flip_view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.flip_view.setSortingEnabled(True)
        self.flip_view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        # Its split and class begin a path, and its number ends it.
        self.flip_view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.tabs.addTab(_under("Which", self.kind_box, self.flip_view), "Changed")
        result.addWidget(self.tabs)
        layout.addWidget(self.result_box)
        layout.addStretch(1)


def _table(model: ClassTable | ConfusionTable | FlipTable) -> QTableView:
    view = QTableView()
    view.setModel(model)
    view.verticalHeader().hide()
    view.verticalHeader().setDefaultSectionSize(20)
    view.setWordWrap(False)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.setMinimumHeight(_TABLE_PIXELS)
    header = view.horizontalHeader()
    header.setMinimumSectionSize(24)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    # Names may be long, and the rest must be seen.
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return view


def _under(title: str, combo: QComboBox, view: QTableView, remark: str = "") -> QWidget:
    """Return a table with a choice above it, and a remark below."""
    narrow(combo)
    page = QWidget()
    column = tight(QVBoxLayout(page), margins=(0, 4, 0, 0))
    row = QHBoxLayout()
    row.addWidget(plain_label(title))
    row.addWidget(combo, 1)
    column.addLayout(row)
    column.addWidget(view, 1)
    if remark:
        column.addWidget(wrapped_label(remark))
    return page
