"""Before and after a retune: the table of measures, and the CAMs of the current image side by side as layers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_cam_feedback.widgets.grid import grid_of
from napari_cam_feedback.widgets.inspections import InspectionLoader
from napari_cam_feedback.widgets.layers import CAM_AFTER, CAM_BEFORE, IMAGE, find_layer, tag

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_cam_feedback.evaluate import ComparisonRow
    from napari_cam_feedback.explain import Inspection, Inspector
    from napari_cam_feedback.widgets.state import Session

OWNER = "comparison"
#: The difference of two maps in 0..1 is shown with at least this range on either side.
LEAST_LIMIT = 0.3
#: Names of the comparison layers, which are their roles too.
LAYER_NAMES = (CAM_BEFORE, CAM_AFTER, "CAM difference")

# Blue and orange are told apart with any colour vision; the arrow and the word say the same.
_BETTER, _WORSE = "#4FC3F7", "#FFB74D"
#: Measures that follow from others in the table, for which it has no room; the reports have them.
LEFT_OUT = ("gap", "random_flip_rate")
COLUMNS = ("Measure", "Before", "After", "Change")
_ROW_PIXELS = 19


def change_text(row: ComparisonRow) -> str:
    """Return the change as an arrow, a signed number and, where one direction is better, whether it is for the better."""
    if row.change is None:
        return "–"
    if abs(row.change) < 0.0005:
        return "= 0.000"
    arrow = "▲" if row.change > 0 else "▼"
    words = {True: " better", False: " worse", None: ""}[row.better]
    return f"{arrow} {row.change:+.3f}{words}"


class ComparisonTable(QTableWidget):
    """Rows of a `Comparison`, split by split: measure, before, after, change."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        # It lies in a scrolling dock and is shown whole; a bar of its own would catch the wheel.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def show_rows(self, rows: Sequence[ComparisonRow]) -> None:
        """Show these rows in place of what was shown, each split under a title."""
        from napari_cam_feedback.evaluate import MEASURES

        self.clearSpans()
        self.setRowCount(0)
        split = None
        for row in rows:
            if row.measure in LEFT_OUT:
                continue
            if row.split != split:
                split = row.split
                self._add_title(split)
            measure = MEASURES[row.measure]
            texts = (measure.short, *row.texts, change_text(row))
            meaning = f"{measure.name}, on {row.split}: {measure.meaning}"
            if measure.direction:
                meaning += f" {measure.direction.capitalize()}."
            number = self.rowCount()
            self.insertRow(number)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(meaning)
                if column in (1, 2):
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if text.endswith(("better", "worse")):
                    item.setForeground(QBrush(QColor(_BETTER if row.better else _WORSE)))
                self.setItem(number, column, item)
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + _ROW_PIXELS * self.rowCount() + 16)

    def _add_title(self, split: str) -> None:
        number = self.rowCount()
        self.insertRow(number)
        item = QTableWidgetItem(split)
        font = item.font()
        font.setBold(True)
        item.setFont(font)
        self.setItem(number, 0, item)
        self.setSpan(number, 0, 1, len(COLUMNS))

    def texts(self) -> list[tuple[str, ...]]:
        """Return what the table shows, row by row."""
        return [
            tuple("" if (item := self.item(row, column)) is None else item.text() for column in range(len(COLUMNS)))
            for row in range(self.rowCount())
        ]


@dataclass(frozen=True)
class Pair:
    """One image as two classifiers see it, with maps ready to be shown.

    Attributes
    ----------
    before, after : Inspection
        Of the same item, class and method.
    maps : dict
        Layer name to (H, W) float32: ``CAM before`` and ``CAM after`` in 0..1, ``CAM difference``, after minus before,
        in -1..1.
    """

    before: Inspection
    after: Inspection
    maps: dict[str, np.ndarray]


class PairInspector:
    """Pairs of inspections, the class being the one that the classifier *before* is asked about.

    It has the `classifier`, `peek` and `get` of an `Inspector`, so that the same loader can drive it.

    Parameters
    ----------
    before, after : Inspector
        Of two classifiers and one dataset.
    """

    def __init__(self, before: Inspector, after: Inspector, capacity: int = 16) -> None:
        self.before, self.after = before, after
        # Whose forward passes the loader may break off; the other's maps are mostly there already.
        self.classifier = after.classifier
        self._capacity = capacity
        self._kept: OrderedDict[tuple[int, Any, str], Pair] = OrderedDict()
        self._given: Inspection | None = None
        self._lock = threading.Lock()

    def note(self, inspection: Inspection) -> None:
        """Use this inspection of the classifier before instead of making it anew."""
        self._given = inspection

    def peek(self, index: int, target: int, method: str) -> Pair | None:
        """Return a pair if it is there already; never computes."""
        with self._lock:
            return self._kept.get((index, target, method))

    def get(self, index: int, target: int, method: str) -> Pair:
        """Return a pair, made now if need be; raises what `Inspector.get` raises."""
        from napari_cam_feedback.explain import cam_display

        found = self.peek(index, target, method)
        if found is not None:
            return found
        before = self._given
        if before is None or (before.index, before.target, before.method) != (index, target, method):
            before = self.before.get(index, target, method)
        after = self.after.get(index, target, method)
        shown = [cam_display(before.map), cam_display(after.map)]
        pair = Pair(before, after, dict(zip(LAYER_NAMES, [*shown, shown[1] - shown[0]], strict=True)))
        with self._lock:
            self._kept[index, target, method] = pair
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return pair


