"""The colours of words in tables are readable in each of napari's themes."""

from __future__ import annotations

import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor

from napari_cam_feedback.evaluation import ComparisonRow
from napari_cam_feedback.widgets.parts.comparison_table import ComparisonTable
from napari_cam_feedback.widgets.parts.table_colours import table_colour

MIN_CONTRAST = 4.5
ROWS = [ComparisonRow("test", "accuracy", 0.5, 0.9), ComparisonRow("test", "flip_rate", 0.1, 0.5)]


def luminance(colour: QColor) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: QColor, other: QColor) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast(QColor("black"), QColor("white")) == pytest.approx(21)
    assert contrast(QColor("#767676"), QColor("white")) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_each_theme_has_colours_that_can_be_read_on_it_and_told_apart(make_napari_viewer, theme):
    viewer = make_napari_viewer()
    viewer.theme = theme
    blue, orange = table_colour("blue"), table_colour("orange")
    for background in (get_theme(theme).background, get_theme(theme).foreground):
        for colour in (blue, orange):
            assert contrast(colour, QColor(background.as_hex())) >= MIN_CONTRAST
    assert blue.blue() > blue.red() + 100
    assert orange.red() > orange.blue() + 100


def test_a_table_that_is_shown_follows_the_theme(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.theme = "dark"
    # The window owns it and takes it away.
    table = ComparisonTable(viewer.window._qt_window)
    table.show_rows(ROWS)
    table.resize(600, table.height())
    table.show()
    for theme in ("dark", "light", "dark"):
        viewer.theme = theme
        pixel = table.viewport().grab().toImage().pixelColor(table.viewport().width() - 3, table.viewport().height() - 3)
        # What lies behind the words is what the colours were chosen for.
        assert contrast(pixel, QColor(get_theme(theme).foreground.as_hex())) < 1.3
        for row in (1, 2):
            assert contrast(table.item(row, 3).foreground().color(), pixel) >= MIN_CONTRAST
