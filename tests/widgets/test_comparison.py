"""Before and after a retune: the table of measures and the comparison layers."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtGui import QColor

from napari_cam_feedback.evaluation import ComparisonRow, RightReasons, reasons_rows
from napari_cam_feedback.explanations import ExplanationCache, cam_display
from napari_cam_feedback.widgets.parts.comparison_table import ComparisonTable, change_text
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.session.side_by_side import (
    LAYER_NAMES,
    MIN_DIFFERENCE_LIMIT,
    ComparisonLayers,
    ExplanationPairs,
    describe_pair,
)
from napari_cam_feedback.widgets.viewer.identity import NAMESPACE, find_layer
from napari_cam_feedback.widgets.viewer.layers import CAM, IMAGE, MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def changed(session):
    """A classifier unlike the session's."""
    from napari_cam_feedback.models import build_classifier

    given = session.classifier
    return build_classifier("small-gap", given.class_names, given.preprocessing, seed=7)


@pytest.fixture
def layers(session, changed, wait):
    """The comparison of the session's classifier with the other, shown."""
    comparison = ComparisonLayers(session)
    comparison.use(ExplanationPairs(session.explanation_cache, ExplanationCache(changed, session.dataset)))
    comparison.show()
    wait(lambda: grid_of(session).owner is not None and not grid_of(session).busy)
    return comparison


def get(session, name):
    return find_layer(session.viewer, name)


def test_a_change_is_told_by_arrow_sign_and_word():
    assert change_text(ComparisonRow("test", "accuracy", 0.52, 0.83)) == "+0.310 better"
    assert change_text(ComparisonRow("test", "accuracy", 0.83, 0.52)) == "-0.310 worse"
    assert change_text(ComparisonRow("test", "flip_rate", 0.5, 0.1)) == "-0.400 better"
    assert change_text(ComparisonRow("test", "flip_rate", 0.1, 0.5)) == "+0.400 worse"
    assert change_text(ComparisonRow("test", "accuracy", 0.5, 0.5)) == "0.000"
    assert change_text(ComparisonRow("test", "mask_share", None, 0.5)) == "–"
    # Neither direction is better by itself.
    assert change_text(ComparisonRow("test", "random_flip_rate", 0.1, 0.5)) == "+0.400"


def test_the_table_lists_each_split_with_its_measures(qtbot):
    table = ComparisonTable()
    qtbot.addWidget(table)
    table.show_rows(
        [
            ComparisonRow("val", "accuracy", 0.9, 0.8),
            ComparisonRow("val", "flip_rate", 0.5, 0.25),
            ComparisonRow("test", "mask_share", None, 0.1),
        ]
    )
    assert table.texts() == [
        ("val", "", "", ""),
        ("accuracy", "0.900", "0.800", "-0.100 worse"),
        ("flip rate", "0.500", "0.250", "-0.250 better"),
        ("test", "", "", ""),
        ("CAM in paint", "–", "0.100", "–"),
    ]
    worse, better = (table.item(row, 3).foreground().color() for row in (1, 2))
    assert worse != better
    assert QColor(better).blue() > QColor(better).red()
    assert "Less is better." in table.item(2, 0).toolTip()
    assert "prediction changes when what is painted is taken out" in table.item(2, 0).toolTip()


def test_a_change_that_may_be_chance_says_of_how_few_images_it_is(qtbot):
    table = ComparisonTable()
    qtbot.addWidget(table)
    table.show_rows(
        [ComparisonRow("val", "accuracy", 0.5, 0.7, images=5), ComparisonRow("val", "flip_rate", 0.9, 0.1, images=5)]
    )
    assert [row[3] for row in table.texts()[1:]] == ["+0.200 unsure", "-0.800 better"]
    assert table.item(1, 3).toolTip().endswith("Measured on 5 images: so small a change may be chance.")
    assert "chance" not in table.item(2, 3).toolTip()