class ComparisonLayers(QObject):
    """``CAM before``, ``CAM after`` and ``CAM difference`` of the current image, beside it in napari's grid.

    They follow the person from image to image until they are hidden.

    Signals
    -------
    shown : bool
        Whether the layers are in the viewer now.
    described : str
        A sentence on the current image: what the two classifiers make of it.
    """

    shown = Signal(bool)
    described = Signal(str)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._pairs: PairInspector | None = None
        self._loader: InspectionLoader | None = None
        self._wanted: tuple[int, int, str] | None = None
        self._on = False
        session.inspected.connect(self._follow)
        session.closing.connect(self.close)

    @property
    def on(self) -> bool:
        """Whether the layers are shown."""
        return self._on

    def use(self, pairs: PairInspector | None) -> None:
        """Compare these two from now on; None ends the comparison."""
        self.hide()
        self._pairs = pairs
        self._wanted = None
        if pairs is None:
            return
        if self._loader is None:
            self._loader = InspectionLoader(self._session.jobs.main, self._arrived)
        # The loader only needs an inspector's classifier, peek and get.
        self._loader.use(pairs)  # type: ignore[arg-type]
        if self._session.inspection is not None:
            self._follow(self._session.inspection)

    def show(self) -> None:
        """Show the layers, now or as soon as they are computed."""
        if self._pairs is None or self._on:
            return
        self._on = True
        self.shown.emit(True)
        if self._session.inspection is not None:
            self._follow(self._session.inspection)

    def hide(self) -> None:
        """Remove the layers and give the viewer back as it was."""
        if not self._on:
            return
        grid = grid_of(self._session)
        if grid.owner == OWNER:
            grid.leave()
        else:
            self._left()

    def close(self) -> None:
        """End the thread."""
        self._pairs = None
        if self._loader is not None:
            self._loader.close()

    def _left(self) -> None:
        self._on = False
        viewer = self._session.viewer
        if viewer is not None:
            with grid_of(self._session).changes():
                for name in LAYER_NAMES:
                    layer = find_layer(viewer, name)
                    if layer is not None:
                        viewer.layers.remove(layer)
        self.shown.emit(False)

    def _follow(self, inspection: Inspection) -> None:
        pairs, loader = self._pairs, self._loader
        if pairs is None or loader is None:
            return
        if self._session.inspector is pairs.before:
            pairs.note(inspection)
        request = (inspection.index, inspection.target, inspection.method)
        self._wanted = request
        found = pairs.peek(*request)
        if found is not None:
            self._show(found)
        else:
            loader.request([request])

    def _arrived(self, request: Any, pair: Any, sentence: str | None) -> None:
        if request != self._wanted or self._pairs is None:
            return
        if pair is not None:
            self._show(pair)
        elif sentence is not None:
            self.described.emit(sentence)

    def _show(self, pair: Pair) -> None:
        self.described.emit(describe_pair(pair, self._session.class_names))
        if not self._on:
            return
        grid = grid_of(self._session)
        with grid.changes():
            layers = [self._layer(name, pair.maps[name], pair.before.key) for name in LAYER_NAMES]
            image = self._session.layers.get(IMAGE)
            grid.show(OWNER, layers, self._left, keep=[] if image is None else [image])

    def _layer(self, name: str, data: np.ndarray, key: str) -> Image:
        from napari.layers import Image

        viewer = self._session.viewer
        layer = find_layer(viewer, name)
        difference = name == LAYER_NAMES[2]
        # Symmetric, so that black is "as before"; a floor keeps tiny changes from looking like large ones.
        largest = max(float(np.abs(data).max(initial=0)), LEAST_LIMIT)
        limits = (-largest, largest) if difference else (0.0, 1.0)
        if layer is not None:
            layer.data = data
            layer.metadata = tag(name, key)
            if difference:
                layer.contrast_limits = limits
            return layer
        layer = Image(
            data,
            name=name,
            metadata=tag(name, key),
            colormap=difference_colormap() if difference else self._session.layers.look.colours(),
            contrast_limits=limits,
            blending="translucent_no_depth",
            interpolation2d="linear",
        )
        if difference:
            layer.contrast_limits_range = (-1.0, 1.0)
        viewer.layers.append(layer)
        return layer


def describe_pair(pair: Pair, class_names: Sequence[str]) -> str:
    """Return one sentence on what the two classifiers make of one image."""
    before, after = pair.before, pair.after
    names = [class_names[n] if n < len(class_names) else str(n) for n in (before.predicted, after.predicted)]
    predicted = f"still predicted {names[0]}" if names[0] == names[1] else f"predicted {names[0]}, now {names[1]}"
    target = class_names[before.target] if before.target < len(class_names) else str(before.target)
    change = f"{before.probabilities[before.target]:.2f} → {after.probabilities[before.target]:.2f}"
    truth = ""
    if before.label is not None and before.label < len(class_names):
        truth = f", truly {class_names[before.label]}"
    return f"This image: {predicted}{truth}. The CAMs are of class {target}, whose probability went {change}."


def difference_colormap() -> Any:
    """Return a diverging colormap: blue where the map lost, red where it gained, black where it stayed."""
    from napari.utils.colormaps import Colormap

    anchors = [
        (0.35, 0.75, 1.0, 1),
        (0.05, 0.3, 0.75, 1),
        (0, 0, 0, 1),
        (0.75, 0.12, 0.08, 1),
        (1.0, 0.65, 0.4, 1),
    ]
    return Colormap(anchors, name="after minus before")
