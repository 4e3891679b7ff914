"""The Filters dock: ranking the filters of the current image and showing them as layers."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_cam_feedback.widgets.browse.class_layers import ClassLayers
from napari_cam_feedback.widgets.filters.dock import FiltersWidget
from napari_cam_feedback.widgets.filters.image_filters import FILTER
from napari_cam_feedback.widgets.filters.table import UNDER_PAINT
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.identity import NAMESPACE, find_layers
from napari_cam_feedback.widgets.viewer.layers import CAM, CLASS_MAP, CONTOUR, IMAGE, MASK
from napari_cam_feedback.widgets.viewer.map_style import MapLook

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def docked(make_napari_viewer, project, wait):
    """The tab on the current image in a window that is shown, with the first image's ranking."""
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    widget = FiltersWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Filters", area="right")
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: widget.image.ranking is not None)
    yield session, widget.image
    session.close()


def choose_order(widget, by):
    widget.order_box.setCurrentIndex(widget.order_box.findData(by))


def rows(widget, column):
    model = widget.table
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def group(session, name):
    return [layer for layer in find_layers(session.viewer, FILTER) if layer.metadata[NAMESPACE]["group"] == name]


def paint(session, mask, wait):
    layer = session.layers.get(MASK)
    layer.data_setitem(np.nonzero(mask), 1)
    session.save()
    wait(lambda: session.current_mask() is not None)


def test_without_a_project_it_says_what_to_do_first(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    widget = FiltersWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Filters", area="right")
    assert "the step Open" in widget.image.hint.text()
    assert not widget.image.show_button.isEnabled()
    session_of(viewer).close()


def test_the_table_ranks_all_filters_by_contribution_to_the_shown_class(docked):
    session, widget = docked
    contributions = session.explanation.contributions
    expected = [str(number) for number in np.argsort(-contributions, kind="stable")]
    assert rows(widget, 0) == expected
    assert float(rows(widget, 3)[0]) == pytest.approx(contributions.max(), rel=1e-2)


def test_another_class_ranks_by_that_class(docked, wait):
    session, widget = docked
    other = (session.explanation.target + 1) % 3
    session.set_view(target=other)
    wait(lambda: widget.ranking.explanation.target == other)
    assert widget.ranking.order[0] == session.explanation.contributions.argmax()


def test_ranking_by_the_mask_asks_for_a_mask_and_uses_it_once_painted(docked, wait):
    session, widget = docked
    choose_order(widget, "mask")
    wait(lambda: "painted" in widget.hint.text())
    assert widget.ranking.by == "contribution"
    mask = np.zeros(session.explanation.image.shape[:2], bool)
    mask[:8, :8] = True
    paint(session, mask, wait)
    wait(lambda: widget.ranking.by == "mask")
    assert widget.ranking.order[0] == session.explanation.filter_scores("mask", mask).argmax()


def show_as_layers(widget, wait):
    """Show the top filters and wait for their layers, which are made one at a time."""
    widget.show_as_layers()
    grid = grid_of(widget._session)
    wait(lambda: grid.owner is not None and not grid.busy)


def test_the_top_filters_are_laid_out_beside_the_image_with_common_limits(docked, wait):
    session, widget = docked
    show_as_layers(widget, wait)
    viewer, layers = session.viewer, group(session, "grid")
    assert viewer.canvas.grid.enabled
    assert [layer.metadata[NAMESPACE]["filter"] for layer in layers] == widget.ranking.order[:9].tolist()
    assert layers[0].name == f"1. filter {widget.ranking.order[0]}"
    assert len({tuple(layer.contrast_limits) for layer in layers}) == 1
    visible = [layer for layer in viewer.layers if layer.visible]
    assert visible == [session.layers.get(IMAGE), *layers]
    assert all(layer.name_overlay.visible for layer in visible)
    assert viewer.canvas.grid.actual_shape(viewer.layers) == (3, 4)
    assert np.allclose(layers[0].data, session.explanation.filter_map(int(widget.ranking.order[0])))


def test_the_window_answers_between_two_layers_that_are_made(docked, wait):
    session, widget = docked
    found, turns = [], []
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(len(found)))
    timer.start(0)
    session.viewer.layers.events.inserted.connect(lambda event: found.append(event.value))
    show_as_layers(widget, wait)
    timer.stop()
    assert len(found) == 9
    assert set(turns) >= set(range(1, 10))


def test_who_goes_back_before_all_layers_are_made_gets_the_viewer_back(docked, wait):
    session, widget = docked
    before = [(layer.name, layer.visible) for layer in session.viewer.layers]
    widget.show_as_layers()
    wait(lambda: len(group(session, "grid")) == 3)
    widget.back_button.click()
    assert [(layer.name, layer.visible) for layer in session.viewer.layers] == before
    turns = []
    QTimer.singleShot(50, lambda: turns.append(True))
    wait(lambda: turns)
    assert [(layer.name, layer.visible) for layer in session.viewer.layers] == before
    assert not session.viewer.canvas.grid.enabled
    assert not grid_of(session).busy
    show_as_layers(widget, wait)
    assert len(group(session, "grid")) == 9


