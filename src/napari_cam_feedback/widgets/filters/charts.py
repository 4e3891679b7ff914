"""Small charts of filters, painted with Qt: the accuracy curve, histograms, contributions by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF

from napari_cam_feedback.widgets.parts.charts import COLOURS
from napari_cam_feedback.widgets.parts.themed import Themed

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import AccuracyCurve

CUT_COLOUR = "#D55E00"
#: Colours of classes; those beyond share gray.
CLASS_COLOURS = (*COLOURS, "#9A6FE0", "#8DD35F", "#C9A27E")
OTHER_COLOUR = "#9E9E9E"


def class_colour(label: int) -> str:
    """Return the colour of a class, gray where there are too many to tell apart."""
    return CLASS_COLOURS[label] if 0 <= label < len(CLASS_COLOURS) else OTHER_COLOUR


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers between two bounds."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class AxesPlot(Themed):
    """A pair of axes from the ranges `x_range` and `y_range`; a subclass paints what is in it."""

    def __init__(self, viewer: Any, height: int, x_name: str, y_name: str) -> None:
        super().__init__(viewer, height)
        self.x_name, self.y_name = x_name, y_name
        self.x_range, self.y_range = (0.0, 1.0), (0.0, 1.0)
        self.empty = True

    def content(self, painter: QPainter, frame: QRectF, place: Any) -> None:
        """Paint into the frame; ``place(x, y)`` gives the point of two values."""

    def legend(self) -> Sequence[tuple[str, str]]:
        """Return names and colours."""
        return ()

    def paintEvent(self, event: Any) -> None:
        painter, metrics = self.begin()
        if self.empty:
            painter.end()
            return
        line = metrics.height()
        y_ticks = ticks(*self.y_range)
        left = max(metrics.horizontalAdvance(f"{tick:g}") for tick in y_ticks) + 6
        frame = QRectF(left, line + 4, max(self.width() - left - 8, 10), max(self.height() - 3 * line - 8, 10))

        def place(x: float, y: float) -> QPointF:
            across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0] or 1)
            up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0] or 1)
            return QPointF(frame.left() + across * frame.width(), frame.bottom() - up * frame.height())

        faint = QColor(self.text_colour)
        faint.setAlphaF(0.15)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for tick in y_ticks:
            y = place(self.x_range[0], tick).y()
            painter.setPen(faint)
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
            painter.setPen(QColor(self.text_colour))
            painter.drawText(QRectF(0, y - line / 2, left - 4, line), right, f"{tick:g}")
        for tick in ticks(*self.x_range):
            x = place(tick, self.y_range[0]).x()
            painter.drawText(QRectF(x - 30, frame.bottom() + 1, 60, line), Qt.AlignmentFlag.AlignHCenter, f"{tick:g}")
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        painter.drawText(QRectF(0, 0, self.width(), line), Qt.AlignmentFlag.AlignLeft, self.y_name)
        bottom = QRectF(frame.left(), frame.bottom() + line, frame.width(), line)
        painter.drawText(bottom, Qt.AlignmentFlag.AlignHCenter, self.x_name)
        self.content(painter, frame, place)
        x = self.width() - 4.0
        for name, colour in reversed(self.legend()):
            x -= metrics.horizontalAdvance(name)
            if x < metrics.horizontalAdvance(self.y_name) + 20:
                break  # no more room; the colours are those of the table
            painter.setPen(QColor(self.text_colour))
            painter.drawText(QPointF(x, metrics.ascent()), name)
            x -= 9
            painter.fillRect(QRectF(x, line / 2 - 3, 6, 6), QColor(colour))
            x -= 8
        painter.end()


class CurvePlot(AxesPlot):
    """Accuracy against the number of filters, the model's own, and the cut."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 190, "filters kept, the best first", "validation accuracy")
        self.curve: AccuracyCurve | None = None

    def show_curve(self, curve: AccuracyCurve | None) -> None:
        """Show a curve, or none."""
        self.curve = curve
        self.empty = curve is None or not len(curve.counts)
        if curve is not None and len(curve.counts):
            low = min(float(curve.accuracy.min()), curve.full - curve.standard_error)
            high = max(float(curve.accuracy.max()), curve.full + curve.standard_error)
            self.x_range, self.y_range = (0.0, float(curve.counts[-1])), (max(0.0, low - 0.03), min(1.0, high + 0.01))
        self.update()

    def content(self, painter: QPainter, frame: QRectF, place: Any) -> None:
        curve = self.curve
        assert curve is not None
        text = QColor(self.text_colour)
        band = QColor(text)
        band.setAlphaF(0.12)
        top, bottom = (
            place(0, min(max(curve.full + s * curve.standard_error, self.y_range[0]), self.y_range[1])).y() for s in (1, -1)
        )
        painter.fillRect(QRectF(frame.left(), top, frame.width(), bottom - top), band)
        painter.setPen(QPen(text, 1, Qt.PenStyle.DashLine))
        painter.drawLine(place(self.x_range[0], curve.full), place(self.x_range[1], curve.full))
        points = [place(x, y) for x, y in zip(curve.counts.tolist(), curve.accuracy.tolist(), strict=True)]
        painter.setPen(QPen(QColor(COLOURS[0]), 1.6))
        painter.drawPolyline(QPolygonF(points))
        if curve.cut is not None:
            painter.setPen(QPen(QColor(CUT_COLOUR), 1.6))
            painter.drawLine(place(curve.cut, self.y_range[0]), place(curve.cut, self.y_range[1]))

    def legend(self) -> Sequence[tuple[str, str]]:
        cut = self.curve.cut if self.curve is not None else None
        return (("best filters", COLOURS[0]), *(((f"cut at {cut}", CUT_COLOUR),) if cut is not None else ()))


