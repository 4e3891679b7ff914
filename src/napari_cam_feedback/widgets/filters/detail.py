"""The chosen filter: its marks, its gallery as small images, the most active images, its classes, and masks from it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QScrollArea, QShortcut, QStackedWidget, QVBoxLayout, QWidget

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.filters.charts import BarPlot, HistogramPlot, class_colour
from napari_cam_feedback.widgets.filters.masking import FilterMasking
from napari_cam_feedback.widgets.filters.model import FilterModel, SurveyResult, rows_of
from napari_cam_feedback.widgets.parts.basics import fill, narrow, rich_label, single_shot, tight, wrapped_label
from napari_cam_feedback.widgets.parts.thumbnails import Group, ThumbnailPanel

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Tile
    from napari_cam_feedback.explanations.filters.gallery import GalleryPlan

JOB = "gallery"
GALLERY, TOP, CLASSES = "gallery", "top", "classes"
#: Images of the view of the most active ones.
TOP_IMAGES = 24
KEYS = {"relevant": "R", "irrelevant": "I"}


class FilterDetail(QWidget):
    """What there is to see of one filter.

    Signals
    -------
    opened : int
        A small image of this item was clicked.

    Parameters
    ----------
    model : FilterModel
        Whose chosen filter.
    """

    opened = Signal(int)

    def __init__(self, model: FilterModel) -> None:
        super().__init__()
        self.model = model
        self._shown: tuple[SurveyResult, int, str] | None = None
        self._plan: GalleryPlan | None = None
        self._tiles: list[Tile] = []
        self.title = rich_label()
        self.mark_buttons: dict[str, QPushButton] = {}
        marks = QHBoxLayout()
        for mark, key in KEYS.items():
            button = QPushButton(f"{mark.capitalize()} [{key}]")
            button.setCheckable(True)
            button.clicked.connect(lambda _=False, mark=mark: self.model.toggle(mark))
            button.setToolTip(f"Mark this filter as {mark}; press again to take the mark away")
            self.mark_buttons[mark] = button
            marks.addWidget(button)
        self.what = QComboBox()
        self.what.addItem("Gallery, most active first", GALLERY)
        self.what.addItem("The most active images", TOP)
        self.what.addItem("Its classes", CLASSES)
        narrow(self.what, 10)
        self.panel = ThumbnailPanel(model.session.viewer)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.panel)
        scroll.setMinimumHeight(120)
        viewer = model.session.viewer
        self.histogram = HistogramPlot(viewer)
        self.bars = BarPlot(viewer)
        classes = QWidget()
        charts = tight(QVBoxLayout(classes))
        charts.addWidget(self.histogram)
        self.bars_title = wrapped_label("Contribution to each class:")
        fill(charts, self.bars_title, self.bars)
        charts.addStretch(1)
        class_scroll = QScrollArea()
        class_scroll.setWidgetResizable(True)
        class_scroll.setWidget(classes)
        self.stack = QStackedWidget()
        self.stack.addWidget(scroll)
        self.stack.addWidget(class_scroll)
        self.masking = FilterMasking(model, lambda: [tile.index for tile in self.panel.tiles])
        column = tight(QVBoxLayout(self), 3, margins=(0, 2, 0, 0))
        fill(column, self.title, marks, self.what)
        column.addWidget(self.stack, 1)
        column.addWidget(self.masking)
        # Holding an arrow key in the table runs through filters; only where it stops is a gallery made.
        self._timer = single_shot(self, 120, self._fetch)
        self.what.currentIndexChanged.connect(self.refresh)
        self.panel.clicked.connect(self.opened)
        model.selected.connect(self.refresh)
        model.looked.connect(self.refresh)
        model.marked.connect(self._show_marks)
        model.session.item_changed.connect(self._item_changed)
        model.session.closing.connect(self._close)
        self.refresh()

    def bind_keys(self, widget: QWidget) -> None:
        """Let the keys of the marks work while the focus is in `widget`."""
        for mark, key in KEYS.items():
            shortcut = QShortcut(QKeySequence(key), widget)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda mark=mark: self.model.toggle(mark))

    def _close(self) -> None:
        self._shown = None
        self._timer.stop()

    def refresh(self, *_: object) -> None:
        """Show the chosen filter."""
        look, number = self.model.found, self.model.number
        self._show_marks()
        self.masking.refresh()
        if look is None or number is None:
            self._shown = None
            self.panel.show_groups([])
            self.title.setText("")
            return
        self.title.setText(self._title(look, number))
        what = self.what.currentData()
        self.stack.setCurrentIndex(1 if what == CLASSES else 0)
        if what == CLASSES:
            self._show_classes(look, number)
        elif self._shown != (look, number, what):
            self._shown = (look, number, what)
            self.panel.class_names = look.survey.features.class_names
            self._timer.start()

    def _title(self, look: SurveyResult, number: int) -> str:
        survey = look.survey
        parts = [f"<b>Filter {number}</b>"]
        if survey.ranking is not None:
            parts.append(f"rank {survey.ranking.place[number]}")
        table = survey.contributions
        if survey.dead[number]:
            parts.append("dead: silent in every image")
        elif table is not None and np.isfinite(table[:, number]).any():
            label = int(np.nanargmax(table[:, number]))
            parts.append(f"adds most to “{escape(survey.features.class_names[label])}”")
        return " · ".join(parts)

    def _show_marks(self) -> None:
        marks, number = self.model.marks, self.model.number
        mark = None if marks is None or number is None else marks.marks.get(number)
        for name, button in self.mark_buttons.items():
            button.setChecked(mark == name)
            button.setEnabled(marks is not None and number is not None)

    def _item_changed(self) -> None:
        self.panel.set_current(self.model.session.index)

    def _show_classes(self, look: SurveyResult, number: int) -> None:
        from napari_cam_feedback.explanations import class_histograms

        features = look.survey.features
        found = class_histograms(features, number)
        names = features.class_names
        lines = [(names[label], counts, class_colour(label)) for label, counts in enumerate(found.counts)]
        self.histogram.show_counts(found.edges, lines)
        table = look.survey.contributions
        self.bars_title.setVisible(table is not None)
        self.bars.show_values(names, None if table is None else table[:, number])

    # The small images -------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Make the small images in the background; they appear a batch at a time."""
        shown, session = self._shown, self.model.session
        if shown is None or self.model.found is not shown[0]:
            return
        look, number, what = shown
        self._tiles, self._plan = [], None
        self.panel.show_groups([])

        def step(found: Any) -> None:
            if self._shown != shown:
                return
            if self._plan is None:
                self._plan = found
            else:
                self._tiles += found
                self._show_tiles(what)

        session.jobs.start(
            JOB,
            lambda monitor: _gallery(look, number, what, monitor),
            on_step=step,
            on_failed=lambda sentence: session.notify(sentence, "error"),
            description=f"Gallery of filter {number}",
            replace=True,
        )

    def _show_tiles(self, what: str) -> None:
        assert self._plan is not None
        tiles = sorted(self._tiles, key=lambda tile: -tile.activation)
        if what == TOP:
            groups = [Group("The most active first; click one to see it", tiles)]
        else:
            groups = []
            for n in reversed(range(len(self._plan.rows))):
                low, high, count = self._plan.edges[n], self._plan.edges[n + 1], int(self._plan.counts[n])
                if count:
                    images = "1 image" if count == 1 else f"{count} images"
                    title = f"{low:.2g} to {high:.2g}: {images}"
                    groups.append(Group(title, [tile for tile in tiles if tile.bin == n]))
        self.panel.show_groups(groups)
        self.panel.set_current(self.model.session.index)


def _gallery(look: SurveyResult, number: int, what: str, monitor: Monitor) -> Iterator[Any]:
    """Yield the plan of a gallery, then its tiles a batch at a time; for a worker."""
    from napari_cam_feedback.explanations import top_images
    from napari_cam_feedback.explanations.filters.gallery import GalleryPlan, iterate_tiles, plan_gallery

    features = look.survey.features
    if what == TOP:
        rows = np.sort(rows_of(look, top_images(features, number, TOP_IMAGES)))
        values = features.mean[rows, number].astype(np.float64)
        plan = GalleryPlan(np.array([values.min(), values.max()]), np.array([len(rows)]), (rows,))
    else:
        plan = plan_gallery(features, number)
    yield plan
    done, total = 0, sum(len(rows) for rows in plan.rows)
    for tiles in iterate_tiles(look.classifier, look.dataset, features, number, plan, inputs=look.inputs):
        if monitor.stopped:
            return
        yield tiles
        done += len(tiles)
        monitor.progress(done, total)