def test_the_grid_that_was_asked_for_last_is_the_one_that_is_shown(docked, wait):
    session, widget = docked
    classes = ClassLayers(session)
    classes.show()
    wait(lambda: find_layers(session.viewer, CLASS_MAP))
    widget.show_as_layers()
    wait(lambda: grid_of(session).owner is not None and not grid_of(session).busy)
    assert grid_of(session).owner == "filters"
    assert not classes.on
    assert not find_layers(session.viewer, CLASS_MAP)
    classes.close()


def test_the_grid_follows_the_image_and_the_number_without_new_layers(docked, wait):
    session, widget = docked
    show_as_layers(widget, wait)
    before = group(session, "grid")
    session.step(1)
    wait(lambda: before[0].metadata[NAMESPACE]["key"] == session.key)
    assert group(session, "grid") == before
    assert np.allclose(before[0].data, session.explanation.filter_map(int(widget.ranking.order[0])))
    widget.count_box.setValue(4)
    wait(lambda: len(group(session, "grid")) == 4)
    assert group(session, "grid") == before[:4]


@pytest.mark.parametrize("way", ["button", "napari"])
def test_going_back_gives_the_viewer_back_as_it_was(docked, wait, way):
    session, widget = docked
    viewer = session.viewer
    viewer.layers.selection.active = session.layers.get(MASK)
    before = {layer.name: (layer.visible, layer.name_overlay.visible) for layer in viewer.layers}
    show_as_layers(widget, wait)
    assert viewer.layers.selection.active is session.layers.get(MASK)
    if way == "button":
        widget.back_button.click()
    else:
        viewer.canvas.grid.enabled = False
    assert not viewer.canvas.grid.enabled
    assert {layer.name: (layer.visible, layer.name_overlay.visible) for layer in viewer.layers} == before
    assert viewer.layers.selection.active is session.layers.get(MASK)
    assert widget.show_button.isEnabled()
    assert not widget.back_button.isEnabled()


def test_a_selected_row_shows_that_filter_over_the_image_and_follows_it(docked, wait):
    session, widget = docked
    number = int(widget.ranking.order[2])
    widget.view.selectRow(2)
    wait(lambda: group(session, "over"))
    (layer,) = group(session, "over")
    assert layer.name == f"filter {number}"
    assert np.allclose(layer.data, session.explanation.filter_map(number))
    assert not session.layers.get(CAM).visible
    session.step(1)
    wait(lambda: layer.metadata[NAMESPACE]["key"] == session.key)
    assert np.allclose(layer.data, session.explanation.filter_map(number))
    assert widget.number_box.value() == number
    widget.over_check.setChecked(False)
    assert group(session, "over") == []
    assert session.layers.get(CAM).visible


def test_the_line_around_the_map_does_not_stay_around_a_filter(docked, wait):
    session, widget = docked
    session.layers.set_look(MapLook(contour=50))
    contour = session.layers.get(CONTOUR)
    assert contour.visible
    widget.view.selectRow(2)
    wait(lambda: group(session, "over"))
    assert not contour.visible
    session.step(1)
    wait(lambda: group(session, "over")[0].metadata[NAMESPACE]["key"] == session.key)
    assert not session.layers.get(CONTOUR).visible
    widget.over_check.setChecked(False)
    assert session.layers.get(CONTOUR).visible


def test_the_column_under_the_paint_is_there_only_where_filters_are_ranked_by_it(docked, wait):
    session, widget = docked
    assert widget.view.isColumnHidden(UNDER_PAINT)
    session.put_mask(session.key, np.ones((16, 16), bool))
    widget.order_box.setCurrentIndex(widget.order_box.findData("mask"))
    wait(lambda: widget.ranking.by == "mask")
    assert not widget.view.isColumnHidden(UNDER_PAINT)


def test_a_number_chooses_the_filter_too(docked, wait):
    session, widget = docked
    widget.number_box.setValue(5)
    wait(lambda: [layer.name for layer in group(session, "over")] == ["filter 5"])
    assert widget.table.number(widget.view.currentIndex().row()) == 5


def test_a_deleted_layer_comes_back_with_the_next_image(docked, wait):
    session, widget = docked
    show_as_layers(widget, wait)
    session.viewer.layers.remove(group(session, "grid")[3])
    session.step(1)
    wait(lambda: len(group(session, "grid")) == 9)


def test_an_image_that_cannot_be_read_is_told_of(docked, files, wait, forget_explanations):
    session, widget = docked
    key = session.dataset.keys[1]
    (files.data / key).write_bytes(b"broken")
    forget_explanations(session)
    session.go_to(1)
    wait(lambda: session.item_error is not None)
    wait(lambda: key.rsplit("/", 1)[-1] in widget.hint.text())
