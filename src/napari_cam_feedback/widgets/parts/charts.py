"""The live plot of a retune: loss terms, and what the painted images' true classes get.

Painted with Qt itself in napari's colours. A matplotlib figure of this size takes 25 ms to draw, and 150 ms beside a
thread that trains, since nearly all of it is Python that waits for the interpreter; this takes about 1 ms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, tight
from napari_cam_feedback.widgets.parts.themed import begin, follow_theme

if TYPE_CHECKING:
    import napari

# Okabe and Ito's colours without black: told apart with any colour vision, on a light and on a dark window.
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
#: Beyond this many points a line is thinned before it is drawn.
MAX_POINTS = 300
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
        ``#rrggbb``.
    width : float
        In pixels.
    opacity : float
        0 to 1.
    dashed : bool
        Whether it is dashed.
    named : bool
        Whether it stands in the legend.
    """

    points: list[tuple[float, float]] = field(default_factory=list)
    colour: str = COLOURS[0]
    width: float = 1.4
    opacity: float = 1.0
    dashed: bool = False
    named: bool = True


@dataclass
class Mark:
    """A vertical line of a chart.

    Attributes
    ----------
    x : float
        Where it stands.
    colour : str
        ``#rrggbb``.
    dashed : bool
        Whether it is dashed.
    named : bool
        Whether it stands in the legend.
    """

    x: float
    colour: str = "#9E9E9E"
    dashed: bool = False
    named: bool = True


