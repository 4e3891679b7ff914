"""The Filters dock's ranking, comparison of versions and map of the images."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QColor

from napari_cam_feedback.explanations import agreement, embed, features_of, filter_changes
from napari_cam_feedback.files import read_json, write_json
from napari_cam_feedback.models import save_classifier
from napari_cam_feedback.monitor import Callbacks
from napari_cam_feedback.widgets.filters import changes as filter_changes_view
from napari_cam_feedback.widgets.filters.charts import BarPlot, CurvePlot, HistogramPlot, class_colour
from napari_cam_feedback.widgets.filters.dock import FiltersWidget
from napari_cam_feedback.widgets.filters.model import JOB
from napari_cam_feedback.widgets.filters.scatter import ScatterPlot
from napari_cam_feedback.widgets.parts.plot import COLOURS
from napari_cam_feedback.widgets.session.session import prepare, session_of
from widget_fixtures import axis_texts

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def docked(session, qtbot):
    """The dock, as a window of its own."""
    return session, shown(session, qtbot)


def shown(session, qtbot):
    widget = FiltersWidget(session.viewer)
    qtbot.addWidget(widget)
    widget.resize(340, 850)
    widget.show()
    return widget


@pytest.fixture
def two_versions(qtbot, project, wait):
    """The same with a second version, in which filter 5 is dead and the others are half as active."""
    other = project.classifier(device="cpu").copy()
    last = [m for m in other.module.features.modules() if hasattr(m, "weight") and m.weight is not None][-1]
    last.weight.data.mul_(0.5)
    last.bias.data.mul_(0.5)
    last.weight.data[5] = 0
    last.bias.data[5] = -1
    save_classifier(other, project.folder / "versions" / "v002.safetensors")
    state = read_json(project.folder / "project.json")
    state["versions"].append({**state["versions"][0], "id": "v002", "parent": "v001", "origin": "retuned"})
    write_json(project.folder / "project.json", {**state, "current": "v002"})
    project = type(project).open(project.folder)
    viewer = ViewerModel()  # sessions hold theirs weakly
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    widget = shown(session, qtbot)
    widget.tabs.setCurrentWidget(widget.changes)
    yield session, widget
    session.close()


def look(widget, wait):
    widget.model.look("train")
    wait(lambda: not widget.model.session.jobs.running(JOB) and widget.model.found is not None)


def test_before_a_look_each_tab_says_what_to_press(docked):
    _, widget = docked
    for label in (widget.ranking.curve_label, widget.embedding.said):
        assert label.text() == "Press “Look at all images” in the tab All images first."
    assert not widget.embedding.button.isEnabled()
    assert "There is one version only." in widget.changes.said.text()
    assert not widget.changes.button.isEnabled()


def test_the_curve_is_shown_with_its_cut_and_in_words(docked, wait):
    _, widget = docked
    look(widget, wait)
    curve = widget.model.survey.curve
    assert widget.ranking.plot.curve is curve
    assert widget.ranking.curve_label.text() == curve.sentence
    assert widget.ranking.top.value() == (curve.cut or 32)


def test_the_agreement_of_the_marks_with_the_ranking_follows_marks_and_number(docked, wait):
    _, widget = docked
    look(widget, wait)
    view, order = widget.ranking, widget.model.survey.ranking.order.tolist()
    assert "Mark filters as relevant or irrelevant" in view.agreement_label.text()
    for number, mark in ((order[0], "relevant"), (order[1], "irrelevant"), (order[20], "relevant"), (order[40], "relevant")):
        widget.model.mark(number, mark)
    view.top.setValue(10)
    assert view.agreement == agreement(widget.model.marks, np.array(order), 10)
    text = view.agreement_label.text()
    assert text.startswith("You marked 3 relevant and 1 irrelevant.")
    assert "1 of 2, 50%, of those marked among these best are relevant (precision)." in text
    assert "1 of 3, 33%, of those marked relevant are among these best (recall)." in text
    view.top.setValue(64)
    assert "3 of 3, 100%, of those marked relevant are among these best (recall)." in view.agreement_label.text()


def test_two_versions_are_compared_filter_by_filter_and_the_dead_are_named(two_versions, wait):
    session, widget = two_versions
    view = widget.changes
    assert (view.before.currentText(), view.after.currentText()) == ("v001", "v002")
    view.button.click()
    wait(lambda: view.found is not None)
    versions = [session.project.classifier(name, device="cpu") for name in ("v001", "v002")]
    features = [features_of(classifier, session.dataset, "train") for classifier in versions]
    expected = filter_changes(*features)
    assert view.table.order.tolist() == expected.order.tolist()
    number = int(expected.order[0])
    assert view.table.data(view.table.index(0, 0)) == str(number)
    assert float(view.table.data(view.table.index(0, 3))) == pytest.approx(expected.change[number], rel=0.06)
    assert "v001 → v002 over 12 images. Died: 5. Came alive: none." in view.said.text()
    row = view.table.order.tolist().index(5)
    assert view.table.data(view.table.index(row, 5)) == "died"
    view.view.selectRow(row)
    assert [name for name, _, _ in view.histogram.lines] == ["v001", "v002"]
    assert all(counts.sum() == 12 for _, counts, _ in view.histogram.lines)
    assert widget.model.number == 5


def test_comparing_can_be_stopped(two_versions, wait, monkeypatch):
    _, widget = two_versions
    real = features_of

    def stopped(*args, monitor, **more):
        return real(*args, monitor=Callbacks(stop=lambda: True), batch_size=2, **more)

    monkeypatch.setattr("napari_cam_feedback.explanations.features_of", stopped)
    widget.changes.button.click()
    wait(lambda: "Stopped" in widget.changes.said.text())
    assert widget.changes.found is None


def test_the_same_version_twice_is_nothing_to_compare(two_versions):
    _, widget = two_versions
    widget.changes.before.setCurrentText("v002")
    assert not widget.changes.button.isEnabled()


def test_a_click_on_a_point_of_the_map_opens_that_image(docked, wait, qtbot):
    session, widget = docked
    widget.tabs.setCurrentWidget(widget.embedding)
    look(widget, wait)
    view = widget.embedding
    view.button.click()
    wait(lambda: view.found is not None)
    assert (view.found.points == embed(widget.model.survey.features, "pca").points).all()
    assert "12 images; the axes hold" in view.said.text()
    point = next(n for n in range(12) if view.found.indices[n] != session.index)
    x, y = view.plot.positions()[point]
    assert view.plot.point_at(QPointF(x, y)) == point
    qtbot.mouseClick(view.plot, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))
    assert session.index == view.found.indices[point]
    assert view.plot.current == point
    assert view.plot.names[point].startswith(session.key)


def test_a_map_that_takes_long_can_be_stopped_and_the_one_before_it_stays(docked, wait, monkeypatch):
    _, widget = docked
    widget.tabs.setCurrentWidget(widget.embedding)
    look(widget, wait)
    view = widget.embedding
    view.button.click()
    wait(lambda: view.found is not None)
    before = view.found
    assert not view.stop_button.isVisible()

    def endless(features, method):
        while True:
            time.sleep(0.01)
            yield 1, 4

    monkeypatch.setattr("napari_cam_feedback.explanations.embedding_steps", endless)
    view.method.setCurrentIndex(view.method.findData("tsne"))
    view.button.click()
    wait(lambda: (view.bar.value(), view.bar.maximum()) == (1, 4))
    assert view.stop_button.isVisible()
    assert view.bar.isVisible()
    view.stop_button.click()
    wait(lambda: view.said.text() == "Stopped. This is the map drawn before.")
    assert view.found is before
    assert view.button.isEnabled()
    assert not view.bar.isVisible()


def test_the_map_is_coloured_by_class_error_paint_and_filter(docked, wait):
    session, widget = docked
    look(widget, wait)
    view = widget.embedding
    view.button.click()
    wait(lambda: view.found is not None)

    def counts():
        return {name: int(which.sum()) for name, _, which in view.plot.groups if which.any()}

    assert counts() == {"cat": 4, "dog": 4, "eel": 4}
    view.colour.setCurrentIndex(view.colour.findData("error"))
    wrong = int(view.found.errors.sum())
    assert counts() == {name: n for name, n in (("right", 12 - wrong), ("wrong", wrong)) if n}
    view.colour.setCurrentIndex(view.colour.findData("painted"))
    assert counts() == {"not painted": 12}
    session.put_mask(view.found.keys[2], np.ones((16, 16), bool))
    wait(lambda: counts() == {"not painted": 11, "painted": 1})
    view.colour.setCurrentIndex(view.colour.findData("filter"))
    values = widget.model.survey.features.mean[:, widget.model.number]
    assert sum(counts().values()) == 12
    last = view.plot.groups[-1][2]
    assert values[last].min() >= values[~last].max()


def test_the_wheel_enlarges_what_is_under_the_mouse_and_everything_can_be_seen_again(qtbot):
    plot = ScatterPlot(ViewerModel())
    qtbot.addWidget(plot)
    plot.resize(300, 300)
    plot.show()
    plot.show_points(np.array([[0, 0], [1, 1], [0.5, 0.2]]), ("a", "b", "c"))
    first = np.array([True, True, False])
    plot.show_groups([("one", COLOURS[1], first), ("two", COLOURS[2], ~first)])
    plot.set_current(2)
    plot.draw()
    qtbot.waitUntil(lambda: plot.axes.vb.sceneBoundingRect().right() <= 300)
    picture = plot.grab().toImage()
    for (x, y), colour in zip(plot.positions(), (COLOURS[1], COLOURS[1], COLOURS[2]), strict=True):
        wanted = QColor(colour).getRgb()[:3]
        near = [picture.pixelColor(int(x) + dx, int(y) + dy).getRgb()[:3] for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        assert np.abs(np.subtract(near, wanted)).max(1).min() < 60
    assert [label.item.toPlainText() for _, label in plot.axes.legend.items] == ["one", "two"]
    assert plot.curves[""].getData()[0].tolist() == [0.5]
    at = plot.positions()[2]

    class Wheel:
        def position(self):
            return QPointF(*at)

        def angleDelta(self):
            return QPoint(0, 120)

        def accept(self):
            pass

    for _ in range(5):
        plot.wheelEvent(Wheel())
    assert np.allclose(plot.positions()[2], at)
    assert np.linalg.norm(np.diff(plot.positions()[:2], axis=0)) > 500
    assert plot.point_at(QPointF(at[0] + 40, at[1])) is None
    plot.show_all()
    positions = plot.positions()
    assert ((positions >= 0) & (positions <= 300)).all()
    qtbot.mousePress(plot, Qt.MouseButton.LeftButton, pos=QPoint(20, 150))
    for x in (60, 100):
        qtbot.mouseMove(plot, QPoint(x, 140))
    moved = plot.positions() - positions
    assert np.allclose(moved, moved[0])
    assert moved[0, 0] > 0 > moved[0, 1]
    qtbot.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=QPoint(100, 140))
    qtbot.mouseDClick(plot, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
    assert np.allclose(plot.positions(), positions)


def test_another_version_empties_what_was_about_the_one_before(docked, wait):
    session, widget = docked
    look(widget, wait)
    widget.embedding.button.click()
    wait(lambda: widget.embedding.found is not None)
    other = session.classifier.copy()
    other.module.head.weight.data.mul_(1.5)
    session.set_classifier(other)
    assert widget.model.found is None
    assert widget.embedding.found is None
    assert not len(widget.embedding.plot.points)
    assert widget.ranking.plot.curve is None


@pytest.fixture
def histogram(qtbot):
    plot = HistogramPlot(ViewerModel())
    qtbot.addWidget(plot)
    plot.resize(300, 130)
    plot.show()
    return plot


def test_a_histogram_is_an_outline_a_group_over_numbers_that_are_round(histogram):
    edges, counts = np.linspace(0, 0.64, 5), np.array([3, 0, 7, 1])
    histogram.show_counts(
        edges, [("cat", counts, COLOURS[0]), ("none", counts * 0, COLOURS[1]), ("dog", counts[::-1], COLOURS[2])]
    )
    histogram.draw()
    assert list(histogram.curves) == ["cat", "dog"]
    x, y = histogram.curves["cat"].getData()
    assert x.tolist() == np.repeat(edges, 2).tolist()
    assert y.tolist() == [0, 3, 3, 0, 0, 7, 7, 1, 1, 0]
    assert histogram.curves["dog"].opts["pen"].color().name() == COLOURS[2].lower()
    (left, right), (low, high) = histogram.axes.viewRange()
    assert (left, right) == pytest.approx((0, 0.64))
    assert low <= 0 < 7 < high < 8
    for side in ("left", "bottom"):
        shown = axis_texts(histogram, side)
        assert len(shown) > 1
        assert all(float(text) == pytest.approx(float(f"{float(text):.1g}")) for text in shown)
    histogram.show_counts(np.zeros(0), [])
    histogram.draw()
    assert not histogram.axes.isVisible()


def test_the_curve_shows_the_model_s_own_accuracy_with_its_error_and_the_cut(qtbot):
    plot = CurvePlot(ViewerModel())
    qtbot.addWidget(plot)
    plot.show()
    curve = SimpleNamespace(
        counts=np.array([1, 8, 64]), accuracy=np.array([0.4, 0.8, 0.9]), full=0.95, standard_error=0.1, cut=8
    )
    plot.show_curve(curve)
    plot.draw()
    assert [each.tolist() for each in plot.curves["best filters"].getData()] == [[1, 8, 64], [0.4, 0.8, 0.9]]
    assert plot.curves["cut at 8"].getData()[0].tolist() == [8, 8]
    assert plot.curves["the model's own"].getData()[1].tolist() == [0.95, 0.95]
    assert plot.axes.viewRange()[1] == pytest.approx([0.37, 1.0])
    assert [label.item.toPlainText() for _, label in plot.axes.legend.items] == ["best filters", "cut at 8"]
    curve.cut = None
    plot.draw()
    assert [label.item.toPlainText() for _, label in plot.axes.legend.items] == ["best filters"]


def test_bars_reach_from_zero_to_either_side_the_greatest_at_the_top_in_the_colours_of_the_classes(qtbot):
    plot = BarPlot(ViewerModel())
    qtbot.addWidget(plot)
    plot.show()
    plot.show_values(["a", "b", "c", "a class whose name is too long for the chart"], np.array([-1.0, np.nan, 2.0, 0.5]))
    plot.resize(300, plot.height())
    plot.draw()
    bars = plot.curves["values"].opts
    assert bars["x0"].tolist() == [0, 0, 0]
    assert bars["x1"].tolist() == [2, 0.5, -1]
    assert bars["brushes"] == [class_colour(label) for label in (2, 3, 0)]
    assert plot.axes.vb.yInverted()
    names, values = axis_texts(plot, "left"), axis_texts(plot, "right")
    assert names[::2] == ["c", "a"]
    assert names[1].endswith("…")
    assert values == ["+2", "+0.5", "-1"]
    picture = plot.grab().toImage()
    colours = {picture.pixelColor(x, y).name() for x in range(picture.width()) for y in range(picture.height())}
    assert {class_colour(label).lower() for label in (2, 3, 0)} <= colours
    plot.show_values([str(label) for label in range(40)], np.arange(40.0))
    plot.draw()
    assert [name for name, _, _ in plot.rows] == [str(label) for label in (*range(39, 31, -1), *range(7, -1, -1))]


def test_many_filters_that_died_are_named_shortly():
    assert filter_changes_view._listed(np.arange(11)) == "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"
    assert filter_changes_view._listed(np.arange(0)) == "none"
