"""Every text in every dock can be read in each of napari's themes, and none is cut off on a small screen."""

from __future__ import annotations

from collections import Counter

import pytest
from napari.components import ViewerModel
from napari.qt import get_stylesheet
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.QtCore import QRect
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

from napari_cam_feedback.evaluation import ComparisonRow
from napari_cam_feedback.widgets.parts.charts import StepPlot
from napari_cam_feedback.widgets.parts.comparison_table import ComparisonTable
from napari_cam_feedback.widgets.parts.tones import _ON_DARK, set_rich_text, set_tone, text_colour, tone_colour, tone_of
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.docks import LEADING, PLUGIN, STEPS

pytest_plugins = ["widget_fixtures"]

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
def test_each_tone_can_be_read_on_what_lies_behind_text_in_each_theme(make_napari_viewer, theme):
    viewer = make_napari_viewer()
    viewer.theme = theme
    for background in (get_theme(theme).background, get_theme(theme).foreground):
        for tone in _ON_DARK:
            assert contrast(text_colour(tone), QColor(background.as_hex())) >= MIN_CONTRAST
    # Told apart with any colour vision.
    better, worse = text_colour("good"), text_colour("warning")
    assert better.blue() > better.red() + 100
    assert worse.red() > worse.blue() + 75


def test_text_that_is_shown_follows_the_theme(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.theme = "dark"
    label, rich = QLabel("text", viewer.window._qt_window), QLabel(viewer.window._qt_window)
    set_tone(label, "warning")
    set_rich_text(rich, lambda: f"<b style='color: {tone_colour('good')}'>Fixed</b>")
    for theme in ("light", "dark"):
        viewer.theme = theme
        assert tone_of(label) == "warning"
        assert tone_colour("warning") in label.styleSheet()
        assert tone_colour("good") in rich.text()
    set_tone(label, None)
    viewer.theme = "light"
    assert not label.styleSheet()


DOCKS = (LEADING, "Filters", "Concepts", "Train")


@pytest.fixture
def docks(make_napari_viewer, project, wait):
    """Every dock in a window for a small screen, with a project open, and a sentence in every line that may hold one."""
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    found = {name: viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True) for name in DOCKS}
    wait(lambda: not session.jobs.running())
    yield viewer, found
    session.close()


def views(found, qtbot):
    """Bring each dock to the front, the leading one at each of its steps; yields a name and the dock."""
    for name, (dock, widget) in found.items():
        dock.raise_()
        for step in STEPS if name == LEADING else ("",):
            if step:
                widget.show_step(step)
            qtbot.wait(50)
            yield f"{name} {step}".strip(), dock


def texts_of(dock):
    """Widgets of a dock that show text now, and the text."""
    for widget in dock.findChildren(QWidget):
        if not widget.isVisible() or not widget.isEnabled() or widget.visibleRegion().isEmpty():
            continue
        if 2 * widget.visibleRegion().boundingRect().height() < widget.height():
            continue  # most of it lies beyond what can be seen without scrolling
        text = widget.text() if isinstance(widget, QLabel | QAbstractButton | QLineEdit) else ""
        if isinstance(widget, QComboBox):
            text = widget.currentText()
        if text.strip():
            yield widget, text


def text_contrast(dock, widget):
    """The contrast of a widget's text, as it is painted, to what lies behind most of it."""
    seen = widget.visibleRegion().boundingRect()
    # Of the dock, since what lies behind a transparent widget is its parent's.
    picture = dock.grab(QRect(widget.mapTo(dock, seen.topLeft()), seen.size())).toImage()
    colours = Counter(
        picture.pixelColor(x, y).rgb() for y in range(picture.height()) for x in range(min(picture.width(), 300))
    )
    behind = QColor(colours.most_common(1)[0][0])
    return max(contrast(QColor(colour), behind) for colour in colours)


def test_every_text_of_every_dock_has_contrast_in_both_themes(docks, qtbot):
    viewer, found = docks
    low = {}
    for theme in ("dark", "light"):
        viewer.theme = theme
        for name, dock in views(found, qtbot):
            for widget, text in texts_of(dock):
                # Painted text has soft edges, which take a little of its contrast.
                if (found_contrast := text_contrast(dock, widget)) < MIN_CONTRAST - 0.3:
                    low[theme, name, text[:40]] = found_contrast
    assert not low


def cut_off(widget, text):
    """Whether a part of a widget's text is not to be seen; what scrolls can be scrolled."""
    if isinstance(widget, QLabel):
        if widget.wordWrap():
            return widget.height() + 1 < widget.heightForWidth(widget.width())
        return widget.width() + 1 < widget.sizeHint().width()
    if isinstance(widget, QPushButton):
        button = QStyleOptionButton()
        widget.initStyleOption(button)
        room = widget.style().subElementRect(QStyle.SubElement.SE_PushButtonContents, button, widget)
        return room.width() + 1 < widget.fontMetrics().horizontalAdvance(text)
    if isinstance(widget, QAbstractButton) and not isinstance(widget, QToolButton):
        return widget.width() + 1 < widget.fontMetrics().horizontalAdvance(text)
    return False


def test_no_text_is_cut_off_on_a_small_screen_with_larger_letters(docks, qtbot):
    viewer, found = docks
    window, size = viewer.window._qt_window, get_settings().appearance.font_size
    window.setStyleSheet(get_stylesheet(viewer.theme, extra_variables={"font_size": f"{round(1.2 * size)}pt"}))
    window.resize(1366, 768)
    cut = []
    for name, dock in views(found, qtbot):

        def now(name=name, dock=dock):
            return [(name, type(widget).__name__, text[:50]) for widget, text in texts_of(dock) if cut_off(widget, text)]

        # A text that wraps otherwise is laid out anew a little later.
        for _ in range(20):
            if not now():
                break
            qtbot.wait(50)
        cut += now()
    assert not cut


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


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_of_a_chart_can_be_read_also_when_the_theme_changes(qtbot, theme):
    viewer = ViewerModel()
    viewer.theme = {"dark": "light", "light": "dark"}[theme]
    plot = StepPlot(viewer)
    qtbot.addWidget(plot)
    plot.show()
    plot.add(1, {"a": 1.0}, ("x",), [0.5])
    plot.redraw()
    qtbot.waitUntil(lambda: "mean" in plot.painted.curves)
    viewer.theme = theme
    background = QColor(get_theme(theme).background.as_hex())
    text = get_theme(theme).text.as_hex()
    qtbot.waitUntil(lambda: plot.painted.curves["mean"].opts["pen"].color().name() == QColor(text).name())
    for chart in (plot.losses, plot.painted):
        axes = chart.axes
        shown = [axes.titleLabel.item.toHtml(), axes.getAxis("bottom").label.toHtml()]
        shown += [label.item.toHtml() for _, label in axes.legend.items]
        assert all(QColor(text).name() in html for html in shown)
        for side in ("left", "bottom"):
            assert contrast(axes.getAxis(side).textPen().color(), background) >= MIN_CONTRAST
        assert axes.legend.brush().color().name() == background.name()
    assert contrast(QColor(text), background) >= MIN_CONTRAST
