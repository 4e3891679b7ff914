"""The live plot of a retune: loss terms, and what the painted images' true classes get."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, tight
from napari_cam_feedback.widgets.parts.plot import COLOURS, GRAY, Plot

if TYPE_CHECKING:
    import napari

#: Iterations by which an axis grows whose end nobody knows.
GROWTH = 20
#: Above this ratio of the largest to the least value the axis is logarithmic.
_LOG_RATIO = 50.0


@dataclass
class Line:
    """One line of a chart.

    Attributes
    ----------
    points : list
        (x, y) pairs; a y that is not finite leaves a gap.
    colour : str
        ``#rrggbb``, or ``#rrggbbaa`` with an opacity; that of text where there is none.
    width : float
        In pixels.
    dashed : bool
        Whether it is dashed.
    named : bool
        Whether it stands in the legend.
    """

    points: list[tuple[float, float]] = field(default_factory=list)
    colour: str = ""
    width: float = 1.4
    dashed: bool = False
    named: bool = True


@dataclass
class Mark:
    """A vertical line of a chart at `x`, in a colour; dashed, and in the legend, or not."""

    x: float
    colour: str = GRAY
    dashed: bool = False
    named: bool = True


class Chart(Plot):
    """One small pair of axes.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    title : str
        Stands above the axes.
    limits : tuple of float, optional
        Fixed range of y; without it the range follows the lines.
    x_name : str
        What x counts.
    """

    def __init__(
        self, viewer: Any, title: str, limits: tuple[float, float] | None = None, x_name: str = "iteration"
    ) -> None:
        self.limits = limits
        self.lines: dict[str, Line] = {}
        self.marks: dict[str, Mark] = {}
        self.last_x = 1.0
        self._told: object = None
        # Fixed limits are those of probabilities, which end at the top.
        super().__init__(viewer, None, title, x_name, legend_low=limits is not None)

    def clear(self) -> None:
        """Forget all lines and marks."""
        self.lines.clear()
        self.marks.clear()

    def content(self, axes: Any) -> None:
        # Lines without a name are drawn as one, each time a gap between them.
        lines = {name: line for name, line in self.lines.items() if line.points}
        groups = {"": [line for line in lines.values() if not line.named]}
        groups |= {name: [line] for name, line in lines.items() if line.named}
        points = {name: _joined(group, 0.015 * self.last_x) for name, group in groups.items() if group}
        values = np.concatenate([y[np.isfinite(y)] for _, y in points.values()] or [np.zeros(0)])
        low, high = self.limits or ((min(values.min(), 0.0), values.max()) if values.size else (0.0, 1.0))
        logarithmic = self.limits is None and bool(values.size and 0 < values.min() < values.max() / _LOG_RATIO)
        if logarithmic:
            low, high = math.log10(values.min()), math.log10(high)
        # Axes are laid out anew whenever they are told something, which takes longer than the lines.
        if self._told != (told := (logarithmic, self.last_x)):
            self._told = told
            for side in ("left", "right"):
                axes.getAxis(side).setLogMode(x=False, y=logarithmic)
            axes.getAxis("bottom").setTicks([[(0, "0"), (self.last_x, f"{self.last_x:g}")]])
        axes.setXRange(0, self.last_x, padding=0)
        axes.setYRange(low, high if high > low else low + 1, padding=0.03)
        for name, mark in self.marks.items():
            self.line(name, [mark.x] * 2, axes.viewRange()[1], mark.colour, width=1, dashed=mark.dashed, named=mark.named)
        for name, (x, y) in points.items():
            line = groups[name][0]
            with np.errstate(invalid="ignore"):
                shown = np.log10(y) if logarithmic else y
            self.line(name, x, shown, line.colour, width=line.width, dashed=line.dashed, named=line.named)


def _joined(lines: Sequence[Line], reach: float) -> np.ndarray:
    """Return lines as x and y, (2, N), with a y that is NaN between two of them."""
    x, y = np.array([point for line in lines for point in (*line.points, (0, math.nan))], float)[:-1].T
    # A value between two gaps, as the very first, reaches to both sides, or there would be nothing to draw.
    finite = np.pad(np.isfinite(y), 1)
    alone = np.flatnonzero(finite[1:-1] & ~finite[:-2] & ~finite[2:])
    x = np.insert(x, np.r_[alone, alone + 1], np.r_[x[alone] - reach, x[alone] + reach])
    return np.stack([x, np.insert(y, np.r_[alone, alone + 1], np.r_[y[alone], y[alone]])])


class StepPlot(QWidget):
    """Two small charts side by side: loss terms over iterations, and probabilities of the painted images.

    `add` only keeps the values; `redraw` shows them, and is to be called a few times a second at most.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.losses = Chart(napari_viewer, "Loss terms")
        self.painted = Chart(napari_viewer, "Painted: p(true class)", limits=(0.0, 1.0))
        side_by_side(self, self.losses, self.painted)
        self.draws = 0
        self._dirty = False
        self._grows, self._last = False, 0
        self.clear()

    def clear(self, iterations: int | None = 1) -> None:
        """Forget the last run; the axes reach to `iterations`, or grow with what comes where nobody knows how many."""
        for chart in (self.losses, self.painted):
            chart.clear()
        self._grows, self._last = iterations is None, 0
        self.reach(GROWTH if iterations is None else iterations)
        self.redraw()

    def name_images(self, name: str) -> None:
        """Say which images the probabilities are of, in one or two words."""
        self.painted.title = f"{name}: p(true class)"
        self.painted.redraw()

    def reach(self, iterations: int) -> None:
        """Let the axes reach to `iterations`."""
        for chart in (self.losses, self.painted):
            chart.last_x = float(max(iterations, 1))
        self._dirty = True

    def fit(self) -> None:
        """Let the axes end at the last iteration that came, where any did."""
        if self._last:
            self.reach(self._last)

    def add(
        self,
        iteration: int,
        losses: Mapping[str, float],
        painted_keys: Sequence[str] = (),
        probabilities: Any = None,
    ) -> None:
        """Take one step's values.

        Parameters
        ----------
        iteration : int
            Which step.
        losses : mapping of str to float
            One value a loss term.
        painted_keys : sequence of str
            The painted images.
        probabilities : array (P,) or None
            Probability of the true class of each, where it was measured.
        """
        self._last = max(self._last, iteration)
        if self._grows and iteration > self.losses.last_x:
            self.reach(math.ceil(iteration / GROWTH) * GROWTH)
        for name, value in losses.items():
            if name not in self.losses.lines:
                colour = COLOURS[len(self.losses.lines) % len(COLOURS)]
                # Often the sum is hardly more than one of its terms, and must not hide it.
                total = name == "total"
                self.losses.lines[name] = Line(colour=GRAY if total else colour, width=1, dashed=total)
            self.losses.lines[name].points.append((iteration, float(value)))
        if probabilities is not None:
            self._add_painted(iteration, painted_keys, np.asarray(probabilities, float).ravel())
        self._dirty = True

    def _add_painted(self, iteration: int, keys: Sequence[str], values: np.ndarray) -> None:
        lines = self.painted.lines
        for key, value in zip(keys, values.tolist(), strict=True):
            if key not in lines:
                lines[key] = Line(colour=f"{COLOURS[0]}66", width=0.8, named=False)
            lines[key].points.append((iteration, value))
        finite = values[np.isfinite(values)]
        if finite.size:
            mean = lines.pop("mean", None) or Line(width=2.2)
            mean.points.append((iteration, float(finite.mean())))
            # Last, so that it is drawn over the single images.
            lines["mean"] = mean

    def redraw(self) -> None:
        """Show what has come since the last time; does nothing when nothing has."""
        if not self._dirty:
            return
        self._dirty = False
        self.draws += 1
        self.losses.redraw()
        self.painted.redraw()

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms seen so far."""
        return tuple(self.losses.lines)

    @property
    def painted_keys(self) -> tuple[str, ...]:
        """Keys of the painted images with a probability so far."""
        return tuple(key for key in self.painted.lines if key != "mean")


def side_by_side(widget: QWidget, *charts: Chart) -> None:
    """Put charts beside each other into a widget."""
    fill(tight(QHBoxLayout(widget), 2), *charts)
    widget.setFixedHeight(165)
