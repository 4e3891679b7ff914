"""Our layers stay ours, and the user's stay the user's, whatever napari's layer menu does with them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from napari.layers import Image, Labels, _layer_actions

from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.viewer.identity import NAMESPACE, find_layers, role_of
from napari_cam_feedback.widgets.viewer.layers import CAM, CONTOUR, IMAGE, MASK, ROLES, ItemLayers
from napari_cam_feedback.widgets.viewer.map_style import MapLook

pytest_plugins = ["widget_fixtures"]

#: What napari's layer menu makes of a layer.
COPIES = {
    "duplicate": _layer_actions._duplicate_layer,
    "convert to image": _layer_actions._convert_to_image,
    "convert to labels": _layer_actions._convert_to_labels,
}


@pytest.fixture
def told(session):
    """What the user has been told."""
    found = []
    session.message.connect(lambda text, level: found.append(text))
    return found


def use(session, action, role):
    """Choose an entry of the layer menu with one of our layers selected."""
    layer = session.layers.get(role)
    session.viewer.layers.selection = {layer}
    action(session.viewer.layers)
    return layer


def move(session, wait, times=2):
    for _ in range(times):
        session.step(1)
        wait(lambda: session.explanation is not None)


def stroke(layer, rows=slice(2, 5)):
    block = np.zeros(layer.data.shape, bool)
    block[rows, rows] = True
    layer.data_setitem(np.nonzero(block), 1)
    return block


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("duplicate", IMAGE),
        ("duplicate", CAM),
        ("duplicate", MASK),
        ("convert to labels", IMAGE),
        ("convert to labels", CAM),
        ("convert to image", MASK),
    ],
)
def test_after_a_copy_of_any_of_our_layers_the_work_goes_on_and_strokes_are_saved(session, wait, name, role):
    first = session.key
    painted = stroke(session.layers.get(MASK))
    use(session, COPIES[name], role)
    move(session, wait)
    assert [role_of(layer) for layer in session.viewer.layers if role_of(layer)] == [IMAGE, CAM, MASK]
    assert not session.layers.get(MASK).data.any()
    again = stroke(session.layers.get(MASK), slice(6, 9))
    second = session.key
    assert session.autosave.flush()
    assert np.array_equal(session.masks[first], painted)
    assert np.array_equal(session.masks[second], again)
    session.close()
    assert not session.autosave.unsaved


@pytest.mark.parametrize("role", [IMAGE, CAM, MASK])
def test_a_copy_is_the_users_and_is_never_written_to_again(session, wait, role):
    stroke(session.layers.get(MASK))
    use(session, _layer_actions._duplicate_layer, role)
    (copy,) = (layer for layer in session.viewer.layers if role_of(layer) is None)
    content = np.array(copy.data)
    assert NAMESPACE not in copy.metadata
    move(session, wait)
    assert np.array_equal(copy.data, content)
    session.viewer.layers.remove(copy)
    move(session, wait, 1)
    assert len(session.viewer.layers) == 3


def test_the_copy_of_a_mask_can_be_painted_in_and_the_user_is_told_once_that_it_is_not_saved(session, told):
    use(session, _layer_actions._duplicate_layer, MASK)
    (copy,) = (layer for layer in session.viewer.layers if role_of(layer) is None)
    assert any("a layer of your own" in text for text in told)
    told.clear()
    stroke(copy)
    stroke(copy, slice(6, 9))
    assert len(told) == 1
    assert copy.name in told[0]
    session.autosave.flush()
    assert session.key not in session.masks


def test_a_converted_mask_is_said_to_be_the_users_and_the_mask_comes_back_as_it_was(session, told, wait):
    painted = stroke(session.layers.get(MASK))
    use(session, _layer_actions._convert_to_image, MASK)
    assert session.layers.get(MASK) is None
    assert any("not saved" in text and "comes back" in text for text in told)
    session.paint()
    assert np.array_equal(session.layers.get(MASK).data > 0, painted)
    assert session.layers.get(MASK).name == "irrelevant"


def test_painting_on_a_layer_of_ones_own_is_said_once_for_each(session, told):
    for number in range(2):
        mine = session.viewer.add_labels(np.zeros((16, 16), np.uint8), name=f"cells {number}")
        stroke(mine)
        stroke(mine, slice(6, 9))
    assert [text.split("”")[0] for text in told] == ["You paint in “cells 0", "You paint in “cells 1"]
    told.clear()
    stroke(session.layers.get(MASK))
    assert not told


def test_painting_says_nothing_where_no_project_is_open(make_napari_viewer):
    viewer = make_napari_viewer(show=False)
    session, said = session_of(viewer), []
    session.message.connect(lambda text, level: said.append(text))
    stroke(viewer.add_labels(np.zeros((16, 16), np.uint8)))
    assert not said
    session.close()


@pytest.mark.parametrize(
    "linked", [(IMAGE, MASK), (IMAGE, CAM), (CAM, MASK), (CAM, CONTOUR), (CONTOUR, MASK), ROLES], ids="+".join
)
def test_linked_layers_of_ours_are_as_they_would_be_without(session, wait, linked):
    session.layers.set_look(MapLook(contour=50))
    session.viewer.layers.link_layers([session.layers.get(role) for role in linked])
    first = session.key
    painted = stroke(session.layers.get(MASK))
    move(session, wait)
    session.layers.set_look(MapLook(contour=40, colormap="viridis"))
    assert [role_of(layer) for layer in session.viewer.layers] == list(ROLES)
    for role in ROLES:
        layer = session.layers.get(role)
        assert layer.metadata[NAMESPACE]["role"] == role
    assert not session.layers.get(MASK).data.any()
    assert tuple(session.layers.get(CAM).contrast_limits) == (0, 1)
    assert session.layers.get(CAM).colormap.name == "CAM viridis"
    session.paint()
    session.autosave.flush()
    assert np.array_equal(session.masks[first], painted)


@pytest.mark.parametrize("role", [IMAGE, CAM, MASK])
@pytest.mark.parametrize("kind", [Image, Labels])
def test_a_layer_of_the_users_linked_to_ours_keeps_its_data_metadata_and_history(session, wait, role, kind):
    data = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mine = session.viewer.add_layer(kind(data.copy(), name="mine", metadata={"note": 1}))
    if kind is Labels:
        mine.data_setitem((np.array([0]), np.array([0])), 7)
    before = np.array(mine.data)
    session.viewer.layers.link_layers([mine, session.layers.get(role)])
    move(session, wait)
    assert np.array_equal(mine.data, before)
    assert role_of(mine) is None
    assert mine.metadata == {"note": 1}
    assert find_layers(session.viewer, role) == [session.layers.get(role)]
    if kind is Labels:
        mine.undo()
        assert mine.data[0, 0] == 0


def test_a_link_that_the_program_does_not_need_stays(session, wait):
    mine = session.viewer.add_image(np.zeros((16, 16)))
    session.viewer.layers.link_layers([mine, session.layers.get(IMAGE)], ["opacity"])
    move(session, wait)
    session.layers.get(IMAGE).opacity = 0.5
    assert mine.opacity == 0.5


def test_what_the_user_writes_into_our_metadata_changes_nothing(session, wait):
    for role in (IMAGE, CAM, MASK):
        session.layers.get(role).metadata.clear()
    move(session, wait)
    assert [role_of(layer) for layer in session.viewer.layers] == [IMAGE, CAM, MASK]


def test_a_mask_that_is_moved_lies_on_its_image_again_and_moving_the_image_moves_all(session, told, wait):
    layers = session.layers
    image, mask, cam = (layers.get(role) for role in (IMAGE, MASK, CAM))
    mask.translate = (7, -3)
    cam.affine = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
    assert np.array_equal(mask.translate, (0, 0))
    assert np.array_equal(cam.affine.affine_matrix, np.eye(3))
    assert told == [f"“{layer.name}” lies on its image again: move that, and all of it moves." for layer in (mask, cam)]
    # As for a scale bar.
    image.scale = (0.5, 0.5)
    assert np.array_equal(mask.scale, (0.5, 0.5))
    session.viewer.layers.remove(mask)
    move(session, wait)
    assert np.array_equal(session.layers.get(MASK).scale, (0.5, 0.5))
    assert len(told) == 2 or "lies on its image" not in told[-1]


def test_an_image_layer_that_was_given_what_it_cannot_show_is_made_anew():
    from napari.components import ViewerModel

    viewer, image = ViewerModel(), np.zeros((8, 8, 3), np.uint8)
    layers = ItemLayers(viewer)
    broken = layers.show_image(image, "a")
    with suppress(ValueError):
        broken.data = np.zeros((5, 6))
    shown = layers.show_image(image, "b")
    assert shown is not broken
    assert shown.data.shape == (8, 8, 3)
    assert list(viewer.layers) == [shown]
