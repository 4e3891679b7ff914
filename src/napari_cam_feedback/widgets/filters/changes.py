"""What changed from one version of the model to another, filter by filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QModelIndex, QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.widgets.filters.charts import HistogramPlot
from napari_cam_feedback.widgets.filters.model import FOLDER, FilterModel
from napari_cam_feedback.widgets.parts.basics import fill, narrow, plain_label, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.headed_table import ROOT, HeadedTable
from napari_cam_feedback.widgets.parts.plot import COLOURS
from napari_cam_feedback.widgets.session.loading import load_version
from napari_cam_feedback.widgets.tasks.workers import Progress, WorkStopped

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Features, FilterChanges
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.consents import Consents

JOB = "filter changes"
HEADERS = ("Filter", "Before", "After", "Change", "Effect", "")
TIPS = (
    "The filter's number",
    "Mean activation over the images, before",
    "Mean activation over the images, after",
    "After less before",
    "Change in standard deviations between images (Cohen's d)",
    "died: silent in every image after; born: before",
)
_ONE_VERSION = "There is one version only. Retune the model and keep the result, then compare the two here."


@dataclass(frozen=True, eq=False)
class ComparedFeatures:
    """Two versions over the same images."""

    before: Features
    after: Features
    changes: FilterChanges
    names: tuple[str, str]


class ChangesTable(HeadedTable):
    """Filters by the size of their change, sortable by every column."""

    headers = HEADERS
    tips = TIPS

    def __init__(self) -> None:
        super().__init__()
        self._columns: list[np.ndarray] = []
        #: (F,) int64, filters as the rows show them.
        self.order = np.zeros(0, np.int64)

    def show(self, changes: FilterChanges | None) -> None:
        """Show other changes, the greatest first."""
        self.beginResetModel()
        if changes is None:
            self._columns, self.order = [], np.zeros(0, np.int64)
        else:
            state = changes.died.astype(int) - changes.born.astype(int)
            numbers = np.arange(len(changes.before))
            self._columns = [numbers, changes.before, changes.after, changes.change, changes.effect, state]
            self.order = changes.order
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, changes by their size; the first click brings the greatest to the top."""
        if not self._columns:
            return
        self.layoutAboutToBeChanged.emit()
        values = self._columns[column].astype(np.float64)
        values = values if column == 0 else -(np.abs(values) if column in (3, 4) else values)
        if order == Qt.SortOrder.DescendingOrder:
            values = -values
        self.order = np.argsort(np.nan_to_num(values, nan=np.inf), kind="stable").astype(np.int64)
        self.layoutChanged.emit()

    def rowCount(self, parent: Any = ROOT) -> int:
        return 0 if parent.isValid() else len(self.order)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        column = index.column()
        value = self._columns[column][int(self.order[index.row()])]
        if column == 0:
            return str(int(value))
        if column == 5:
            return {1: "died", -1: "born"}.get(int(value), "")
        if not np.isfinite(value):
            return ""
        return f"{value:.3g}" if column < 3 else f"{value:+.2g}"