class Chart(QWidget):
    """One small pair of axes.

    Parameters
    ----------
    title : str
        Stands above the axes.
    limits : tuple of float, optional
        Fixed range of y; without it the range follows the lines.
    x_name : str
        What x counts.
    """

    def __init__(self, title: str, limits: tuple[float, float] | None = None, x_name: str = "iteration") -> None:
        super().__init__()
        self.x_name = x_name
        self.title = title
        self.limits = limits
        self.lines: dict[str, Line] = {}
        self.marks: dict[str, Mark] = {}
        self.last_x = 1.0
        self.text_colour = "#f0f1f2"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def scale(self) -> tuple[float, float, bool]:
        """Return the least and the largest y of the axis, and whether it is logarithmic."""
        if self.limits is not None:
            return (*self.limits, False)
        values = np.array([y for line in self.lines.values() for _, y in line.points], float)
        values = values[np.isfinite(values)]
        if not values.size:
            return 0.0, 1.0, False
        low, high = float(values.min()), float(values.max())
        if low > 0 and high / low > _LOG_RATIO:
            return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)), True
        low = min(low, 0.0)
        step = _nice_step(high - low)
        return math.floor(low / step) * step, max(math.ceil(high / step) * step, low + step), False

    def paintEvent(self, event: Any) -> None:
        painter, metrics = begin(self)
        low, high, logarithmic = self.scale()
        ticks = _ticks(low, high, logarithmic)
        left = max(metrics.horizontalAdvance(f"{tick:g}") for tick in ticks) + 6
        line_height = metrics.height()
        frame = QRectF(
            left, line_height + 5, max(self.width() - left - 8, 10.0), max(self.height() - 3 * line_height - 9, 10.0)
        )

        def place(x: float, y: float) -> QPointF:
            if logarithmic:
                share = (math.log10(max(y, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
            else:
                share = (y - low) / (high - low)
            return QPointF(frame.left() + x / self.last_x * frame.width(), frame.bottom() - share * frame.height())

        self._paint_axes(painter, metrics, frame, ticks, place)
        for mark in self.marks.values():
            painter.setPen(_mark_pen(mark))
            # In the middle of a pixel, else it is two pixels of half its colour.
            x = math.floor(place(mark.x, low).x()) + 0.5
            painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
        for line in self.lines.values():
            colour = QColor(line.colour)
            colour.setAlphaF(line.opacity)
            pen = QPen(colour, line.width)
            if line.dashed:
                pen.setStyle(Qt.PenStyle.DashLine)
            painter.setPen(pen)
            for piece in _pieces(line.points):
                if len(piece) == 1:
                    painter.drawEllipse(place(*piece[0]), 1.2, 1.2)
                else:
                    painter.drawPolyline(QPolygonF([place(x, y) for x, y in piece]))
        self._paint_legend(painter, metrics, frame)
        painter.end()

    def _paint_axes(
        self, painter: QPainter, metrics: QFontMetricsF, frame: QRectF, ticks: Sequence[float], place: Any
    ) -> None:
        text = QColor(self.text_colour)
        faint = QColor(text)
        faint.setAlphaF(0.15)
        height = metrics.height()
        painter.setPen(text)
        painter.drawText(QRectF(0, 0, self.width(), height + 2), Qt.AlignmentFlag.AlignHCenter, self.title)
        for tick in ticks:
            y = place(0, tick).y()
            painter.setPen(faint)
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
            painter.setPen(text)
            painter.drawText(
                QRectF(0, y - height / 2, frame.left() - 4, height),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                f"{tick:g}",
            )
        painter.setPen(text)
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        painter.drawText(QRectF(frame.left() - 2, frame.bottom() + 2, 30, height), Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(
            QRectF(frame.right() - 60, frame.bottom() + 2, 62, height), Qt.AlignmentFlag.AlignRight, f"{self.last_x:g}"
        )
        painter.drawText(
            QRectF(frame.left(), frame.bottom() + 2, frame.width(), height), Qt.AlignmentFlag.AlignHCenter, self.x_name
        )

    def _paint_legend(self, painter: QPainter, metrics: QFontMetricsF, frame: QRectF) -> None:
        pens: dict[str, QPen] = {}
        for name, line in self.lines.items():
            if line.named and line.points:
                pens[name] = QPen(QColor(line.colour), 2)
                if line.dashed:
                    pens[name].setStyle(Qt.PenStyle.DotLine)
        pens |= {name: _mark_pen(mark) for name, mark in self.marks.items() if mark.named}
        for row, (name, pen) in enumerate(pens.items()):
            width = metrics.horizontalAdvance(name)
            # Fixed limits are those of probabilities, which end at the top.
            first = frame.top() if self.limits is None else frame.bottom() - len(pens) * metrics.height()
            y = first + (row + 0.5) * metrics.height()
            painter.setPen(pen)
            painter.drawLine(QPointF(frame.right() - width - 18, y), QPointF(frame.right() - width - 6, y))
            painter.setPen(QColor(self.text_colour))
            painter.drawText(
                QRectF(frame.right() - width - 2, y - metrics.height() / 2, width + 4, metrics.height()),
                Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
                name,
            )


class StepPlot(QWidget):
    """Two small charts side by side: loss terms over iterations, and probabilities of the painted images.

    `add` only keeps the values; `redraw` shows them, and is to be called a few times a second at most.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.losses = Chart("Loss terms")
        self.painted = Chart("Painted: p(true class)", limits=(0.0, 1.0))
        layout = tight(QHBoxLayout(self), 2)
        fill(layout, self.losses, self.painted)
        self.setFixedHeight(165)
        self.draws = 0
        self._dirty = False
        self._grows, self._last = False, 0
        follow_theme(napari_viewer, self, self._take_theme)
        self.clear()

    def clear(self, iterations: int | None = 1) -> None:
        """Forget the last run; the axes reach to `iterations`, or grow with what comes where nobody knows how many."""
        for chart in (self.losses, self.painted):
            chart.lines.clear()
        self._grows, self._last = iterations is None, 0
        self.reach(GROWTH if iterations is None else iterations)
        self.redraw()

    def name_images(self, name: str) -> None:
        """Say which images the probabilities are of, in one or two words."""
        self.painted.title = f"{name}: p(true class)"
        self.painted.update()

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
        self, iteration: int, losses: Mapping[str, float], painted_keys: Sequence[str] = (), probabilities: Any = None
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
                self.losses.lines[name] = Line(colour="#9E9E9E" if total else colour, width=1, dashed=total)
            self.losses.lines[name].points.append((iteration, float(value)))
        if probabilities is not None:
            self._add_painted(iteration, painted_keys, np.asarray(probabilities, float).ravel())
        self._dirty = True

    def _add_painted(self, iteration: int, keys: Sequence[str], values: np.ndarray) -> None:
        lines = self.painted.lines
        for key, value in zip(keys, values.tolist(), strict=True):
            if key not in lines:
                lines[key] = Line(width=0.8, opacity=0.4, named=False)
            lines[key].points.append((iteration, value))
        finite = values[np.isfinite(values)]
        if finite.size:
            mean = lines.pop("mean", None) or Line(width=2.2, colour=self.painted.text_colour)
            mean.points.append((iteration, float(finite.mean())))
            # Last, so that it is painted over the single images.
            lines["mean"] = mean

    def redraw(self) -> None:
        """Show what has come since the last time; does nothing when nothing has."""
        if not self._dirty:
            return
        self._dirty = False
        self.draws += 1
        self.losses.update()
        self.painted.update()

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms seen so far."""
        return tuple(self.losses.lines)

    @property
    def painted_keys(self) -> tuple[str, ...]:
        """Keys of the painted images with a probability so far."""
        return tuple(key for key in self.painted.lines if key != "mean")

    def _take_theme(self, event: Any = None, *, value: str | None = None) -> None:
        name = value if value is not None else event.value
        text = get_theme(name).text.as_hex()
        for chart in (self.losses, self.painted):
            chart.text_colour = text
            if "mean" in chart.lines:
                chart.lines["mean"].colour = text
            chart.update()


def _mark_pen(mark: Mark) -> QPen:
    return QPen(QColor(mark.colour), 1, Qt.PenStyle.DashLine if mark.dashed else Qt.PenStyle.SolidLine)


def _nice_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten that divides the span into two to five parts."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 2))
    return power * max((factor for factor in (2, 5) if factor * power <= span / 2), default=1)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    if logarithmic:
        first, last = round(math.log10(low)), round(math.log10(high))
        every = max(1, math.ceil((last - first) / 4))
        return [10.0**power for power in range(first, last + 1, every)]
    step = _nice_step(high - low)
    return [low + number * step for number in range(int((high - low) / step + 1.5))]


def _pieces(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Return the points thinned to at most `MAX_POINTS`, the newest among them, cut where y is not finite."""
    if len(points) > MAX_POINTS:
        chosen = np.linspace(0, len(points) - 1, MAX_POINTS).round().astype(int)
        points = [points[number] for number in chosen.tolist()]
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]
