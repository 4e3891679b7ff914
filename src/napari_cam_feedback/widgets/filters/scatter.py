"""A scatter of images that can be enlarged and moved, and whose points can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QToolTip

from napari_cam_feedback.widgets.parts.themed import Themed

_MARGIN = 10
#: How far from a point a click still means it, in pixels.
_REACH = 12
_ZOOM = 1.2


class ScatterPlot(Themed):
    """Points in colours; the wheel enlarges, dragging moves, a double click shows all again.

    Signals
    -------
    clicked : int
        Which point, 0 to n - 1.
    """

    clicked = Signal(int)

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.points = np.zeros((0, 2), np.float32)
        self.groups: list[tuple[str, str, np.ndarray]] = []
        self.names: Sequence[str] = ()
        self.current: int | None = None
        self._centre, self._scale = np.zeros(2), 1.0
        self._image: QPixmap | None = None
        self._pressed: QPointF | None = None
        self._dragged = False
        self.setMinimumHeight(220)
        self.setMouseTracking(True)

    def show_points(self, points: np.ndarray, names: Sequence[str]) -> None:
        """Show other points, (n, 2), with a name each."""
        self.points, self.names, self.current = np.asarray(points, np.float64), names, None
        self.groups = []
        self.show_all()

    def show_groups(self, groups: Sequence[tuple[str, str, np.ndarray]]) -> None:
        """Colour the points: name, colour, and which points (bool, n) of each group; later ones lie on top."""
        self.groups = list(groups)
        self._changed()

    def set_current(self, point: int | None) -> None:
        """Frame one point."""
        self.current = point
        self.update()

    def show_all(self) -> None:
        """Fit all points into the widget."""
        if len(self.points):
            low, high = self.points.min(0), self.points.max(0)
            room = max(min(self.width(), self.height()) - 2 * _MARGIN, 10)
            self._centre, self._scale = (low + high) / 2, room / (float((high - low).max()) or 1.0)
        self._changed()

    def positions(self) -> np.ndarray:
        """Return where the points are in the widget, (n, 2) in pixels."""
        middle = np.array([self.width(), self.height()]) / 2
        return middle + (self.points - self._centre) * self._scale * np.array([1, -1])

    def point_at(self, position: QPointF) -> int | None:
        """Return the point nearest to a place in the widget, None where none is near."""
        if not len(self.points):
            return None
        distance = np.square(self.positions() - np.array([position.x(), position.y()])).sum(1)
        nearest = int(distance.argmin())
        return nearest if distance[nearest] <= _REACH**2 else None

    # Painting ------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._image = None
        self.update()

    def _draw(self) -> QPixmap:
        """Paint the points once; ten thousand of them take 20 ms, too long for every move of the mouse."""
        ratio = self.devicePixelRatioF()
        image = QPixmap(int(self.width() * ratio), int(self.height() * ratio))
        image.setDevicePixelRatio(ratio)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        positions = self.positions()
        inside = ((positions > -5) & (positions < np.array([self.width(), self.height()]) + 5)).all(1)
        size = 5.0 if len(self.points) < 2000 else 3.5 if len(self.points) < 8000 else 2.5
        for _, colour, which in self.groups:
            shade = QColor(colour)
            shade.setAlphaF(0.85)
            pen = QPen(shade, size)
            pen.setCapStyle(Qt.PenCapStyle.RoundCap)
            painter.setPen(pen)
            painter.drawPoints(QPolygonF([QPointF(x, y) for x, y in positions[which & inside].tolist()]))
        painter.end()
        return image

    def paintEvent(self, event: Any) -> None:
        if self._image is None:
            self._image = self._draw()
        painter, metrics = self.begin()
        painter.drawPixmap(0, 0, self._image)
        if self.current is not None and self.current < len(self.points):
            x, y = self.positions()[self.current]
            painter.setPen(QPen(QColor(self.text_colour), 1.5))
            painter.drawEllipse(QPointF(x, y), 6, 6)
        line, y = metrics.height(), 2.0
        for name, colour, which in self.groups:
            if which.any() and y < self.height() - line:
                painter.fillRect(QRectF(2, y + line / 2 - 3, 6, 6), QColor(colour))
                painter.setPen(QColor(self.text_colour))
                painter.drawText(
                    QPointF(12, y + metrics.ascent()), metrics.elidedText(name, Qt.TextElideMode.ElideRight, 90)
                )
                y += line
        painter.end()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.show_all()

    # The mouse -----------------------------------------------------------------------------------

    def wheelEvent(self, event: Any) -> None:
        position = np.array([event.position().x(), event.position().y()])
        factor = _ZOOM if event.angleDelta().y() > 0 else 1 / _ZOOM
        offset = (position - np.array([self.width(), self.height()]) / 2) * np.array([1, -1])
        # What is under the mouse stays there.
        self._centre = self._centre + offset / self._scale * (1 - 1 / factor)
        self._scale *= factor
        self._changed()
        event.accept()

    def mousePressEvent(self, event: Any) -> None:
        self._pressed, self._dragged = QPointF(event.pos()), False

    def mouseMoveEvent(self, event: Any) -> None:
        position = QPointF(event.pos())
        if self._pressed is not None and event.buttons() & Qt.MouseButton.LeftButton:
            moved = position - self._pressed
            if self._dragged or moved.manhattanLength() > 4:
                self._dragged, self._pressed = True, position
                self._centre = self._centre - np.array([moved.x(), -moved.y()]) / self._scale
                self._changed()
            return
        point = self.point_at(position)
        self.setCursor(Qt.CursorShape.ArrowCursor if point is None else Qt.CursorShape.PointingHandCursor)
        if point is None:
            QToolTip.hideText()
        else:
            QToolTip.showText(self.mapToGlobal(event.pos()), self.names[point], self)

    def mouseReleaseEvent(self, event: Any) -> None:
        pressed, self._pressed = self._pressed, None
        if pressed is None or self._dragged or event.button() != Qt.MouseButton.LeftButton:
            return
        point = self.point_at(QPointF(event.pos()))
        if point is not None:
            self.clicked.emit(point)

    def mouseDoubleClickEvent(self, event: Any) -> None:
        if self.point_at(QPointF(event.pos())) is None:
            self.show_all()
