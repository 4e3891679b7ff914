"""A widget painted by ourselves in the colours of napari's theme."""

from __future__ import annotations

from typing import Any

from napari.utils.theme import get_theme
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget


class Themed(QWidget):
    """A widget painted by ourselves that takes the text colour of napari's theme.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    height : int, optional
        Fixed height in pixels.
    """

    def __init__(self, viewer: Any, height: int | None = None) -> None:
        super().__init__()
        self.text_colour = "#f0f1f2"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        if height is not None:
            self.setFixedHeight(height)
        viewer.events.theme.connect(self._take_theme)
        self._take_theme(value=viewer.theme)

    def _take_theme(self, event: Any = None, *, value: str | None = None) -> None:
        self.text_colour = get_theme(value if value is not None else event.value).text.as_hex()
        self.update()

    def begin(self) -> tuple[QPainter, QFontMetricsF]:
        """Return a painter with a small font, and its metrics."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPixelSize(10)
        painter.setFont(font)
        painter.setPen(QColor(self.text_colour))
        return painter, QFontMetricsF(font)
