"""A panel of small images in groups, each of which can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPoint, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QToolTip

from napari_cam_feedback.widgets.parts.themed import Themed

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Tile

#: Least side of a small image's place, in pixels; they fill the width.
CELL = 52
_GAP = 3
#: Share of brightness outside the filter's area.
_DIM = 0.35


@dataclass
class Group:
    """Small images under a title."""

    title: str
    tiles: list[Tile] = field(default_factory=list)


class ThumbnailPanel(Themed):
    """Groups of tiles, wrapped to the width; inside a scroll area.

    Signals
    -------
    clicked : int
        The item of a tile was clicked.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    """

    clicked = Signal(int)

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        #: For the tooltips.
        self.class_names: Sequence[str] = ()
        self.current: int | None = None
        self._groups: list[Group] = []
        self._pixmaps: dict[int, QPixmap] = {}
        self._places: list[tuple[Tile, QRect]] = []
        self._titles: list[tuple[str, int]] = []
        self.setMouseTracking(True)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    @property
    def tiles(self) -> list[Tile]:
        """All tiles, in the order shown."""
        return [tile for group in self._groups for tile in group.tiles]

    @property
    def titles(self) -> list[str]:
        """The groups' titles."""
        return [group.title for group in self._groups]

    def show_groups(self, groups: Sequence[Group]) -> None:
        """Show other groups."""
        self._groups = list(groups)
        kept = {id(tile) for tile in self.tiles}
        self._pixmaps = {key: pixmap for key, pixmap in self._pixmaps.items() if key in kept}
        for tile in self.tiles:
            if id(tile) not in self._pixmaps:
                self._pixmaps[id(tile)] = _pixmap(tile.shown(_DIM))
        self._arrange()

    def set_current(self, index: int | None) -> None:
        """Frame the tiles of this item."""
        self.current = index
        self.update()

    def place_of(self, tile: Tile) -> QPoint:
        """Return the middle of a tile in the panel."""
        return next(place.center() for other, place in self._places if other is tile)

    # Layout --------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        height = self._lay_out(max(self.width(), CELL))
        self.setMinimumHeight(height)
        self.updateGeometry()
        self.update()

    def _lay_out(self, width: int) -> int:
        columns = max(1, (width + _GAP) // (CELL + _GAP))
        step = (width + _GAP) // columns
        line = self.fontMetrics().height()
        self._places, self._titles, top = [], [], 0
        for group in self._groups:
            self._titles.append((group.title, top))
            top += line + 2
            for place, tile in enumerate(group.tiles):
                row, column = divmod(place, columns)
                self._places.append((tile, QRect(column * step, top + row * step, step - _GAP, step - _GAP)))
            top += -(-len(group.tiles) // columns) * step + 2
        return max(top, line)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._lay_out(width)

    def sizeHint(self) -> QSize:
        return QSize(300, self.minimumHeight())

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._arrange()

    # Painting and the mouse ------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        font = QFont(self.font())
        font.setPixelSize(max(10, self.fontMetrics().height() - 6))
        painter.setFont(font)
        painter.setPen(QColor(self.text_colour))
        for text, top in self._titles:
            painter.drawText(QRect(0, top, self.width(), self.fontMetrics().height()), 0, text)
        for tile, place in self._places:
            if not place.intersects(event.rect()):
                continue
            pixmap = self._pixmaps[id(tile)]
            shown = pixmap.size().scaled(place.size(), Qt.AspectRatioMode.KeepAspectRatio)
            corner = place.center() - QPoint(shown.width() // 2, shown.height() // 2)
            painter.drawPixmap(QRect(corner, shown), pixmap)
            if tile.index == self.current:
                painter.setPen(QPen(QColor("#FFFFFF"), 2))
                painter.drawRect(place.adjusted(1, 1, -1, -1))
            elif tile.label is not None and tile.label != tile.predicted:
                painter.setPen(QPen(QColor("#FF8A65"), 1))
                painter.drawRect(place.adjusted(0, 0, -1, -1))
        painter.end()

    def _tile_at(self, position: QPoint) -> Tile | None:
        return next((tile for tile, place in self._places if place.contains(position)), None)

    def mouseMoveEvent(self, event: Any) -> None:
        tile = self._tile_at(event.pos())
        self.setCursor(Qt.CursorShape.ArrowCursor if tile is None else Qt.CursorShape.PointingHandCursor)
        if tile is None:
            QToolTip.hideText()
        else:
            QToolTip.showText(self.mapToGlobal(event.pos()), self.describe(tile), self)

    def mousePressEvent(self, event: Any) -> None:
        tile = self._tile_at(event.pos())
        if tile is not None and event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit(tile.index)

    def describe(self, tile: Tile) -> str:
        """Return what a tile is, for its tooltip."""
        names = self.class_names
        label = "unknown" if tile.label is None else names[tile.label]
        return f"{tile.key}\nclass {label}, predicted {names[tile.predicted]}\nmean activation {tile.activation:.3g}"


def _pixmap(image: np.ndarray) -> QPixmap:
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    # A copy, since Qt does not keep the array.
    return QPixmap.fromImage(QImage(image.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy())
