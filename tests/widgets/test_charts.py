"""What charts draw: lines and their gaps, marks, names and numbers."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QColor

from napari_cam_feedback.widgets.parts.charts import Chart, Line, Mark
from napari_cam_feedback.widgets.parts.plot import COLOURS
from widget_fixtures import axis_texts


@pytest.fixture
def chart(qtbot):
    chart = Chart(ViewerModel(), "Loss")
    qtbot.addWidget(chart)
    chart.resize(300, 165)
    chart.last_x = 10.0
    chart.show()
    return chart


def columns(chart: Chart, colour: str) -> set[int]:
    """Return at which whole x of the axis something has nearly this colour."""
    chart.draw()
    picture = chart.grab().toImage()
    ratio, frame = picture.devicePixelRatio(), chart.axes.vb
    wanted = np.array(QColor(colour).getRgb()[:3])
    found = set()
    for x in range(int(chart.last_x) + 1):
        left = round(frame.mapViewToScene(QPointF(x, 0)).x() * ratio)
        for y in range(round(frame.sceneBoundingRect().top() * ratio), round(frame.sceneBoundingRect().bottom() * ratio)):
            near = [picture.pixelColor(left + more, y).getRgb()[:3] for more in (-1, 0, 1)]
            if np.abs(np.array(near) - wanted).max(1).min() < 60:
                found.add(x)
    return found


def test_a_line_has_a_gap_where_a_value_is_no_number_and_one_value_alone_is_seen(chart):
    values = [1.0, 2, 1, math.nan, math.nan, math.inf, 2, math.nan, math.nan, 1, 2]
    chart.lines["a"] = Line(list(enumerate(values)), COLOURS[1], width=2, named=False)
    assert columns(chart, COLOURS[1]) == {0, 1, 2, 6, 9, 10}


@pytest.mark.parametrize("x", [0, 5, 10])
def test_the_very_first_value_is_seen_wherever_it_stands(chart, x):
    chart.lines["a"] = Line([(x, 1.0)], COLOURS[1], width=2, named=False)
    assert columns(chart, COLOURS[1]) == {x}


def test_lines_without_a_name_are_not_joined(chart):
    for name, first in (("a", 0), ("b", 6)):
        chart.lines[name] = Line([(first + x, 1.0 + x) for x in range(4)], COLOURS[1], width=2, named=False)
    assert columns(chart, COLOURS[1]) == {0, 1, 2, 3, 6, 7, 8, 9}


def test_a_mark_reaches_from_the_bottom_to_the_top_where_it_stands_and_is_named(chart):
    chart.lines["a"] = Line([(0, 1.0), (10, 2.0)], named=False)
    chart.marks["best"] = Mark(4, COLOURS[2])
    chart.draw()
    x, y = chart.curves["best"].getData()
    assert x.tolist() == [4, 4]
    assert y.tolist() == chart.axes.viewRange()[1]
    assert [label.item.toPlainText() for _, label in chart.axes.legend.items] == ["best"]
    chart.clear()
    chart.draw()
    assert not chart.curves
    assert not chart.axes.legend.items


@pytest.mark.parametrize(
    ("values", "logarithmic", "low", "high"),
    [
        ([0.5, 2], False, 0, 2),
        ([-1, 2], False, -1, 2),
        ([0.001, 1], True, -3, 0),
        ([0, 100], False, 0, 100),
        ([math.nan], False, 0, 1),
    ],
)
def test_the_range_follows_the_values_and_is_logarithmic_where_they_are_far_apart(chart, values, logarithmic, low, high):
    chart.lines["a"] = Line(list(enumerate(values)))
    chart.draw()
    assert chart.axes.getAxis("left").logMode is logarithmic
    room = 0.04 * (high - low)
    assert chart.axes.viewRange()[1] == pytest.approx([low, high], abs=room)


@pytest.mark.parametrize("last", [1, 3, 37, 250, 10_000])
def test_the_axes_have_numbers_at_their_ends(qtbot, last):
    chart = Chart(ViewerModel(), "p", limits=(0.0, 1.0))
    qtbot.addWidget(chart)
    chart.resize(160, 165)
    chart.last_x = float(last)
    chart.show()
    assert axis_texts(chart, "bottom") == ["0", str(last)]
    assert {0, 1} <= {float(text) for text in axis_texts(chart, "left")}


def test_a_name_that_looks_like_html_is_shown_letter_for_letter(chart):
    chart.title = chart.x_name = name = "<b>a</b> & b"
    chart.lines[name] = Line([(1, 1.0)])
    chart.draw()
    shown = [chart.axes.titleLabel.item, chart.axes.getAxis("bottom").label, chart.axes.legend.items[0][1].item]
    assert [item.toPlainText().strip() for item in shown] == [name] * 3


def test_the_mouse_and_the_keyboard_pass_through_a_chart(chart):
    assert chart.childAt(QPoint(150, 80)) is None
    view = chart.layout().itemAt(0).widget()
    assert view.focusPolicy() == Qt.FocusPolicy.NoFocus
    assert chart.axes.getViewBox().menu is None


def test_the_library_of_charts_is_loaded_when_one_is_first_in_sight():
    code = (
        "import sys\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from napari.components import ViewerModel\n"
        "from napari_cam_feedback.widgets.parts.charts import StepPlot\n"
        "import napari_cam_feedback.widgets.train.plot, napari_cam_feedback.widgets.filters.dock\n"
        "plot = StepPlot(ViewerModel())\n"
        "plot.add(1, {'a': 1.0})\n"
        "plot.redraw()\n"
        "assert 'pyqtgraph' not in sys.modules\n"
        "plot.show()\n"
        "assert 'pyqtgraph' in sys.modules\n"
    )
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
