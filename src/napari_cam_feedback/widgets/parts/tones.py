"""Colours of words that mean something (a warning, an error, a link, better), readable in each of napari's themes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QWidget

Tone = Literal["warning", "error", "quiet", "link", "good"]

# Each has a contrast of at least 4.5 to 1, the least for text (WCAG 2.2, success criterion 1.4.3), on the backgrounds of
# the window and of its tables and fields. The words say what the colours do.
_ON_DARK: dict[Tone, str] = {
    "warning": "#ffb74d",
    "error": "#ff9e8f",
    "quiet": "#b4b9c0",
    "link": "#6cb8f0",
    "good": "#6cb8f0",
}
_ON_LIGHT: dict[Tone, str] = {
    "warning": "#7d3f00",
    "error": "#9c1c10",
    "quiet": "#55555a",
    "link": "#00508c",
    "good": "#00508c",
}


def is_dark() -> bool:
    """Whether the window's theme is a dark one; also where there is no window."""
    from napari.viewer import current_viewer

    viewer = current_viewer()
    return _is_dark("dark" if viewer is None else viewer.theme)


@lru_cache
def _is_dark(theme: str) -> bool:
    from napari.utils.theme import get_theme

    return QColor(get_theme(theme).background.as_hex()).lightness() < 128


def tone_colour(tone: Tone) -> str:
    """Return a tone's colour, "#rrggbb", in the window's theme."""
    return (_ON_DARK if is_dark() else _ON_LIGHT)[tone]


def text_colour(tone: Tone) -> QColor:
    """Return the same for what Qt paints, such as a word in a table."""
    return QColor(tone_colour(tone))


def set_tone(widget: QWidget, tone: Tone | None) -> None:
    """Give a widget's text a tone, or its own colour back; it changes with napari's theme."""
    _follower_of(widget).follow(lambda: widget.setStyleSheet(_style(tone)))


def tone_of(widget: QWidget) -> Tone | None:
    """Return the tone of a widget's text now."""
    return next((tone for tone in _ON_DARK if widget.styleSheet() and widget.styleSheet() == _style(tone)), None)


def set_rich_text(label: QLabel, text: Callable[[], str]) -> None:
    """Show rich text in which there are colours of `tone_colour`; `text` is called again when napari's theme changes."""
    _follower_of(label).follow(lambda: label.setText(text()))


def _style(tone: Tone | None) -> str:
    if tone is None:
        return ""
    return f"color: {tone_colour(tone)};" + (" font-weight: bold;" if tone == "error" else "")


class _ThemeFollower(QObject):
    """Does something again when the theme of the window that a widget is in has changed."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._action: Callable[[], None] | None = None
        self._dark = True
        widget.installEventFilter(self)

    def follow(self, action: Callable[[], None]) -> None:
        """Do it now, and at every change."""
        self._action, self._dark = action, is_dark()
        action()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        # napari gives its window another style sheet; the widget's own is another change of style, which must not count.
        if event.type() == QEvent.Type.StyleChange and self._action is not None and is_dark() != self._dark:
            self._dark = not self._dark
            self._action()
        return False


def _follower_of(widget: QWidget) -> _ThemeFollower:
    return next((each for each in widget.children() if isinstance(each, _ThemeFollower)), None) or _ThemeFollower(widget)
