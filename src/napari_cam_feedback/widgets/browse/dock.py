"""The page *Look*: choose an item, see what the model uses in it, paint what is irrelevant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSignalBlocker, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.browse import item_table
from napari_cam_feedback.widgets.browse.item_filter import ItemFilter
from napari_cam_feedback.widgets.browse.item_table import ItemTable
from napari_cam_feedback.widgets.browse.item_view import ItemView
from napari_cam_feedback.widgets.browse.map_writer import MapWriter
from napari_cam_feedback.widgets.browse.mask_row import MaskRow
from napari_cam_feedback.widgets.browse.predict_bar import PredictBar
from napari_cam_feedback.widgets.parts.basics import fill, push_button, single_shot, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.viewer.docks import OPEN, open_step

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation

# A class column is at most as wide as this.
_WIDEST_CLASS = "a class"


class _ElideLeft(QStyledItemDelegate):
    """Shortens text that does not fit at its beginning."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: Any) -> None:
        """Set where the text is cut."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideLeft


class BrowseWidget(QWidget):
    """Table of items, the current item's prediction and map, and the tools to paint with."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._session: Session = dock_session(napari_viewer, self)
        # A table wants height; without this napari would put empty space below it.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(330)
        self._build()
        session = self._session
        session.opened.connect(self._opened)
        session.item_changed.connect(self._item_changed)
        session.view_changed.connect(self.item.view_changed)
        session.explained.connect(self._explained)
        session.prefetched.connect(self._note_prediction)
        session.mask_changed.connect(self._mask_changed)
        session.version_changed.connect(self._version_changed)
        session.message.connect(self._show_notice)
        self._opened()

    # Building -------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._empty = self._build_empty()
        self._content = QWidget()
        layout = tight(QVBoxLayout(self), margins=4)
        fill(layout, self._empty, self._content)
        column = tight(QVBoxLayout(self._content), 4)
        self.filter = ItemFilter()
        self.filter.changed.connect(self._apply_filter)
        self.filter.split_changed.connect(self._split_chosen)
        column.addWidget(self.filter)
        column.addWidget(self._build_table(), 1)
        self.predicting = PredictBar(self._session, self.model, lambda: self.filter.split)
        self.predicting.predicted.connect(self._predicted)
        column.addWidget(self.predicting)
        self.item = ItemView(self._session)
        column.addWidget(self.item)
        self.mask_row = MaskRow(self._session)
        self.paint, self.clear = self.mask_row.paint, self.mask_row.clear
        column.addWidget(self.mask_row)
        self.writer = MapWriter(self._session)
        self.writer_fold = Fold("Write the maps of a split", self.writer)
        column.addWidget(self.writer_fold)
        # On a small screen there is room for one of the two beside the table.
        for fold, other in ((self.writer_fold, self.item.display_fold), (self.item.display_fold, self.writer_fold)):
            fold.toggled.connect(lambda opened, other=other: other.set_opened(False) if opened else None)
        self.notice = wrapped_label(tone="warning")
        self.notice.setObjectName("notice")
        self.notice.hide()
        column.addWidget(self.notice)

    def _build_empty(self) -> QWidget:
        widget = QWidget()
        layout = QVBoxLayout(widget)
        layout.addWidget(wrapped_label("Nothing is open yet. Open a sample, or a model with its images, first."))
        button = push_button("Open …", lambda: open_step(self._session.viewer, OPEN))
        layout.addWidget(button)
        layout.addStretch(1)
        return widget

    def _build_table(self) -> QTableView:
        self.model = ItemTable(self)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setTextElideMode(Qt.TextElideMode.ElideRight)
        # Of a path the end tells the images apart, of a class name the beginning.
        self.table.setItemDelegateForColumn(item_table.KEY, _ElideLeft(self.table))
        self.table.setWordWrap(False)
        self.table.setShowGrid(False)
        self.table.setAlternatingRowColors(False)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        self.table.setMinimumHeight(110)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(item_table.KEY, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(30)
        for column, text in enumerate(item_table.HEADERS):
            if column != item_table.KEY:
                width = self.fontMetrics().horizontalAdvance("test-clean" if column == 1 else text) + 14
                self.table.setColumnWidth(column, width)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.table.setSortingEnabled(True)
        self.table.selectionModel().currentRowChanged.connect(self._row_chosen)
        self.model.layoutChanged.connect(self._reordered)
        self.model.modelReset.connect(self._reordered)
        # Predictions stream in; sorting by them again for every few would make the table jump.
        self._refresh_timer = single_shot(self, 400, self.model.refresh)
        return self.table

    # The session speaks -----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Let the session know the window, so that it can save before that closes."""
        super().showEvent(event)
        self._session.watch(self)

    def _opened(self) -> None:
        session = self._session
        dataset = session.dataset
        self._empty.setVisible(dataset is None)
        self._content.setVisible(dataset is not None)
        self.notice.hide()
        self.filter.set_dataset(dataset)
        self.predicting.opened()
        if dataset is None:
            self.model.set_dataset(None)
            return
        self._choose_split()
        self.model.set_dataset(dataset, session.painted())
        self._fit_class_columns(dataset.class_names)
        self.item.fill_methods()
        self.item.fill_targets(None)
        self._item_changed()
        if session.explanation is not None:  # the dock is opened after the item
            self.item.explained(session.explanation)
        self._apply_filter()
        self.predicting.predict_unasked()

    def _fit_class_columns(self, names: tuple[str, ...]) -> None:
        advance = self.fontMetrics().horizontalAdvance
        longest = max((advance(name) for name in names), default=0)
        for column in (item_table.LABEL, item_table.PREDICTION):
            width = max(advance(item_table.HEADERS[column]), min(longest, advance(_WIDEST_CLASS)))
            self.table.setColumnWidth(column, width + 14)

    def _choose_split(self) -> None:
        """Begin in the split of the item that is shown first."""
        session = self._session
        index = session.start_index() if session.index is None else session.index
        known = session.dataset is not None and index is not None
        self.filter.set_split(str(session.dataset.splits[index]) if known and session.dataset is not None else None)
        self.table.setColumnHidden(item_table.SPLIT, self.filter.split is not None)

    def _version_changed(self) -> None:
        self.model.forget_predictions()
        self.item.fill_methods()
        self.item.fill_targets(None)
        self.predicting.predict_unasked()

    def _item_changed(self) -> None:
        session = self._session
        self.notice.hide()
        self._select_row()
        self.item.item_changed()
        if session.item_error is not None:
            self._show_notice(session.item_error, "error")

    def _explained(self, explanation: Explanation) -> None:
        self.item.explained(explanation)
        self._note_prediction(explanation)

    def _note_prediction(self, explanation: Explanation) -> None:
        index = np.array([explanation.index], np.int64)
        if self._session.dataset is not None:
            self.model.set_predictions(index, explanation.probabilities[None])

    def _predicted(self) -> None:
        if self.model.depends_on_predictions and not self._refresh_timer.isActive():
            self._refresh_timer.start()

    def _mask_changed(self, key: str) -> None:
        dataset = self._session.dataset
        if dataset is not None and key in dataset.keys:
            self.model.set_painted(dataset.index_of(key), key in self._session.autosave.painted())
            if self.filter.painted.isChecked():
                self._refresh_timer.start()

    def _show_notice(self, text: str, level: str) -> None:
        if any(reason in text for reason in self._session.autosave.unsaved.values()):
            return  # the line on the mask says it already, for as long as it is so
        self.notice.setText(text)
        self.notice.setVisible(level != "info" and bool(text))

    # The user acts --------------------------------------------------------------------------------

    def _split_chosen(self) -> None:
        # One column less, where it says the same in every row.
        self.table.setColumnHidden(item_table.SPLIT, self.filter.split is not None)
        if self.model.row_of(self._session.index) < 0 and len(self.model.shown):
            self._session.go_to(int(self.model.shown[0]))
        self.predicting.predict_unasked()

    def _apply_filter(self) -> None:
        self.model.set_filter(
            text=self.filter.text.text(),
            split=self.filter.split,
            wrong=self.filter.wrong.isChecked(),
            painted=self.filter.painted.isChecked(),
        )

    def _reordered(self) -> None:
        self._session.set_order(self.model.shown)
        total = 0 if self._session.dataset is None else len(self._session.dataset)
        self.filter.count.setText(f"{len(self.model.shown)} of {total}")
        self._select_row()

    def _select_row(self) -> None:
        row = self.model.row_of(self._session.index)
        selection = self.table.selectionModel()
        with QSignalBlocker(selection):
            if row < 0:
                selection.clear()
            else:
                flags = QItemSelectionModel.SelectionFlag
                selection.setCurrentIndex(self.model.index(row, 0), flags.ClearAndSelect | flags.Rows)
        if row >= 0:
            self.table.scrollTo(self.model.index(row, 0))
        self.table.viewport().update()

    def _row_chosen(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            self._session.go_to(int(self.model.shown[current.row()]))
