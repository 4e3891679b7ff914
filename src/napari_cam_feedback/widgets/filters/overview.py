"""All filters over all images: the look in the background, the table, and the chosen filter's gallery, classes and masks."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.filters.detail import FilterDetail
from napari_cam_feedback.widgets.filters.model import JOB, FilterModel
from napari_cam_feedback.widgets.filters.survey_table import HEADERS, MARK, NUMBER, PLACE, FilterSurveyTable
from napari_cam_feedback.widgets.parts.basics import (
    OPEN_FIRST,
    fill,
    narrow,
    plain_label,
    push_button,
    single_shot,
    tight,
    wrapped_label,
)
from napari_cam_feedback.widgets.tasks.workers import Progress

_LOOK_FIRST = (
    "One pass over the images of a split, in the background: then every filter has its gallery, its classes and its rank. "
    "The result is kept with the project."
)


class LookBar(QWidget):
    """Which split to look at, the button that starts, how far it is, and a stop."""

    def __init__(self, model: FilterModel) -> None:
        super().__init__()
        self._model, session = model, model.session
        self.split = QComboBox()
        narrow(self.split, 5)
        self.split.setToolTip("Whose images")
        self.button = push_button("Look at all images", lambda: model.look(self.split.currentText()))
        self.stop_button = push_button("Stop", model.stop)
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.stop_button.hide()
        self.bar.hide()
        row = QHBoxLayout()
        row.addWidget(self.split)
        row.addWidget(self.button, 1)
        row.addWidget(self.stop_button)
        column = tight(QVBoxLayout(self), 3)
        fill(column, row, self.bar)
        machine = session.jobs.phase(JOB)
        self.refresh = machine.drive(
            start=[self.button, self.split], stop=[self.stop_button], ready=lambda: session.project is not None
        )
        for widget in (self.stop_button, self.bar):
            machine.changed.connect(lambda phase, widget=widget: widget.setVisible(phase.busy))
        model.progressed.connect(self._progressed)

    def opened(self) -> None:
        """Offer the splits of another dataset."""
        dataset = self._model.session.dataset
        names = () if dataset is None else dataset.split_names
        if [self.split.itemText(n) for n in range(self.split.count())] != list(names):
            self.split.clear()
            self.split.addItems(list(names))
        self.refresh()

    def _progressed(self, step: Progress) -> None:
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat(f"{step.text}: %v of %m" if step.total else step.text)


class FilterOverview(QWidget):
    """The tab with all filters over all images.

    Parameters
    ----------
    model : FilterModel
        What is known.
    """

    def __init__(self, model: FilterModel) -> None:
        super().__init__()
        self.model = model
        self.look = LookBar(model)
        self.hint = wrapped_label(OPEN_FIRST)
        # Once the table has its size.
        self._scrolling = single_shot(self, 0, self._scroll)
        self.label = QComboBox()
        narrow(self.label, 8)
        self.label.setToolTip("To which class the contributions in the table are")
        self._build_table()
        self.detail = FilterDetail(model)
        chooser = QHBoxLayout()
        chooser.addWidget(plain_label("Contribution to"))
        chooser.addWidget(self.label, 1)
        self._chooser = QWidget()
        self._chooser.setLayout(chooser)
        chooser.setContentsMargins(0, 0, 0, 0)
        self.carry = push_button("", model.take_over)
        self.carry.hide()
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self.view)
        self.splitter.addWidget(self.detail)
        self.splitter.setStretchFactor(0, 2)
        self.splitter.setStretchFactor(1, 3)
        column = tight(QVBoxLayout(self), 4, margins=(0, 4, 0, 0))
        fill(column, self.look, self.hint, self.carry, self._chooser)
        column.addWidget(self.splitter, 1)
        # Where nothing is found yet, the hint stays at the top.
        self._filler = QWidget()
        column.addWidget(self._filler, 1)
        self.label.currentIndexChanged.connect(self._fill)
        model.looked.connect(self._looked)
        model.marked.connect(self._marked)
        model.selected.connect(self._select_row)
        model.failed.connect(self._failed)
        model.session.opened.connect(self._opened)
        self._opened()

    def _build_table(self) -> None:
        self.table = FilterSurveyTable()
        self.view = QTableView()
        self.view.setModel(self.table)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.view.setShowGrid(False)
        self.view.setWordWrap(False)
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 4)
        self.view.setMinimumHeight(110)
        header = self.view.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(34)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(PLACE, Qt.SortOrder.AscendingOrder)
        self.view.setSortingEnabled(True)
        self.view.selectionModel().currentRowChanged.connect(self._row_chosen)
        self.view.clicked.connect(self._clicked)
        self.table.layoutChanged.connect(self._select_row)

    # What is known ---------------------------------------------------------------------------------

    def _opened(self) -> None:
        session = self.model.session
        self.look.opened()
        with QSignalBlocker(self.label):
            self.label.clear()
            self.label.addItem("any class", None)
            for number, name in enumerate(session.class_names):
                self.label.addItem(name, number)
        self._looked()

    def _looked(self) -> None:
        survey = self.model.survey
        for widget in (self.splitter, self._chooser):
            widget.setVisible(survey is not None)
        self._filler.setVisible(survey is None)
        if self.model.session.project is None:
            self.hint.setText(OPEN_FIRST)
        elif survey is None:
            self.hint.setText(_LOOK_FIRST)
        else:
            self.hint.setText(self._summary())
        self._chooser.setVisible(survey is not None and survey.contributions is not None)
        self._fill()
        self._marked()

    def _summary(self) -> str:
        survey = self.model.survey
        assert survey is not None
        dead, count = int(survey.dead.sum()), len(survey.features)
        said = f"{survey.features.filters} filters over {count} {survey.features.split} images; {dead or 'none'} dead."
        broken = len(survey.features.skipped)
        if broken:
            said += f" {broken} {'image' if broken == 1 else 'images'} could not be read, see the step Look."
        return " ".join([said, *survey.notes])

    def _fill(self, *_: object) -> None:
        found = self.model.found
        with QSignalBlocker(self.view.selectionModel()):
            self.table.show(self.model.survey, None if found is None else found.under, self.label.currentData())
        for column in range(len(HEADERS)):
            self.view.setColumnHidden(column, column not in (NUMBER, MARK) and not self.table.known(column))
        self._select_row()

    def _marked(self) -> None:
        self.table.show_marks(self.model.marks)
        earlier = self.model.earlier
        self.carry.setVisible(earlier is not None and self.model.survey is not None)
        if earlier is not None:
            self.carry.setText(f"Take over {len(earlier.marks)} marks of another version")

    def _failed(self, sentence: str) -> None:
        self.hint.setText(sentence)

    # Choosing --------------------------------------------------------------------------------------

    def _select_row(self, *_: object) -> None:
        row = self.table.row_of(self.model.number)
        with QSignalBlocker(self.view.selectionModel()):
            if row < 0:
                self.view.clearSelection()
            else:
                self.view.selectRow(row)
        self.view.viewport().update()
        self._scrolling.start()

    def _scroll(self) -> None:
        self.view.scrollTo(self.table.index(max(self.table.row_of(self.model.number), 0), 0))

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._scrolling.start()

    def _row_chosen(self, current: QModelIndex, _: QModelIndex) -> None:
        if current.isValid():
            self.model.select(int(self.table.order[current.row()]))

    def _clicked(self, index: QModelIndex) -> None:
        """A click on a mark goes on to the next: none, irrelevant, relevant."""
        if index.column() != MARK or self.model.marks is None:
            return
        number = int(self.table.order[index.row()])
        following = {None: "irrelevant", "irrelevant": "relevant", "relevant": None}
        self.model.mark(number, following[self.model.marks.marks.get(number)])
