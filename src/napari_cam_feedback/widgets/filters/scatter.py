"""A scatter of images that can be enlarged and moved, and whose points can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QToolTip

from napari_cam_feedback.widgets.parts.plot import Plot

#: How far from a point a click still means it, in pixels.
_REACH = 12
_ZOOM = 1.2


class ScatterPlot(Plot):
    """Points in colours; the wheel enlarges, dragging moves, a double click shows all again.

    Signals
    -------
    clicked : int
        Which point, 0 to n - 1.
    """

    clicked = Signal(int)
    NAMES_OPACITY = "00"

    def __init__(self, viewer: Any) -> None:
        self.points = np.zeros((0, 2))
        self.groups: list[tuple[str, str, np.ndarray]] = []
        self.names: Sequence[str] = ()
        self.current: int | None = None
        self._pressed: QPointF | None = None
        self._dragged = False
        super().__init__(viewer)
        self.setAccessibleName("map of the images")
        self.setMinimumHeight(220)
        self.setMouseTracking(True)

    def show_points(self, points: np.ndarray, names: Sequence[str]) -> None:
        """Show other points, (n, 2), with a name each."""
        self.points, self.names, self.current = np.asarray(points, np.float64), names, None
        self.groups = []
        self.show_all()
        self.redraw()

    def show_groups(self, groups: Sequence[tuple[str, str, np.ndarray]]) -> None:
        """Colour the points: name, colour, and which points (bool, n) of each group; later ones lie on top."""
        self.groups = list(groups)
        self.redraw()

    def set_current(self, point: int | None) -> None:
        """Frame one point."""
        self.current = point
        if self.axes is not None:
            self._ring()

    def show_all(self) -> None:
        """Fit all points into the widget."""
        if self.axes is not None and len(self.points):
            (left, bottom), (right, top) = self.points.min(0), self.points.max(0)
            self.axes.setRange(xRange=(left, right), yRange=(bottom, top), padding=0.05)

    def positions(self) -> np.ndarray:
        """Return where the points are in the widget, (n, 2) in pixels."""
        if self.axes is None:
            self.draw()
        place = self.axes.vb.mapViewToScene
        origin, across, up = (place(QPointF(*at)) for at in ((0, 0), (1, 0), (0, 1)))
        return np.array([origin.x(), origin.y()]) + self.points * [across.x() - origin.x(), up.y() - origin.y()]

    def point_at(self, position: QPointF) -> int | None:
        """Return the point nearest to a place in the widget, None where none is near."""
        if not len(self.points):
            return None
        distance = np.square(self.positions() - np.array([position.x(), position.y()])).sum(1)
        nearest = int(distance.argmin())
        return nearest if distance[nearest] <= _REACH**2 else None

    def prepare(self, axes: Any) -> None:
        for side in ("left", "right"):
            axes.hideAxis(side)
        axes.layout.setContentsMargins(1, 1, 1, 1)
        axes.setAspectLocked(True)
        axes.legend.setOffset((2, 2))
        self.show_all()

    def content(self, axes: Any) -> None:
        size = 5.0 if len(self.points) < 2000 else 3.5 if len(self.points) < 8000 else 2.5
        for name, colour, which in self.groups:
            if which.any():
                self.dots(name, self.points[which], f"{colour}d9", size)
        self._ring()

    def _ring(self) -> None:
        """Draw the ring alone; ten thousand points anew take 25 ms."""
        found = [self.current] if self.current is not None and self.current < len(self.points) else []
        self.dots("", self.points[np.array(found, int)], "#00000000", 12, ring=True)

    # The mouse -----------------------------------------------------------------------------------

    def wheelEvent(self, event: Any) -> None:
        factor = 1 / _ZOOM if event.angleDelta().y() > 0 else _ZOOM
        # What is under the mouse stays there.
        self.axes.vb.scaleBy((factor, factor), center=self.axes.vb.mapSceneToView(QPointF(event.position())))
        event.accept()

    def mousePressEvent(self, event: Any) -> None:
        self._pressed, self._dragged = QPointF(event.pos()), False

    def mouseMoveEvent(self, event: Any) -> None:
        position = QPointF(event.pos())
        if self._pressed is not None and event.buttons() & Qt.MouseButton.LeftButton:
            moved = position - self._pressed
            if self._dragged or moved.manhattanLength() > 4:
                self._dragged, self._pressed = True, position
                wide, high = self.axes.vb.viewPixelSize()
                self.axes.vb.translateBy(x=-moved.x() * wide, y=moved.y() * high)
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