def test_in_a_narrow_dock_the_word_on_a_change_is_seen_whole(qtbot):
    table = ComparisonTable()
    qtbot.addWidget(table)
    table.show_rows(
        [
            ComparisonRow("test", "masked_accuracy", 0.5, 0.891),
            ComparisonRow("test", "specificity", None, 2.0, ("only there", "2.0×")),
        ]
    )
    table.show()
    table.resize(260, table.height())
    columns = [column for column in range(table.columnCount()) if not table.isColumnHidden(column)]
    assert sum(table.columnWidth(column) for column in columns) <= table.viewport().width()
    for column in columns[1:]:
        assert table.columnWidth(column) >= table.sizeHintForColumn(column)


def test_the_table_says_in_words_where_only_the_painted_part_matters_and_leaves_out_what_follows_from_the_rest(qtbot):
    table = ComparisonTable()
    qtbot.addWidget(table)
    before, after = RightReasons(8, 0.9, 0.3, 0.6, 0.5, 0.75, 0.0), RightReasons(8, 0.9, 0.8, 0.25, None, 0.25, 0.125)
    table.show_rows(reasons_rows("test", before, after))
    assert table.texts() == [
        ("test", "", "", ""),
        ("accuracy refilled", "0.300", "0.800", "+0.500 better"),
        ("flip rate", "0.600", "0.250", "-0.350 better"),
        ("times elsewhere", "only there", "2.0×", "–"),
        ("swap flips", "0.750", "0.250", "-0.500 better"),
        ("CAM in paint", "0.500", "–", "–"),
    ]


#: Each map over the image.
CELLS = [name for map_name in LAYER_NAMES for name in (f"image below {map_name}", map_name)]


def test_the_layers_show_before_after_and_their_difference_over_the_image(session, layers, changed):
    target = session.explanation.target
    before = cam_display(session.explanation.shown)
    after = cam_display(ExplanationCache(changed, session.dataset).get(session.index, target, session.method).shown)
    assert np.allclose(get(session, "CAM before").data, before)
    assert np.allclose(get(session, "CAM after").data, after)
    difference = get(session, "CAM difference")
    assert np.allclose(difference.data, after - before)
    low, high = difference.contrast_limits
    assert low == -high
    assert high == pytest.approx(max(np.abs(after - before).max(), MIN_DIFFERENCE_LIMIT))
    middle = difference.colormap.map(np.array([0.5]))[0, :3]
    assert np.allclose(middle, 0, atol=0.02)
    viewer = session.viewer
    assert viewer.canvas.grid.enabled
    assert [layer.name for layer in viewer.layers if layer.visible] == CELLS


def test_they_follow_the_user_from_image_to_image_without_new_layers(session, layers, wait):
    old = [get(session, name) for name in LAYER_NAMES]
    session.step(1)
    wait(lambda: old[0].metadata[NAMESPACE]["key"] == session.key)
    assert [get(session, name) for name in LAYER_NAMES] == old
    wait(lambda: session.explanation is not None)
    assert np.allclose(old[0].data, cam_display(session.explanation.shown))
    assert [layer.name for layer in session.viewer.layers if layer.visible] == CELLS


def test_they_follow_the_chosen_class(session, layers, changed, wait):
    other = (session.explanation.target + 1) % 3
    session.set_view(target=other)
    after = cam_display(ExplanationCache(changed, session.dataset).get(session.index, other, session.method).shown)
    wait(lambda: np.allclose(get(session, "CAM after").data, after))


def test_what_the_user_changes_of_one_map_changes_for_the_other_until_they_are_hidden(session, layers):
    before, after, difference = (get(session, name) for name in LAYER_NAMES)
    own = difference.contrast_limits, difference.colormap.name
    before.contrast_limits, before.gamma, before.colormap = (0.2, 0.8), 0.5, "viridis"
    after.opacity = 0.4
    assert (tuple(after.contrast_limits), after.gamma, after.colormap.name) == ((0.2, 0.8), 0.5, "viridis")
    assert (before.opacity, difference.opacity) == (0.4, 0.4)
    assert (difference.contrast_limits, difference.colormap.name) == own
    layers.hide()
    before.opacity = 0.9
    assert (after.opacity, difference.opacity) == (0.4, 0.4)


