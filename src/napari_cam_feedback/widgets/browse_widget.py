"""The Browse dock: choose an item, see what the model uses in it, paint what is irrelevant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSignalBlocker, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets import item_table, shortcuts
from napari_cam_feedback.widgets.docks import open_dock
from napari_cam_feedback.widgets.item_table import ItemTable
from napari_cam_feedback.widgets.state import Session, session_of

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.evaluate import Predictions
    from napari_cam_feedback.explain import Inspection
    from napari_cam_feedback.models import Classifier

# A split up to this size is predicted without being asked for.
_PREDICT_UNASKED = 5000
_CHUNK = 128
# A class column is at most as wide as this.
_WIDEST_CLASS = "a class name"


class _ElideLeft(QStyledItemDelegate):
    """Shortens text that does not fit at its beginning."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: Any) -> None:
        """Set where the text is cut."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideLeft


_METHODS = (("cam", "CAM"), ("gradcam", "Grad-CAM"))


def predict_in_chunks(
    classifier: Classifier, dataset: Dataset, indices: np.ndarray, stop: Callable[[], bool]
) -> Iterator[tuple[int, int, Predictions]]:
    """Predict items, yielding (done, total, predictions) after every few; for a worker."""
    from napari_cam_feedback.evaluate import predict

    for start in range(0, len(indices), _CHUNK):
        if stop():
            return
        part = indices[start : start + _CHUNK]
        yield start + len(part), len(indices), predict(classifier, dataset, indices=part)


class BrowseWidget(QWidget):
    """Table of items, the current item's prediction and map, and the tools to paint with."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._session: Session = session_of(napari_viewer)
        # A table wants height; without this napari would put empty space below it.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(330)
        self._build()
        session = self._session
        session.opened.connect(self._opened)
        session.item_changed.connect(self._item_changed)
        session.view_changed.connect(self._view_changed)
        session.inspected.connect(self._inspected)
        session.prefetched.connect(self._note_prediction)
        session.mask_changed.connect(self._mask_changed)
        session.version_changed.connect(self._version_changed)
        session.message.connect(self._show_notice)
        session.autosave.status_changed.connect(self._show_mask_status)
        self._actions: dict[str, Callable[[], None]] = {
            "next_item": lambda: session.step(1),
            "previous_item": lambda: session.step(-1),
            "paint": session.paint,
            "toggle_cam": session.toggle_cam,
            "swap_class": session.swap_class,
        }
        shortcuts.bind_to_widget(self, self._actions)
        shortcuts.bind_to_viewer(session.viewer, self._actions)
        self._opened()

    # Building -------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._empty = self._build_empty()
        self._content = QWidget()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self._empty)
        layout.addWidget(self._content)
        column = QVBoxLayout(self._content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._build_filter())
        column.addWidget(self._build_table(), 1)
        column.addLayout(self._build_predict())
        column.addLayout(self._build_item())
        column.addLayout(self._build_mask())
        self.notice = _wrapped_label()
        self.notice.setObjectName("notice")
        self.notice.setStyleSheet("color: #e07b00;")
        self.notice.hide()
        column.addWidget(self.notice)
        keys = _wrapped_label(shortcuts.hint())
        keys.setStyleSheet("color: gray;")
        column.addWidget(keys)

    def _build_empty(self) -> QWidget:
        widget = QWidget()
        layout = QVBoxLayout(widget)
        layout.addWidget(_wrapped_label("Nothing is open yet. Open a sample, or a model with its images, first."))
        button = QPushButton("Open Session")
        button.clicked.connect(lambda: open_dock(self._session.viewer, "Session"))
        layout.addWidget(button)
        layout.addStretch(1)
        return widget

    def _build_filter(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(4)
        self.filter_text = QLineEdit()
        self.filter_text.setPlaceholderText("Filter by name or class")
        self.filter_text.setClearButtonEnabled(True)
        self.filter_split = QComboBox()
        self.filter_split.setToolTip("Show one split only")
        self.only_wrong = QCheckBox("wrong only")
        self.only_wrong.setToolTip("Show only items that the model gets wrong, as far as they have been predicted")
        self.only_painted = QCheckBox("painted only")
        self.only_painted.setToolTip("Show only items with a mask")
        self.count = QLabel()
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(self.filter_text, 0, 0, 1, 2)
        grid.addWidget(self.filter_split, 0, 2)
        grid.addWidget(self.only_wrong, 1, 0)
        grid.addWidget(self.only_painted, 1, 1)
        grid.addWidget(self.count, 1, 2)
        self._filter_timer = _single_shot(self, 150, self._apply_filter)
        self.filter_text.textChanged.connect(lambda: self._filter_timer.start())
        self.filter_split.currentIndexChanged.connect(self._split_chosen)
        self.only_wrong.toggled.connect(self._apply_filter)
        self.only_painted.toggled.connect(self._apply_filter)
        return grid

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
        self._refresh_timer = _single_shot(self, 400, self.model.refresh)
        return self.table

    def _build_predict(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.predict_button = QPushButton("Predict")
        self.predict_button.setToolTip("Fill in the model's predictions for the chosen split")
        self.predict_button.clicked.connect(self.predict)
        self.predict_stop = QPushButton("Stop")
        self.predict_stop.clicked.connect(lambda: self._session.jobs.stop("predict"))
        self.predict_bar = QProgressBar()
        self.predict_bar.setTextVisible(True)
        row.addWidget(self.predict_button)
        row.addWidget(self.predict_bar, 1)
        row.addWidget(self.predict_stop)
        machine = self._session.jobs.phase("predict")
        self._refresh_predict = machine.drive(
            start=[self.predict_button],
            stop=[self.predict_stop],
            ready=lambda: self._session.project is not None,
        )
        machine.changed.connect(lambda phase: self.predict_stop.setVisible(phase.busy))
        self.predict_stop.hide()
        return row

    def _build_item(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(4)
        self.previous = QPushButton(f"◀ Previous [{shortcuts.key_of('previous_item')}]")
        self.previous.clicked.connect(lambda: self._session.step(-1))
        self.next = QPushButton(f"Next [{shortcuts.key_of('next_item')}] ▶")
        self.next.clicked.connect(lambda: self._session.step(1))
        buttons = QHBoxLayout()
        buttons.addWidget(self.previous)
        buttons.addWidget(self.next)
        self.item_label = _wrapped_label()
        self.target = QComboBox()
        self.target.setToolTip("Show what speaks for this class; its probability in brackets")
        self.target.activated.connect(lambda i: self._session.set_view(target=self.target.itemData(i)))
        self.method = QComboBox()
        self.method.setToolTip("How the map is made")
        self.method.activated.connect(lambda i: self._session.set_view(method=self.method.itemData(i)))
        # Class names may be long; the dock must not grow with them.
        self.target.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.target.setMinimumContentsLength(8)
        self.target.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.method.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.method.setMinimumContentsLength(6)
        self.evidence = _wrapped_label()
        self.evidence.hide()
        chooser = QHBoxLayout()
        chooser.addWidget(QLabel("Map"))
        chooser.addWidget(self.target, 1)
        chooser.addWidget(self.method)
        grid.addLayout(buttons, 0, 0)
        grid.addWidget(self.item_label, 1, 0)
        grid.addLayout(chooser, 2, 0)
        grid.addWidget(self.evidence, 3, 0)
        return grid

    def _build_mask(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(4)
        self.paint = QPushButton(f"Paint [{shortcuts.key_of('paint')}]")
        self.paint.setToolTip(
            "Take the brush to the layer “irrelevant” and paint over what the model should not use.\n"
            "[ and ] change the brush, E erases, Ctrl+Z undoes."
        )
        self.paint.clicked.connect(self._session.paint)
        self.clear = QPushButton("Clear mask")
        self.clear.setToolTip("Remove this image's mask (Ctrl+Z in the canvas brings it back)")
        self.clear.clicked.connect(self._session.clear_mask)
        self.mask_status = _wrapped_label()
        row = QHBoxLayout()
        row.addWidget(self.paint)
        row.addWidget(self.clear)
        column.addLayout(row)
        column.addWidget(self.mask_status)
        return column

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
        with QSignalBlocker(self.filter_split):
            self.filter_split.clear()
            if dataset is not None:
                for name in dataset.split_names:
                    self.filter_split.addItem(f"{name} ({len(dataset.indices(name))})", name)
                self.filter_split.addItem(f"all ({len(dataset)})", None)
        with QSignalBlocker(self.filter_text):
            self.filter_text.clear()
        for box in (self.only_wrong, self.only_painted):
            with QSignalBlocker(box):
                box.setChecked(False)
        self._refresh_predict()
        if dataset is None:
            self.model.set_dataset(None)
            return
        self._choose_split()
        self.model.set_dataset(dataset, session.painted())
        self._fit_class_columns(dataset.class_names)
        self._fill_methods()
        self._fill_targets(None)
        self._item_changed()
        self._apply_filter()
        self._predict_unasked()

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
        split = None
        if session.dataset is not None and index is not None:
            split = str(session.dataset.splits[index])
        with QSignalBlocker(self.filter_split):
            self.filter_split.setCurrentIndex(max(0, self.filter_split.findData(split)))
        self.table.setColumnHidden(item_table.SPLIT, self.filter_split.currentData() is not None)

    def _version_changed(self) -> None:
        self.model.forget_predictions()
        self._fill_methods()
        self._fill_targets(None)
        self._predict_unasked()

    def _item_changed(self) -> None:
        session = self._session
        self.notice.hide()
        self._select_row()
        if session.inspection is None:
            self._describe_item(None)
            self._fill_targets(None)
            self._show_evidence("")
        if session.item_error is not None:
            self._show_notice(session.item_error, "error")
        for widget in (self.paint, self.clear):
            widget.setEnabled(session.index is not None and session.item_error is None)
        self._show_mask_status()

    def _view_changed(self) -> None:
        self._fill_targets(self._session.inspection)
        with QSignalBlocker(self.method):
            self.method.setCurrentIndex(max(0, self.method.findData(self._session.method)))
        if self._session.inspection is None:
            self._show_evidence("Computing the map …")

    def _inspected(self, inspection: Inspection) -> None:
        self._describe_item(inspection)
        self._fill_targets(inspection)
        self._note_prediction(inspection)
        name = self._session.class_names[inspection.target]
        nothing = f"No positive evidence: nothing in this image speaks for “{name}”."
        self._show_evidence("" if inspection.evidence else nothing)

    def _show_evidence(self, text: str) -> None:
        self.evidence.setText(text)
        self.evidence.setVisible(bool(text))

    def _note_prediction(self, inspection: Inspection) -> None:
        index = np.array([inspection.index], np.int64)
        if self._session.dataset is not None:
            self.model.set_predictions(index, inspection.probabilities[None])

    def _mask_changed(self, key: str) -> None:
        dataset = self._session.dataset
        if dataset is not None and key in dataset.keys:
            self.model.set_painted(dataset.index_of(key), key in self._session.autosave.painted())
            if self.only_painted.isChecked():
                self._refresh_timer.start()
        self._show_mask_status()

    def _show_notice(self, text: str, level: str) -> None:
        if any(reason in text for reason in self._session.autosave.unsaved.values()):
            return  # the line on the mask says it already, for as long as it is so
        self.notice.setText(text)
        self.notice.setVisible(level != "info" and bool(text))

    def _show_mask_status(self) -> None:
        autosave = self._session.autosave
        unsaved = autosave.unsaved
        if unsaved:
            reason = next(iter(unsaved.values()))
            count = "1 mask" if len(unsaved) == 1 else f"{len(unsaved)} masks"
            self.mask_status.setText(f"NOT SAVED, but kept in memory and tried again ({count}): {reason}")
            self.mask_status.setStyleSheet("color: #e07b00;")
            return
        self.mask_status.setStyleSheet("")
        key = self._session.key
        if key is None or self._session.item_error is not None:
            self.mask_status.setText("")
        elif autosave.status == "saving":
            self.mask_status.setText("Saving the mask …")
        elif key in autosave.painted():
            self.mask_status.setText("Mask saved.")
        else:
            self.mask_status.setText("No mask yet: paint over what the model should not use.")

    # Filling in -----------------------------------------------------------------------------------

    def _describe_item(self, inspection: Inspection | None) -> None:
        session = self._session
        if session.dataset is None or session.index is None:
            self.item_label.setText("")
            return
        item = session.dataset.item(session.index)
        label = "unknown" if item.label is None else session.dataset.class_names[item.label]
        text = f"<b>{item.key}</b><br>true class: {label}"
        if inspection is not None:
            names = session.class_names
            sure = f"{inspection.probabilities[inspection.predicted]:.2f}"
            verdict = ""
            if item.label is not None:
                verdict = " ✓" if inspection.predicted == item.label else " ✗"
            text += f" · predicted: {names[inspection.predicted]} ({sure}){verdict}"
        else:
            text += " · predicting …" if session.item_error is None else ""
        self.item_label.setText(text)

    def _fill_methods(self) -> None:
        session = self._session
        has_head = session.classifier is not None and session.classifier.head is not None
        with QSignalBlocker(self.method):
            self.method.clear()
            for name, title in _METHODS:
                if name != "cam" or has_head:
                    self.method.addItem(title, name)
            self.method.setCurrentIndex(max(0, self.method.findData(session.method)))

    def _fill_targets(self, inspection: Inspection | None) -> None:
        """Fill the class combo, with probabilities where they are known."""
        session = self._session
        names = session.class_names
        p = None if inspection is None else inspection.probabilities
        label = None
        if session.dataset is not None and session.index is not None and session.dataset.labels[session.index] >= 0:
            label = int(session.dataset.labels[session.index])

        def text(start: str, number: int | None) -> str:
            if number is None:
                return start
            return f"{start}{names[number]}" + ("" if p is None else f" ({p[number]:.2f})")

        predicted = "predicted: " if inspection is not None else "predicted"
        rows: list[tuple[str, Any]] = [(text(predicted, None if inspection is None else inspection.predicted), "predicted")]
        rows.append((text("true: " if label is not None else "true (unknown)", label), "true"))
        rows += [(text("", number), number) for number in range(len(names))]
        with QSignalBlocker(self.target):
            # Changing texts is much faster than filling anew, with many classes.
            if self.target.count() != len(rows):
                self.target.clear()
                for line, value in rows:
                    self.target.addItem(line, value)
            else:
                for number, (line, _) in enumerate(rows):
                    self.target.setItemText(number, line)
            self.target.setCurrentIndex(max(0, self.target.findData(session.target)))

    # The person acts --------------------------------------------------------------------------------

    def _split_chosen(self) -> None:
        self._apply_filter()
        # One column less, where it says the same in every row.
        self.table.setColumnHidden(item_table.SPLIT, self.filter_split.currentData() is not None)
        if self.model.row_of(self._session.index) < 0 and len(self.model.shown):
            self._session.go_to(int(self.model.shown[0]))
        self._predict_unasked()

    def _apply_filter(self) -> None:
        self._filter_timer.stop()
        self.model.set_filter(
            text=self.filter_text.text(),
            split=self.filter_split.currentData(),
            wrong=self.only_wrong.isChecked(),
            painted=self.only_painted.isChecked(),
        )

    def _reordered(self) -> None:
        self._session.set_order(self.model.shown)
        total = 0 if self._session.dataset is None else len(self._session.dataset)
        self.count.setText(f"{len(self.model.shown)} of {total}")
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

    def _predict_unasked(self) -> None:
        if len(self._to_predict()) <= _PREDICT_UNASKED:
            self.predict()
        else:
            self._show_progress(0, 0)

    def _to_predict(self) -> np.ndarray:
        dataset = self._session.dataset
        if dataset is None:
            return np.zeros(0, np.int64)
        indices = dataset.indices(self.filter_split.currentData())
        return indices[self.model.predicted[indices] < 0]

    def predict(self) -> None:
        """Fill in the predictions that are missing in the chosen split, in the background."""
        session = self._session
        classifier, dataset, indices = session.classifier, session.dataset, self._to_predict()
        if classifier is None or dataset is None or not len(indices):
            self._show_progress(0, 0)
            return

        def step(found: tuple[int, int, Predictions]) -> None:
            done, total, predictions = found
            if session.classifier is not classifier or session.dataset is not dataset:
                session.jobs.stop("predict")
                return
            self.model.set_predictions(predictions.indices, predictions.probabilities)
            if self.model.depends_on_predictions and not self._refresh_timer.isActive():
                self._refresh_timer.start()
            self._show_progress(done, total)
            if predictions.skipped:
                self._show_notice(next(iter(predictions.skipped.values())), "warning")

        def failed(sentence: str) -> None:
            self._show_progress(0, 0)
            session.notify(sentence, "error")

        session.jobs.start(
            "predict",
            lambda stop: predict_in_chunks(classifier, dataset, indices, stop),
            on_step=step,
            on_done=lambda _: self._show_progress(0, 0),
            on_failed=failed,
            on_stopped=lambda: self._show_progress(0, 0),
            description="Predicting",
            total=len(indices),
            progress=lambda found: (found[0], found[1]),
            replace=True,
        )
        self._show_progress(0, len(indices))

    def _show_progress(self, done: int, total: int) -> None:
        if total:
            self.predict_bar.setRange(0, total)
            self.predict_bar.setValue(done)
            self.predict_bar.setFormat("%v of %m predicted")
            return
        dataset = self._session.dataset
        indices = dataset.indices(self.filter_split.currentData()) if dataset is not None else np.zeros(0, int)
        known = int((self.model.predicted[indices] >= 0).sum())
        right = known - int(self.model.wrong()[indices].sum())
        self.predict_bar.setRange(0, max(1, len(indices)))
        self.predict_bar.setValue(known)
        if known:
            self.predict_bar.setFormat(f"{right} of {known} right ({right / known:.0%})")
        else:
            self.predict_bar.setFormat("not predicted yet")


def _wrapped_label(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _single_shot(parent: QWidget, milliseconds: int, function: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(function)
    return timer
