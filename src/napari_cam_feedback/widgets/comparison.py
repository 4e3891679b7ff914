"""Before and after a retune: the table of measures, and the CAMs of the current image side by side as layers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QBrush
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_cam_feedback.widgets.grid import grid_of
from napari_cam_feedback.widgets.grid_layers import GridLayers
from napari_cam_feedback.widgets.layers import CAM_AFTER, CAM_BEFORE, IMAGE, NAMESPACE, find_layers, tag
from napari_cam_feedback.widgets.table_colours import Name, table_colour

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_cam_feedback.evaluate import ComparisonRow
    from napari_cam_feedback.explain import Inspection, Inspector
    from napari_cam_feedback.explain.targets import Target
    from napari_cam_feedback.widgets.state import Session

OWNER = "comparison"
#: The difference of two maps in 0..1 is shown with at least this range on either side.
LEAST_LIMIT = 0.3
#: Roles of the comparison layers, and their names unless they are given others.
LAYER_NAMES = (CAM_BEFORE, CAM_AFTER, "CAM difference")
#: So that the two maps can be compared, whatever the person changes of one changes for the other; what does not belong to
#: a colour scale changes for the difference too.
_LINKED = ("contrast_limits", "gamma", "colormap")
_LINKED_FOR_ALL = ("opacity", "blending", "interpolation2d")

# The word says the same.
_COLOURS: dict[str, Name] = {"better": "blue", "worse": "orange"}
#: Measures that follow from others in the table, for which it has no room; the reports have them.
LEFT_OUT = ("gap", "random_flip_rate")
COLUMNS = ("Measure", "Before", "After", "Change", "95 %")
_ROW_PIXELS = 19
_ROOM_FOR_INTERVALS = 420


def change_text(row: ComparisonRow) -> str:
    """Return the change as a signed number and a word: better, worse, or unsure where it may be chance."""
    if row.change is None:
        return "–"
    if abs(row.change) < 0.0005:
        return "0.000"
    return f"{row.change:+.3f} {row.mark}".rstrip()


def interval_text(row: ComparisonRow) -> str:
    """Return the ends of the interval of the change, empty where there is none."""
    interval = None if row.certainty is None else row.certainty.change
    return "" if interval is None else f"{interval.low:+.2f}…{interval.high:+.2f}"


class ComparisonTable(QTableWidget):
    """Rows of a `Comparison`, split by split: measure, before, after, change, and its interval where there are any."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self._intervals = False
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # In a narrow dock a measure's name is cut, which the tooltip has in full, and never what became of it.
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(30)
        # It lies in a scrolling dock and is shown whole; a bar of its own would catch the wheel.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def show_rows(self, rows: Sequence[ComparisonRow]) -> None:
        """Show these rows in place of what was shown, each split under a title."""
        from napari_cam_feedback.evaluate import MEASURES

        self.clearSpans()
        self.setRowCount(0)
        self._intervals = any(row.certainty is not None for row in rows)
        self._fit()
        split = None
        for row in rows:
            if row.measure in LEFT_OUT:
                continue
            if row.split != split:
                split = row.split
                self._add_title(split)
            measure = MEASURES[row.measure]
            texts = (measure.short, *row.texts, change_text(row), interval_text(row))
            meaning = f"{measure.name}, on {row.split}: {measure.meaning}"
            if measure.direction:
                meaning += f" {measure.direction.capitalize()}."
            meaning += _how_sure(row)
            number = self.rowCount()
            self.insertRow(number)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(meaning)
                if column in (1, 2):
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if column == 3 and row.mark in _COLOURS:
                    item.setData(Qt.ItemDataRole.UserRole, row.mark)
                self.setItem(number, column, item)
        self._colour()
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + _ROW_PIXELS * self.rowCount() + 16)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            # napari's theme was changed.
            self._colour()

    def _colour(self) -> None:
        for row in range(self.rowCount()):
            item = self.item(row, 3)
            mark = None if item is None else item.data(Qt.ItemDataRole.UserRole)
            if item is not None and mark in _COLOURS:
                item.setForeground(QBrush(table_colour(_COLOURS[mark])))

    def _fit(self) -> None:
        """Show the intervals where there are any, and room for them; they are in the tooltips too."""
        self.setColumnHidden(len(COLUMNS) - 1, not self._intervals or self.width() < _ROOM_FOR_INTERVALS)

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
            tuple("" if (item := self.item(row, column)) is None else item.text() for column in self._shown_columns())
            for row in range(self.rowCount())
        ]

    def _shown_columns(self) -> list[int]:
        return [column for column in range(len(COLUMNS)) if not self.isColumnHidden(column)]