def test_predicted_is_what_the_first_of_the_pair_predicts(session, changed, wait):
    # The session looks through neither of the two that are compared.
    first, second = ExplanationCache(changed, session.dataset), ExplanationCache(session.classifier.copy(), session.dataset)
    predictions = [
        [each.get(n, "predicted", "cam").predicted for n in range(len(session.dataset))] for each in (first, second)
    ]
    index = int(np.flatnonzero(np.not_equal(*predictions))[0])
    predicted, other = (each[index] for each in predictions)
    session.go_to(index)
    wait(lambda: session.explanation is not None and session.explanation.index == index)
    comparison, said = ComparisonLayers(session), []
    comparison.described.connect(said.append)
    comparison.use(ExplanationPairs(first, second))
    wait(lambda: said)
    assert f"The CAMs are of class {session.class_names[predicted]}," in said[-1]
    # A class that the user names is the same for all.
    session.set_view(target=other)
    wait(lambda: f"The CAMs are of class {session.class_names[other]}," in said[-1])
    label = session.explanation.label
    session.set_view(target="true")
    wait(lambda: f"The CAMs are of class {session.class_names[label]}," in said[-1])


def test_hiding_gives_the_viewer_back(session, layers):
    layers.hide()
    assert not session.viewer.canvas.grid.enabled
    assert [layer.name for layer in session.viewer.layers] == ["image", "CAM", "irrelevant"]
    assert all(session.layers.get(role).visible for role in (IMAGE, CAM, MASK))
    assert not any(layer.name_overlay.visible for layer in session.viewer.layers)


def test_napari_s_own_grid_button_ends_it_too(session, layers):
    said = []
    layers.shown.connect(said.append)
    session.viewer.canvas.grid.enabled = False
    assert said == [False]
    assert get(session, "CAM after") is None


def test_the_grid_is_lent_to_one_at_a_time(session, layers):
    left = []
    extra = session.viewer.add_image(np.zeros((4, 4)), name="mine")
    grid_of(session).show("somebody", [extra], lambda: left.append(True))
    assert not layers.on
    assert get(session, "CAM before") is None
    assert [layer.name for layer in session.viewer.layers if layer.visible] == ["mine"]
    grid_of(session).leave()
    assert left == [True]
    assert session.layers.get(IMAGE).visible


def test_what_the_user_had_hidden_stays_hidden(session, changed, wait):
    session.layers.get(MASK).visible = False
    comparison = ComparisonLayers(session)
    comparison.use(ExplanationPairs(session.explanation_cache, ExplanationCache(changed, session.dataset)))
    comparison.show()
    wait(lambda: get(session, LAYER_NAMES[0]) is not None)
    comparison.hide()
    assert not session.layers.get(MASK).visible
    assert session.layers.get(CAM).visible


def test_the_sentence_names_classes_and_probabilities(session, changed):
    pair = ExplanationPairs(session.explanation_cache, ExplanationCache(changed, session.dataset)).get(0, 1, session.method)
    sentence = describe_pair(pair, session.class_names)
    assert "truly cat" in sentence
    assert "of class dog" in sentence
    assert f"{pair.before.probabilities[1]:.2f} → {pair.after.probabilities[1]:.2f}" in sentence


def test_a_broken_image_is_told_of_and_the_comparison_goes_on(session, layers, files, wait):
    said = []
    layers.described.connect(said.append)
    before = session.key
    (files.data / session.dataset.keys[5]).write_bytes(b"broken")
    session.go_to(5)
    wait(lambda: session.item_error is not None)
    session.go_to(session.dataset.index_of(before))
    wait(lambda: any("This image" in sentence for sentence in said))