class ChangesView(QWidget):
    """The tab that compares two versions.

    Parameters
    ----------
    model : FilterModel
        Of the dock.
    """

    def __init__(self, model: FilterModel) -> None:
        super().__init__()
        self.model = model
        self.found: ComparedFeatures | None = None
        self._layer: str | None = None
        session = model.session
        self.before, self.after, self.split = QComboBox(), QComboBox(), QComboBox()
        for combo in (self.before, self.after, self.split):
            narrow(combo, 5)
        self.button = push_button("Compare the filters", self.compare)
        self.stop_button = push_button("Stop", lambda: session.jobs.stop(JOB))
        self.stop_button.hide()
        self.bar = QProgressBar()
        self.bar.hide()
        self.said = wrapped_label(_ONE_VERSION)
        self.table = ChangesTable()
        self.view = QTableView()
        self.view.setModel(self.table)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.view.setShowGrid(False)
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 4)
        header = self.view.horizontalHeader()
        header.setMinimumSectionSize(34)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(len(HEADERS) - 1, QHeaderView.ResizeMode.ResizeToContents)
        self.view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.view.setSortingEnabled(True)
        self.view.selectionModel().currentRowChanged.connect(self._row_chosen)
        self.histogram = HistogramPlot(session.viewer, 150)
        versions = QHBoxLayout()
        for field, share in (
            (self.before, 2),
            (plain_label("→"), 0),
            (self.after, 2),
            (plain_label("on"), 0),
            (self.split, 1),
        ):
            versions.addWidget(field, share)
        buttons = QHBoxLayout()
        buttons.addWidget(self.button, 1)
        buttons.addWidget(self.stop_button)
        column = tight(QVBoxLayout(self), 4, margins=(0, 4, 0, 0))
        fill(column, versions, buttons, self.bar, self.said)
        column.addWidget(self.view, 1)
        column.addWidget(self.histogram)
        self._filler = QWidget()
        column.addWidget(self._filler, 1)
        self._show_parts()
        machine = session.jobs.phase(JOB)
        self._refresh = machine.drive(start=[self.button], stop=[self.stop_button], ready=self._ready)
        for widget in (self.stop_button, self.bar):
            machine.changed.connect(lambda phase, widget=widget: widget.setVisible(phase.busy))
        for combo in (self.before, self.after):
            combo.currentIndexChanged.connect(lambda *_: self._refresh())
        session.opened.connect(self.opened)
        session.version_changed.connect(self.opened)
        session.versions_changed.connect(self.opened)
        self.opened()

    def _ready(self) -> bool:
        return self.before.currentIndex() >= 0 and self.before.currentText() != self.after.currentText()

    def opened(self) -> None:
        """Offer the versions and splits of the project that is open."""
        session = self.model.session
        project, classifier = session.project, session.classifier
        versions = () if project is None else project.available
        names = [version.id for version in versions]
        splits = [] if session.dataset is None else list(session.dataset.split_names)
        self._fill(self.before, names)
        self._fill(self.after, names)
        self._fill(self.split, splits)
        if project is not None:
            current = project.current
            self.after.setCurrentText(current.id)
            self.before.setCurrentText(current.parent if current.parent in names else names[0])
        layer = None if classifier is None else classifier.target_layer
        if self.found is not None and (project is None or self.found.names[1] not in names or layer != self._layer):
            self._show(None)
        self._layer = layer
        if self.found is None:
            self.said.setText(_ONE_VERSION if len(names) < 2 else "Which filters did the retune change, and which died?")
        self._refresh()

    @staticmethod
    def _fill(combo: QComboBox, names: list[str]) -> None:
        if [combo.itemText(n) for n in range(combo.count())] != names:
            combo.clear()
            combo.addItems(names)

    def compare(self) -> None:
        """Look at the images of the split with both versions, in the background."""
        session = self.model.session
        project, classifier = session.project, session.classifier
        if project is None or classifier is None or session.jobs.running(JOB):
            return
        names, split = (self.before.currentText(), self.after.currentText()), self.split.currentText()
        layer, grid, device, consents = classifier.target_layer, classifier.grid, str(classifier.device), session.consents

        def work(monitor: Monitor) -> ComparedFeatures:
            return _compare(project, names, split, layer, grid, device, consents, monitor)

        def show(found: Progress) -> None:
            self.bar.setRange(0, found.total)
            self.bar.setValue(found.done)
            self.bar.setFormat(f"{found.text}: %v of %m" if found.total else found.text)

        session.jobs.start(
            JOB,
            work,
            on_progress=show,
            on_done=lambda found: self._show(found) if session.project is project else None,
            on_failed=self.said.setText,
            on_stopped=lambda: self.said.setText("Stopped; what was looked at is not kept. Compare again to go on."),
            description="Comparing filters",
        )

    def _show(self, found: ComparedFeatures | None) -> None:
        self.found = found
        with QSignalBlocker(self.view.selectionModel()):
            self.table.show(None if found is None else found.changes)
        self.histogram.show_counts(np.zeros(0), [])
        self._show_parts()
        if found is None:
            return
        changes = found.changes
        died, born = np.flatnonzero(changes.died), np.flatnonzero(changes.born)
        self.said.setText(
            f"{found.names[0]} → {found.names[1]} over {changes.images} images. Died: {_listed(died)}. "
            f"Came alive: {_listed(born)}. Choose a row to see its histograms."
        )
        self.view.selectRow(0)

    def _show_parts(self) -> None:
        for widget in (self.view, self.histogram):
            widget.setVisible(self.found is not None)
        self._filler.setVisible(self.found is None)

    def _row_chosen(self, current: QModelIndex, _: QModelIndex) -> None:
        if not current.isValid() or self.found is None:
            return
        from napari_cam_feedback.explanations import change_histograms

        number = int(self.table.order[current.row()])
        counts = change_histograms(self.found.before, self.found.after, number)
        before, after = self.found.names
        self.histogram.x_name = f"mean activation of filter {number}"
        self.histogram.show_counts(counts.edges, [(before, counts.before, COLOURS[0]), (after, counts.after, COLOURS[1])])
        self.model.select(number)


def _compare(
    project: Project,
    names: tuple[str, str],
    split: str,
    layer: str,
    grid: tuple[int, int] | None,
    device: str,
    consents: Consents,
    monitor: Monitor,
) -> ComparedFeatures:
    from napari_cam_feedback.explanations import features_of, filter_changes

    found = []
    for name in names:
        monitor.progress(0, 0, f"Loading {name}")
        classifier = load_version(project, name, device, consents)
        if classifier.target_layer != layer:
            classifier = classifier.with_layer(layer, grid=grid)
        found.append(
            features_of(
                classifier,
                project.dataset,
                split,
                cache=project.folder / FOLDER,
                monitor=Part(monitor, f"Looking with {name}"),
            )
        )
        if not found[-1].complete:
            raise WorkStopped
    return ComparedFeatures(found[0], found[1], filter_changes(found[0], found[1]), names)


def _listed(numbers: np.ndarray, most: int = 8) -> str:
    if not len(numbers):
        return "none"
    text = ", ".join(str(number) for number in numbers[:most])
    return f"{text} and {len(numbers) - most} more" if len(numbers) > most else text
