"""Widgets that are drawn in the colours of napari's theme."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakMethod

from napari.utils.theme import get_theme
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget


def follow_theme(viewer: Any, widget: QWidget, take: Callable[..., None]) -> None:
    """Call a method of a widget with ``value``, the theme's name, now, and with an event at each change until it is deleted.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    widget : QWidget
        Whose method it is.
    take : callable
        The bound method.
    """
    events, method = viewer.events.theme, WeakMethod(take)

    def leave(*_: object) -> None:
        alive = method()
        if alive is not None:
            # napari 0.9.0 asks the widget when it compares listeners, and PyQt has deleted that; dead ones are forgotten.
            with suppress(RuntimeError):
                events.disconnect(alive)

    events.connect(take)
    widget.destroyed.connect(leave)
    take(value=viewer.theme)


class Themed(QWidget):
    """A widget that takes the text colour of napari's theme.

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
        follow_theme(viewer, self, self._take_theme)

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
