"""The map of the images: those that the network holds for alike lie together; a click opens one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.filters.charts import CLASS_COLOURS, class_colour
from napari_cam_feedback.widgets.filters.model import FilterModel
from napari_cam_feedback.widgets.filters.scatter import ScatterPlot
from napari_cam_feedback.widgets.parts.basics import (
    fill,
    narrow,
    plain_label,
    push_button,
    single_shot,
    tight,
    wrapped_label,
)
from napari_cam_feedback.widgets.parts.plot import GRAY
from napari_cam_feedback.widgets.tasks.workers import Progress, WorkStopped

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Embedding, Features
    from napari_cam_feedback.explanations.filters.embedding import EmbeddingMethod

JOB = "embedding"
METHODS = (("PCA", "pca"), ("t-SNE", "tsne"), ("UMAP", "umap"))
CLASS, ERROR, PAINTED, FILTER = "class", "error", "painted", "filter"
COLOURINGS = (("true class", CLASS), ("right or wrong", ERROR), ("painted", PAINTED), ("the chosen filter", FILTER))
_LOOK_FIRST = "Press “Look at all images” in the tab All images first."
#: From the least to the greatest activation, in five steps of equal numbers of images.
_SHADES = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")


class EmbeddingView(QWidget):
    """The tab with the map.

    Signals
    -------
    opened : int
        The point of this item was clicked.

    Parameters
    ----------
    model : FilterModel
        What is known.
    """

    opened = Signal(int)

    def __init__(self, model: FilterModel) -> None:
        super().__init__()
        self.model = model
        self.found: Embedding | None = None
        self._of: Features | None = None
        session = model.session
        self.method = QComboBox()
        for text, value in METHODS:
            self.method.addItem(text, value)
        narrow(self.method, 5)
        self.method.setToolTip(
            "PCA: a second at most. t-SNE and UMAP: neighbours stay neighbours; up to half a minute.\n"
            "UMAP is offered where the package umap-learn is installed."
        )
        self.button = push_button("Draw the map", self.draw)
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("End within seconds; the map drawn before stays. UMAP ends only when it is done.")
        self.stop_button.clicked.connect(self.stop)
        self.bar = QProgressBar()
        self.colour = QComboBox()
        for text, value in COLOURINGS:
            self.colour.addItem(text, value)
        narrow(self.colour, 8)
        self.said = wrapped_label(_LOOK_FIRST)
        self.plot = ScatterPlot(session.viewer)
        row = QHBoxLayout()
        row.addWidget(self.method, 1)
        row.addWidget(self.button, 2)
        row.addWidget(self.stop_button)
        colours = QHBoxLayout()
        colours.addWidget(plain_label("Colour by"))
        colours.addWidget(self.colour, 1)
        column = tight(QVBoxLayout(self), 4, margins=(0, 4, 0, 0))
        fill(column, row, colours, self.bar, self.said)
        column.addWidget(self.plot, 1)
        machine = session.jobs.phase(JOB)
        self._refresh = machine.drive(
            start=[self.button, self.method], stop=[self.stop_button], ready=lambda: model.found is not None
        )
        for widget in (self.stop_button, self.bar):
            widget.hide()
            machine.changed.connect(lambda phase, widget=widget: widget.setVisible(phase.busy))
        self._repaint = single_shot(self, 300, self._colour)
        self.colour.currentIndexChanged.connect(self._colour)
        self.plot.clicked.connect(self._clicked)
        model.looked.connect(self._looked)
        model.selected.connect(self._colour_by_filter)
        session.item_changed.connect(self._item_changed)
        session.mask_changed.connect(lambda _: self._repaint.start())
        self._looked()

    def _looked(self) -> None:
        survey = self.model.survey
        if survey is not None:
            # Only now, since asking loads torch.
            from napari_cam_feedback.explanations import umap_installed

            at = self.method.findData("umap")
            if at >= 0 and not umap_installed():
                self.method.removeItem(at)
        if survey is None or survey.features is not self._of:
            self.found, self._of = None, None
            self.plot.show_points(np.zeros((0, 2)), ())
            self.said.setText(
                _LOOK_FIRST if survey is None else f"Place the {len(survey.features)} images by what the filters see."
            )
        self._refresh()

    def draw(self) -> None:
        """Place the images, in the background."""
        survey, session = self.model.survey, self.model.session
        if survey is None or session.jobs.running(JOB):
            return
        features, method = survey.features, self.method.currentData()

        def work(monitor: Monitor) -> Embedding:
            return _placing(features, method, monitor)

        def show(found: Progress) -> None:
            self.bar.setRange(0, found.total if found.total > 1 else 0)
            self.bar.setValue(found.done)

        def done(found: Embedding) -> None:
            if self.model.survey is not None and self.model.survey.features is features:
                self._show(found, features)

        self.bar.setRange(0, 0)
        self.said.setText("Placing the images …")
        session.jobs.start(
            JOB,
            work,
            on_progress=show,
            on_done=done,
            on_failed=self.said.setText,
            on_stopped=self._stopped,
            description="Placing the images",
        )

    def stop(self) -> None:
        """Give up the map that is being made."""
        self.said.setText("Stopping …")
        self.model.session.jobs.stop(JOB)

    def _stopped(self) -> None:
        if self.model.survey is not None:
            self.said.setText("Stopped." + (" This is the map drawn before." if self.found is not None else ""))

    def _show(self, found: Embedding, features: Features) -> None:
        self.found, self._of = found, features
        names = features.class_names
        texts = [
            f"{key}\nclass {names[label] if label >= 0 else 'unknown'}, predicted {names[predicted]}"
            for key, label, predicted in zip(found.keys, found.labels.tolist(), found.predicted.tolist(), strict=True)
        ]
        self.plot.show_points(found.points, texts)
        said = f"{len(found.keys)} images"
        if len(found.keys) < len(features):
            said += f" drawn from {len(features)}"
        if found.explained is not None:
            said += f"; the axes hold {found.explained[0]:.0%} and {found.explained[1]:.0%} of the variance"
        self.said.setText(f"{said}. Click a point to see its image; the wheel enlarges.")
        self._colour()
        self._item_changed()

    def _colour_by_filter(self, _: int) -> None:
        if self.colour.currentData() == FILTER:
            self._colour()

    def _colour(self, *_: object) -> None:
        found, features = self.found, self._of
        if found is None or features is None:
            return
        by, names = self.colour.currentData(), features.class_names
        groups: list[tuple[str, str, np.ndarray]] = []
        if by == CLASS:
            few = len(names) <= len(CLASS_COLOURS)
            others = np.zeros(len(found.keys), bool)
            for label, name in enumerate(names):
                if few or label < len(CLASS_COLOURS):
                    groups.append((name, class_colour(label), found.labels == label))
                else:
                    others |= found.labels == label
            groups.insert(0, ("other classes", GRAY, others))
            groups.insert(0, ("no label", "#606060", found.labels < 0))
        elif by == ERROR:
            unknown, wrong = found.labels < 0, found.errors
            groups = [("no label", "#606060", unknown), ("right", "#56B4E9", ~wrong & ~unknown), ("wrong", "#D55E00", wrong)]
        elif by == PAINTED:
            painted = self.model.session.painted()
            which = np.array([key in painted for key in found.keys], bool)
            groups = [("not painted", GRAY, ~which), ("painted", "#FF00FF", which)]
        elif self.model.number is not None:
            values = features.mean[found.rows, self.model.number]
            bounds = np.unique(np.quantile(values, np.linspace(0, 1, len(_SHADES) + 1)[1:-1]))
            member = np.searchsorted(bounds, values, side="left")
            for step in range(len(bounds) + 1):
                which = member == step
                if which.any():
                    name = f"{values[which].min():.2g} to {values[which].max():.2g}"
                    groups.append((name, _SHADES[min(step, len(_SHADES) - 1)], which))
        self.plot.show_groups(groups)

    def _clicked(self, point: int) -> None:
        if self.found is not None:
            self.opened.emit(int(self.found.indices[point]))

    def _item_changed(self) -> None:
        index = self.model.session.index
        if self.found is None or index is None:
            return
        at = np.flatnonzero(self.found.indices == index)
        self.plot.set_current(int(at[0]) if len(at) else None)


def _placing(features: Features, method: EmbeddingMethod, monitor: Monitor) -> Embedding:
    """Place the images step by step, in a thread."""
    from napari_cam_feedback.explanations import embedding_steps

    steps = embedding_steps(features, method)
    while True:
        if monitor.stopped:
            raise WorkStopped
        try:
            done, total = next(steps)
        except StopIteration as end:
            if monitor.stopped:
                raise WorkStopped from None
            return end.value
        monitor.progress(done, total, "Placing the images")
