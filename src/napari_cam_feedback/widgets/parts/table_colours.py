"""Blue and orange of words in tables, readable in napari's dark and in its light theme."""

from __future__ import annotations

from typing import Literal

from qtpy.QtGui import QColor

Name = Literal["blue", "orange"]

# Blue and orange are told apart with any colour vision. On the background of a table of that theme each has a contrast of
# at least 4.5 to 1, the least for text (WCAG 2.2, success criterion 1.4.3).
_ON_DARK: dict[Name, str] = {"blue": "#4FC3F7", "orange": "#FFB74D"}
_ON_LIGHT: dict[Name, str] = {"blue": "#00589C", "orange": "#8F4700"}


def table_colour(name: Name) -> QColor:
    """Return a colour as it is readable in a table of the window; dark themes where there is no window."""
    from napari.utils.theme import get_theme
    from napari.viewer import current_viewer

    viewer = current_viewer()
    theme = get_theme("dark" if viewer is None else viewer.theme)
    # napari gives tables this colour as their background.
    dark = QColor(theme.foreground.as_hex()).lightness() < 128
    return QColor((_ON_DARK if dark else _ON_LIGHT)[name])
