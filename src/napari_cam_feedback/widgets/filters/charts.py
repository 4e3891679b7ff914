"""Small charts of filters: the accuracy curve, histograms, contributions by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.widgets.parts.plot import COLOURS, GRAY, Plot

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import AccuracyCurve

CUT_COLOUR = "#D55E00"
#: Colours of classes; those beyond share gray.
CLASS_COLOURS = (*COLOURS, "#9A6FE0", "#8DD35F", "#C9A27E")


def class_colour(label: int) -> str:
    """Return the colour of a class, gray where there are too many to tell apart."""
    return CLASS_COLOURS[label] if 0 <= label < len(CLASS_COLOURS) else GRAY


class CurvePlot(Plot):
    """Accuracy against the number of filters, the model's own, and the cut."""

    def __init__(self, viewer: Any) -> None:
        self.curve: AccuracyCurve | None = None
        super().__init__(viewer, 190, "validation accuracy", "filters kept, the best first", legend_low=True)

    def show_curve(self, curve: AccuracyCurve | None) -> None:
        """Show a curve, or none."""
        self.curve = curve
        self.redraw()

    def content(self, axes: Any) -> None:
        curve = self.curve
        axes.setVisible(curve is not None and len(curve.counts) > 0)
        if curve is None or not len(curve.counts):
            return
        last, error = float(curve.counts[-1]), curve.standard_error
        low = max(0.0, min(float(curve.accuracy.min()), curve.full - error) - 0.03)
        high = min(1.0, max(float(curve.accuracy.max()), curve.full + error) + 0.01)
        axes.setXRange(0, last, padding=0)
        axes.setYRange(low, high, padding=0)
        self.bars("standard error", [0], [last], [curve.full - error], [curve.full + error], [f"{self.text_colour}1f"])
        self.line("the model's own", [0, last], [curve.full] * 2, width=1, dashed=True, named=False)
        self.line("best filters", curve.counts, curve.accuracy, COLOURS[0], width=1.6)
        if curve.cut is not None:
            self.line(f"cut at {curve.cut}", [curve.cut] * 2, [low, high], CUT_COLOUR, width=1.6)


class HistogramPlot(Plot):
    """How often a filter's mean activation takes which value: outlines, one for each group of images."""

    def __init__(self, viewer: Any, height: int = 130) -> None:
        self.edges = np.zeros(0)
        self.lines: list[tuple[str, np.ndarray, str]] = []
        super().__init__(viewer, height, "images", "mean activation")

    def show_counts(self, edges: np.ndarray, lines: Sequence[tuple[str, np.ndarray, str]]) -> None:
        """Show counts (B,) between edges (B + 1,): name, counts and colour of each group."""
        self.edges, self.lines = edges, [line for line in lines if line[1].any()]
        self.redraw()

    def content(self, axes: Any) -> None:
        axes.setVisible(bool(self.lines))
        if self.lines:
            axes.setXRange(float(self.edges[0]), float(self.edges[-1]), padding=0)
            axes.setYRange(0, float(max(counts.max() for _, counts, _ in self.lines)), padding=0.05)
        for name, counts, colour in self.lines:
            self.line(name, np.repeat(self.edges, 2), np.pad(np.repeat(counts, 2), 1), colour)


class BarPlot(Plot):
    """A bar for each class, from zero to either side, the greatest at the top."""

    #: Classes shown at most: those with the greatest values, and as many of the least.
    MAX_BARS = 16
    _ROW = 14

    def __init__(self, viewer: Any) -> None:
        self.rows: list[tuple[str, float, str]] = []
        super().__init__(viewer)

    def show_values(self, names: Sequence[str], values: np.ndarray | None) -> None:
        """Show a value for each class; those that are no number are left out."""
        self.rows = []
        if values is not None:
            order = [int(label) for label in np.argsort(-values, kind="stable") if np.isfinite(values[label])]
            if len(order) > self.MAX_BARS:
                order = order[: self.MAX_BARS // 2] + order[-self.MAX_BARS // 2 :]
            self.rows = [(names[label], float(values[label]), class_colour(label)) for label in order]
        self.setFixedHeight(max(1, len(self.rows)) * self._ROW + 4)
        self.redraw()

    def prepare(self, axes: Any) -> None:
        axes.getAxis("right").setStyle(showValues=True)
        axes.getAxis("right").setGrid(False)
        axes.invertY()
        axes.layout.setContentsMargins(1, 2, 1, 2)

    def content(self, axes: Any) -> None:
        axes.setVisible(bool(self.rows))
        if not self.rows:
            return
        names, values, colours = zip(*self.rows, strict=True)
        axes.getAxis("left").setTicks([list(enumerate(map(self.elided, names)))])
        axes.getAxis("right").setTicks([[(row, f"{value:+.2g}") for row, value in enumerate(values)]])
        ends = [-0.5, len(values) - 0.5]
        axes.setXRange(min(0.0, *values), max(0.0, *values), padding=0)
        axes.setYRange(*ends, padding=0)
        rows = np.arange(len(values))
        self.bars("values", [0] * len(values), values, rows - 0.36, rows + 0.36, colours)
        self.line("zero", [0, 0], ends, width=1, named=False)
