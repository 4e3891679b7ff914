"""The Filters dock over all images: the look, the table, galleries, marks, and masks from a filter."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt

from napari_cam_feedback.explanations import Tile, features_of, load_marks, top_images
from napari_cam_feedback.explanations.filters import survey as filter_survey
from napari_cam_feedback.feedback import MaskStore, filter_masks
from napari_cam_feedback.widgets.filters.dock import FiltersWidget
from napari_cam_feedback.widgets.filters.image_filters import FILTER
from napari_cam_feedback.widgets.filters.model import JOB
from napari_cam_feedback.widgets.filters.survey_table import ACTIVATION, CONTRIBUTION, MARK, NUMBER, PAINTED, PLACE
from napari_cam_feedback.widgets.parts.thumbnails import Group, ThumbnailPanel
from napari_cam_feedback.widgets.viewer.identity import find_layers
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def docked(session, qtbot):
    """The dock at the tab on all images, as a window of its own."""
    widget = FiltersWidget(session.viewer)
    qtbot.addWidget(widget)
    widget.tabs.setCurrentWidget(widget.overview)
    widget.resize(340, 850)
    widget.show()
    return session, widget


@pytest.fixture
def looked(docked, wait):
    """The same after a look at the training images."""
    session, widget = docked
    look(widget, wait)
    return session, widget


def look(widget, wait, split="train"):
    widget.overview.look.split.setCurrentText(split)
    widget.overview.look.button.click()
    wait(lambda: not widget.model.session.jobs.running(JOB) and widget.model.found is not None)


def column(widget, number):
    table = widget.overview.table
    return [table.data(table.index(row, number)) for row in range(table.rowCount())]


def painted_corner(session, keys):
    mask = np.zeros((16, 16), bool)
    mask[:8, :8] = True
    for key in keys:
        session.put_mask(key, mask)
    session.save()
    return mask


def test_nothing_is_computed_before_the_button_is_pressed(docked):
    _, widget = docked
    assert widget.model.found is None
    assert "One pass over the images" in widget.overview.hint.text()
    assert not widget.overview.splitter.isVisible()
    assert widget.overview.look.button.isEnabled()


def test_a_look_fills_the_table_best_ranked_first_and_keeps_the_result_with_the_project(looked):
    session, widget = looked
    survey = widget.model.survey
    assert len(survey.features) == 12
    assert column(widget, NUMBER) == [str(number) for number in survey.ranking.order]
    assert column(widget, PLACE) == [str(n + 1) for n in range(64)]
    first = int(survey.ranking.order[0])
    assert float(column(widget, CONTRIBUTION)[0]) == pytest.approx(np.nanmax(survey.contributions[:, first]), rel=0.05)
    assert widget.model.number == first
    assert "64 filters over 12 train images" in widget.overview.hint.text()
    names = {path.name.split("-")[0] for path in (session.project.folder / "filters").iterdir()}
    assert names == {"features", "ranking"}


def test_a_second_look_takes_a_moment_since_the_result_was_kept(looked, wait, monkeypatch):
    _, widget = looked
    before = widget.model.survey

    def again(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr("napari_cam_feedback.explanations.filters.features.iterate_features", again)
    monkeypatch.setattr(filter_survey, "rank_filters", again)
    widget.overview.look.button.click()
    wait(lambda: widget.model.survey is not before)
    assert (widget.model.survey.ranking.order == before.ranking.order).all()


def test_stop_ends_the_look_with_what_there_is(docked, wait, monkeypatch):
    session, widget = docked
    from napari_cam_feedback.explanations.filters import features

    real, going, stopped = features.iterate_features, threading.Event(), threading.Event()

    def slow(*args, **more):
        for batch in real(*args, **{**more, "batch_size": 2}):
            yield batch
            going.set()
            stopped.wait(10)

    monkeypatch.setattr(features, "iterate_features", slow)
    widget.overview.look.button.click()
    wait(going.is_set)
    assert widget.overview.look.stop_button.isVisible()
    widget.overview.look.stop_button.click()
    stopped.set()
    wait(lambda: not session.jobs.running(JOB))
    assert not widget.overview.look.stop_button.isVisible()
    assert "Stopped after" in widget.overview.hint.text()
    assert "of 12 images; look again to go on." in widget.overview.hint.text()
    assert not list((session.project.folder / "filters").glob("features-*"))


def test_a_column_sorts_with_what_one_looks_for_at_the_top(looked):
    _, widget = looked
    for number, ascending in ((ACTIVATION, False), (NUMBER, True)):
        widget.overview.view.sortByColumn(number, Qt.SortOrder.AscendingOrder)
        values = [0.0 if text == "dead" else float(text) for text in column(widget, number)]
        assert values == sorted(values, reverse=not ascending)
    # The chosen filter stays chosen.
    row = widget.overview.view.currentIndex().row()
    assert int(column(widget, NUMBER)[row]) == widget.model.number


def test_contributions_are_to_the_class_that_is_chosen(looked):
    _, widget = looked
    widget.overview.label.setCurrentText("dog")
    survey = widget.model.survey
    for row, number in enumerate(survey.ranking.order[:5].tolist()):
        assert float(column(widget, CONTRIBUTION)[row]) == pytest.approx(survey.contributions[1, number], rel=0.06)


def test_filters_that_look_at_the_paint_are_found_by_a_column(looked, wait):
    session, widget = looked
    assert widget.overview.view.isColumnHidden(PAINTED)
    painted_corner(session, [session.dataset.keys[i] for i in (0, 5, 9)])
    look(widget, wait)
    wait(lambda: widget.model.found.under is not None)
    assert not widget.overview.view.isColumnHidden(PAINTED)
    widget.overview.view.sortByColumn(PAINTED, Qt.SortOrder.AscendingOrder)
    under = widget.model.found.under
    assert under.images == 3
    assert int(column(widget, NUMBER)[0]) == under.order[0]


def test_the_gallery_of_the_chosen_filter_appears_and_a_click_opens_the_image_with_its_map(looked, wait, qtbot):
    session, widget = looked
    panel = widget.overview.detail.panel
    wait(lambda: len(panel.tiles) == 12)
    number = widget.model.number
    means = [tile.activation for tile in panel.tiles]
    assert means == sorted(means, reverse=True)
    assert sum(int(title.split(": ")[1].split(" ")[0]) for title in panel.titles) == 12
    tile = next(tile for tile in panel.tiles if tile.index != session.index)
    qtbot.mouseClick(panel, Qt.MouseButton.LeftButton, pos=panel.place_of(tile))
    assert session.index == tile.index
    wait(lambda: [layer.name for layer in find_layers(session.viewer, FILTER)] == [f"filter {number}"])
    (layer,) = find_layers(session.viewer, FILTER)
    wait(lambda: np.allclose(layer.data, session.explanation.filter_map(number)))
    assert panel.current == tile.index


def test_another_row_shows_that_filters_most_active_images_and_classes(looked, wait):
    session, widget = looked
    detail = widget.overview.detail
    detail.what.setCurrentIndex(1)
    widget.overview.view.selectRow(7)
    number = int(widget.model.survey.ranking.order[7])
    assert widget.model.number == number
    expected = top_images(widget.model.survey.features, number, 24).tolist()
    wait(lambda: [tile.index for tile in detail.panel.tiles] == expected)
    assert f"Filter {number}" in detail.title.text()
    detail.what.setCurrentIndex(2)
    assert {name for name, _, _ in detail.histogram.lines} == set(session.class_names)
    assert sum(int(counts.sum()) for _, counts, _ in detail.histogram.lines) == 12
    values = [value for _, value, _ in detail.bars.rows]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(float(np.nanmax(widget.model.survey.contributions[:, number])))


def test_a_key_marks_the_chosen_filter_and_the_mark_is_on_disk(looked, wait, qtbot):
    session, widget = looked
    number = widget.model.number
    widget.window().activateWindow()
    widget.overview.view.setFocus()
    wait(widget.overview.view.hasFocus)
    qtbot.keyClick(widget.overview.view, Qt.Key.Key_I)
    assert widget.model.marks.irrelevant == (number,)
    assert column(widget, MARK)[0] == "✗"
    assert widget.overview.detail.mark_buttons["irrelevant"].isChecked()
    assert session.disk.wait()
    assert load_marks(session.project.folder, session.classifier).irrelevant == (number,)
    qtbot.keyClick(widget.overview.view, Qt.Key.Key_R)
    assert widget.model.marks.relevant == (number,)
    qtbot.keyClick(widget.overview.view, Qt.Key.Key_R)
    assert session.disk.wait()
    assert not load_marks(session.project.folder, session.classifier).marks


def test_a_click_into_the_marks_column_marks_too(looked, qtbot):
    _, widget = looked
    view, table = widget.overview.view, widget.overview.table
    number = int(table.order[2])
    for expected in ("✗", "✓", ""):
        where = view.visualRect(table.index(2, MARK)).center()
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
        assert column(widget, MARK)[2] == expected
    assert widget.model.number == number


def test_the_next_version_is_offered_the_marks_of_the_one_before(looked, wait):
    session, widget = looked
    widget.model.mark(3, "relevant")
    widget.model.mark(5, "irrelevant")
    assert session.disk.wait()
    other = session.classifier.copy()
    other.module.head.weight.data.mul_(1.5)
    session.set_classifier(other)
    assert widget.model.found is None
    look(widget, wait)
    assert not widget.model.marks.marks
    assert widget.overview.carry.isVisible()
    assert widget.overview.carry.text() == "Take over 2 marks of another version"
    widget.overview.carry.click()
    assert not widget.overview.carry.isVisible()
    assert session.disk.wait()
    assert dict(load_marks(session.project.folder, other).marks) == {3: "relevant", 5: "irrelevant"}


def test_masks_from_a_filter_are_painted_kept_where_there_are_some_and_taken_back(looked, wait):
    session, widget = looked
    masking, model = widget.overview.detail.masking, widget.model
    wait(lambda: len(widget.overview.detail.panel.tiles) == 12)
    keys = [session.dataset.keys[int(i)] for i in session.dataset.indices("train")]
    before = painted_corner(session, [keys[4]])
    masking.scope.setCurrentIndex(1)
    masking.percentile.setValue(80)
    masking.button.click()
    wait(lambda: masking.back_button.isVisible())
    assert session.save()
    found = filter_masks(session.classifier, session.dataset, session.dataset.indices("train"), model.number, percentile=80)
    expected = {mask.key: mask.mask for mask in found if mask.mask.any()}
    store = MaskStore(session.project.folder / "masks")
    for key, mask in expected.items():
        assert (store[key] == (before if key == keys[4] else mask)).all()
        assert (store.info(key)["author"] == f"filter {model.number}") is (key != keys[4])
    made = len(set(expected) - {keys[4]})
    assert f"{made} masks made; edit them in the layer “irrelevant”; 1 kept the mask they had" in masking.said.text()
    assert session.painted() == set(expected) | {keys[4]}

    edited = next(key for key in expected if key not in (keys[4], session.key))
    session.put_mask(edited, np.ones((16, 16), bool))
    masking.back_button.click()
    wait(lambda: "taken back" in masking.said.text())
    assert f"{made - 1} masks taken back. 1 that you have edited since is kept." in masking.said.text()
    assert session.save()
    assert set(MaskStore(session.project.folder / "masks")) == {edited, keys[4]}


def test_a_mask_of_the_current_image_is_in_the_layer_and_can_be_undone(looked, wait):
    session, widget = looked
    masking = widget.overview.detail.masking
    masking.button.click()
    wait(lambda: session.key in session.painted() or "nowhere" in masking.said.text())
    layer = session.layers.get(MASK)
    (expected,) = filter_masks(session.classifier, session.dataset, [session.index], widget.model.number)
    assert (np.asarray(layer.data).astype(bool) == expected.mask).all()
    assert layer.mode == "paint"
    layer.undo()
    assert not np.asarray(layer.data).any()


def test_images_that_cannot_be_read_are_counted_and_the_rest_is_done(docked, files, wait):
    session, widget = docked
    key = session.dataset.keys[3]
    (files.data / key).write_bytes(b"broken")
    look(widget, wait)
    assert "64 filters over 11 train images" in widget.overview.hint.text()
    assert "1 image could not be read, see the step Look." in widget.overview.hint.text()
    masking = widget.overview.detail.masking
    session.set_order(session.dataset.indices("train"))
    masking.scope.setCurrentIndex(2)
    masking.button.click()
    wait(lambda: "made" in masking.said.text())
    assert "1 could not be read" in masking.said.text()


def test_without_labels_there_is_no_rank_and_it_says_why(docked, wait, monkeypatch):
    session, widget = docked
    labels = np.full(len(session.dataset), -1)
    monkeypatch.setattr(session.dataset, "labels", labels)
    look(widget, wait)
    assert "Ranking filters needs labelled images of at least two classes" in widget.overview.hint.text()
    assert widget.overview.view.isColumnHidden(PLACE)
    values = [0.0 if text == "dead" else float(text) for text in column(widget, ACTIVATION)]
    assert values == sorted(values, reverse=True)


def test_two_thousand_filters_are_listed_and_sorted(looked, qtbot):
    from dataclasses import replace

    _, widget = looked
    survey = widget.model.survey
    random = np.random.default_rng(0).random((2000, 2048), np.float32)
    features = replace(survey.features, mean=random, maximum=random)
    many = replace(survey, features=features, contributions=random[:3], ranking=None)
    table = widget.overview.table
    table.show(many, None, None)
    for number in (ACTIVATION, CONTRIBUTION, NUMBER):
        widget.overview.view.sortByColumn(number, Qt.SortOrder.AscendingOrder)
    assert table.rowCount() == 2048


def test_small_images_wrap_to_the_width_and_none_is_cut_off(qtbot):
    image = np.zeros((20, 10, 3), np.uint8)
    tiles = [Tile(0, n, n, f"k{n}", 0, 0, 1.0, image, np.ones((20, 10), bool)) for n in range(9)]
    panel = ThumbnailPanel(ViewerModel())
    panel.class_names = ("a",)
    qtbot.addWidget(panel)
    panel.show_groups([Group("some", tiles)])
    for width in (180, 330, 700):
        panel.resize(width, panel.heightForWidth(width))
        places = [panel.place_of(tile) for tile in tiles]
        assert all(QPoint(0, 0).x() < place.x() < width for place in places)
        assert max(place.y() for place in places) < panel.heightForWidth(width)
    assert panel.describe(tiles[0]) == "k0\nclass a, predicted a\nmean activation 1"


def test_the_cached_features_are_those_of_the_shell(looked):
    session, widget = looked
    again = features_of(session.classifier, session.dataset, "train", cache=session.project.folder / "filters")
    assert (again.mean == widget.model.survey.features.mean).all()


def test_a_filter_chosen_elsewhere_is_scrolled_to_when_the_tab_is_shown(looked, wait):
    _, widget = looked
    widget.tabs.setCurrentWidget(widget.changes)
    number = int(widget.model.survey.ranking.order[-1])
    widget.model.select(number)
    widget.tabs.setCurrentWidget(widget.overview)
    view = widget.overview.view
    wait(lambda: view.rowAt(view.viewport().height() - 4) >= 62)
    assert widget.overview.table.order[view.currentIndex().row()] == number


def test_texts_painted_by_hand_take_the_themes_colour(docked):
    session, widget = docked
    dark = widget.overview.detail.panel.text_colour
    session.viewer.theme = "light"
    painted = (widget.overview.detail.panel, widget.ranking.plot, widget.changes.histogram, widget.embedding.plot)
    assert {plot.text_colour for plot in painted} == {widget.overview.detail.bars.text_colour}
    assert painted[0].text_colour != dark