def _how_sure(row: ComparisonRow) -> str:
    """Return intervals and p value of a row, or the number of its images, for its tooltip."""
    sure = row.certainty
    if sure is None:
        return f"\nMeasured on {row.images} images: so small a change may be chance." if row.mark == "unsure" else ""
    parts = [
        f"{name} {interval}"
        for name, interval in (("before", sure.before), ("after", sure.after), ("change", sure.change))
        if interval is not None
    ]
    said = f"\n95 % intervals over the images: {', '.join(parts)}." if parts else ""
    if sure.p_value is not None:
        said += f"\nMcNemar's exact test of the change: p = {sure.p_value:.3g}."
    if row.mark == "unsure":
        said += "\nThe interval of the change holds 0, so it may be chance."
    return said


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

    So "predicted" is the class that *before* predicts, of whichever of the two the map is. It has the `classifier`, `peek`
    and `get` of an `Inspector`, so that the same loader can drive it.

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

    def peek(self, index: int, target: Target, method: str) -> Pair | None:
        """Return a pair if it is there already; never computes."""
        with self._lock:
            return self._kept.get((index, target, method))

    def get(self, index: int, target: Target, method: str) -> Pair:
        """Return a pair, made now if need be; raises what `Inspector.get` raises."""
        from napari_cam_feedback.explain import cam_display

        found = self.peek(index, target, method)
        if found is not None:
            return found
        before = self._given
        if before is None or (before.index, _asked(before, target), before.method) != (index, before.target, method):
            before = self.before.get(index, target, method)
        after = self.after.get(index, before.target, method)
        shown = [cam_display(before.map), cam_display(after.map)]
        pair = Pair(before, after, dict(zip(LAYER_NAMES, [*shown, shown[1] - shown[0]], strict=True)))
        with self._lock:
            self._kept[index, target, method] = pair
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return pair


def _asked(inspection: Inspection, target: Target) -> int | None:
    """Return the class that a target is, for the classifier that an inspection is of."""
    named = {"predicted": inspection.predicted, "true": inspection.label}
    return named.get(target) if isinstance(target, str) else target


class ComparisonLayers(GridLayers):
    """The CAMs of the current image before and after, and their difference, beside it in napari's grid.

    They follow the person from image to image until they are hidden. `described` tells what the two classifiers make of the
    current image, whether the layers are shown or not.

    Parameters
    ----------
    session : Session
        Whose image is compared.
    owner : str
        Who shows them: layers of another owner are left alone.
    """

    def __init__(self, session: Session, parent: QObject | None = None, *, owner: str = OWNER) -> None:
        super().__init__(session, owner, parent)
        self._pairs: PairInspector | None = None
        self._names = LAYER_NAMES

    def use(self, pairs: PairInspector | None, names: tuple[str, str, str] = LAYER_NAMES) -> None:
        """Compare these two from now on; None ends the comparison.

        Parameters
        ----------
        pairs : PairInspector or None
            The two.
        names : tuple of str
            What the layers are called.
        """
        self.hide()
        self._pairs, self._names = pairs, names
        self._use(pairs)
        self._follow_current()

    def close(self) -> None:
        """End the thread."""
        self._pairs = None
        super().close()

    def _ready(self) -> bool:
        return self._pairs is not None

    def _follow(self, inspection: Inspection) -> None:
        pairs = self._pairs
        if pairs is None:
            return
        if self._session.inspector is pairs.before:
            pairs.note(inspection)
        # The session's class is that of its own classifier, which need not be one of the two.
        predicted = self._session.target == "predicted" or (self._session.target == "true" and inspection.label is None)
        self._ask(pairs, (inspection.index, "predicted" if predicted else inspection.target, inspection.method))

    def _show(self, found: Pair) -> None:
        self.described.emit(describe_pair(found, self._session.class_names))
        if not self._on:
            return
        grid = grid_of(self._session)
        with grid.changes():
            layers = [self._layer(place, found) for place in range(len(LAYER_NAMES))]
            image = self._session.layers.get(IMAGE)
            grid.show(self._owner, layers, self._left, keep=[] if image is None else [image])
        # Those that are linked already stay as they are; a layer that goes is unlinked by napari.
        self._session.viewer.layers.link_layers(layers[:2], _LINKED)
        self._session.viewer.layers.link_layers(layers, _LINKED_FOR_ALL)

    def _find(self, role: str) -> Any:
        for layer in find_layers(self._session.viewer, role):
            if layer.metadata[NAMESPACE].get("owner") == self._owner:
                return layer
        return None

    def _layer(self, place: int, pair: Pair) -> Image:
        from napari.layers import Image

        role, viewer = LAYER_NAMES[place], self._session.viewer
        data = pair.maps[role]
        layer = self._find(role)
        difference = place == 2
        # Symmetric, so that black is "as before"; a floor keeps tiny changes from looking like large ones.
        largest = max(float(np.abs(data).max(initial=0)), LEAST_LIMIT)
        limits = (-largest, largest) if difference else (0.0, 1.0)
        metadata = tag(role, pair.before.key, owner=self._owner)
        if layer is not None:
            layer.data = data
            layer.metadata = metadata
            if difference:
                layer.contrast_limits = limits
            return layer
        layer = Image(
            data,
            name=self._names[place],
            metadata=metadata,
            colormap=difference_colormap() if difference else self._session.layers.look.colours(),
            contrast_limits=limits,
            blending="translucent_no_depth",
            interpolation2d="linear",
        )
        if difference:
            layer.contrast_limits_range = (-1.0, 1.0)
        viewer.layers.append(layer)
        return layer

    def _remove(self) -> None:
        for role in LAYER_NAMES:
            layer = self._find(role)
            if layer is not None:
                self._session.viewer.layers.remove(layer)


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