class HistogramPlot(AxesPlot):
    """How often a filter's mean activation takes which value: outlines, one for each group of images."""

    def __init__(self, viewer: Any, height: int = 130) -> None:
        super().__init__(viewer, height, "mean activation", "images")
        self.edges = np.zeros(0)
        self.lines: list[tuple[str, np.ndarray, str]] = []

    def show_counts(self, edges: np.ndarray, lines: Sequence[tuple[str, np.ndarray, str]]) -> None:
        """Show counts (B,) between edges (B + 1,): name, counts and colour of each group."""
        self.edges, self.lines = edges, [line for line in lines if line[1].any()]
        self.empty = not self.lines
        if self.lines:
            self.x_range = (float(edges[0]), float(edges[-1]))
            self.y_range = (0.0, float(max(counts.max() for _, counts, _ in self.lines)) * 1.05)
        self.update()

    def content(self, painter: QPainter, frame: QRectF, place: Any) -> None:
        for _, counts, colour in self.lines:
            points = [place(self.edges[0], 0)]
            for count, low, high in zip(counts, self.edges[:-1], self.edges[1:], strict=True):
                points += [place(low, count), place(high, count)]
            points.append(place(self.edges[-1], 0))
            painter.setPen(QPen(QColor(colour), 1.4))
            painter.drawPolyline(QPolygonF(points))

    def legend(self) -> Sequence[tuple[str, str]]:
        return [(name, colour) for name, _, colour in self.lines]


class BarPlot(Themed):
    """A bar for each class, from zero to either side, the greatest at the top."""

    #: Classes shown at most: those with the greatest values, and as many of the least.
    MAX_BARS = 16

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.rows: list[tuple[str, float, str]] = []

    def show_values(self, names: Sequence[str], values: np.ndarray | None) -> None:
        """Show a value for each class; those that are no number are left out."""
        self.rows = []
        if values is not None:
            order = [int(label) for label in np.argsort(-values, kind="stable") if np.isfinite(values[label])]
            if len(order) > self.MAX_BARS:
                order = order[: self.MAX_BARS // 2] + order[-self.MAX_BARS // 2 :]
            self.rows = [(names[label], float(values[label]), class_colour(label)) for label in order]
        self.setFixedHeight(max(1, len(self.rows)) * 14 + 4)
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter, metrics = self.begin()
        if self.rows:
            left = min(max(metrics.horizontalAdvance(name) for name, _, _ in self.rows), 110.0) + 6
            numbers = [f"{value:+.2g}" for _, value, _ in self.rows]
            right = max(metrics.horizontalAdvance(text) for text in numbers) + 6
            low, high = min(0.0, *(v for _, v, _ in self.rows)), max(0.0, *(v for _, v, _ in self.rows))
            width = max(self.width() - left - right, 10)
            unit = width / ((high - low) or 1)
            zero = left - low * unit
            for number, (name, value, colour) in enumerate(self.rows):
                top = 2 + 14 * number
                shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, left - 4)
                painter.drawText(QRectF(0, top, left, 14), Qt.AlignmentFlag.AlignVCenter, shown)
                painter.fillRect(QRectF(min(zero, zero + value * unit), top + 2, abs(value) * unit, 10), QColor(colour))
                painter.drawText(QRectF(left + width + 4, top, right, 14), Qt.AlignmentFlag.AlignVCenter, numbers[number])
            painter.drawLine(QPointF(zero, 0), QPointF(zero, self.height()))
        painter.end()
