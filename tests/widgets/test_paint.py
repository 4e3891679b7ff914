"""Painting by a click in a real viewer: what is clicked is on disk and one step of undo, or a sentence says why not."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from napari.utils.shortcuts import default_shortcuts
from PIL import Image

from napari_cam_feedback.widgets.paint.preview import PREVIEW
from napari_cam_feedback.widgets.paint.regions import BOX, HEAT, SUPERPIXEL, WAND
from napari_cam_feedback.widgets.paint.same_place_view import JOB, LISTED, SAME_CLASS, UNPAINTED
from napari_cam_feedback.widgets.paint.view import PaintView
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer import shortcuts
from napari_cam_feedback.widgets.viewer.identity import find_layers
from napari_cam_feedback.widgets.viewer.layers import IMAGE, MASK

pytest_plugins = ["widget_fixtures"]

SQUARE = np.zeros((16, 16), bool)
SQUARE[4:8, 10:14] = True


class _Dock(PaintView):
    """The view as a dock of its own."""

    def __init__(self, viewer):
        super().__init__(session_of(viewer))


@pytest.fixture
def view(make_napari_viewer, files, project, wait):
    """The view in a window, on images with a bright square at one place; the first image of the cats is shown."""
    rng = np.random.default_rng(0)
    for path in sorted(files.data.rglob("*.png")):
        image = rng.integers(20, 30, (16, 16)).astype(np.uint8)
        # In images of dogs it looks another way.
        image[SQUARE] = 200 if path.parent.name != "dog" else 20
        Image.fromarray(image).save(path)
    viewer = make_napari_viewer()
    widget = _Dock(viewer)
    viewer.window.add_dock_widget(widget, name="Paint")
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    yield widget
    session.close()


def event(kind, place, *modifiers, pos=(100, 100)):
    return read_only_mouse_event(
        type=kind, button=1, modifiers=list(modifiers), position=place, pos=np.array(pos), is_dragging=kind == "mouse_move"
    )


def click(view, place, *modifiers, drag=0):
    """Press and let go as napari's canvas tells a viewer; the mouse moves by so many pixels of the screen between."""
    viewer = view._session.viewer
    mouse_press_callbacks(viewer, event("mouse_press", place, *modifiers))
    if drag:
        mouse_move_callbacks(viewer, event("mouse_move", place, *modifiers, pos=(100 + drag, 100)))
    mouse_release_callbacks(viewer, event("mouse_release", place, *modifiers))


def hover(view, place):
    viewer = view._session.viewer
    mouse_move_callbacks(
        viewer, read_only_mouse_event(type="mouse_move", button=None, position=place, pos=np.array((100, 100)))
    )


def on_disk(session, key):
    """Read a mask as another program would: from its file; None where there is none."""
    session.autosave.flush()
    try:
        return np.asarray(Image.open(session.masks.path(key))) > 0
    except FileNotFoundError:
        return None


def previewed(view):
    """What the preview shows, (16, 16) bool; None where there is none."""
    layer = next(iter(find_layers(view._session.viewer, PREVIEW)), None)
    if layer is None or not layer.visible:
        return None
    found = np.zeros((16, 16), bool)
    top, left = (int(value) for value in layer.translate)
    found[top : top + layer.data.shape[0], left : left + layer.data.shape[1]] = layer.data != 0
    return found


def test_a_click_with_the_wand_is_on_disk_is_shown_before_and_is_one_step_of_undo(view):
    session = view._session
    view.buttons[WAND].click()
    assert session.viewer.layers.selection.active is session.layers.get(MASK)
    hover(view, (5.2, 11.4))
    assert np.array_equal(previewed(view), SQUARE)
    assert session.current_mask() is None
    click(view, (5.2, 11.4))
    assert view.status.text() == "16 pixels painted; Ctrl+Z undoes it."
    assert np.array_equal(on_disk(session, session.key), SQUARE)
    click(view, (0, 0))
    assert np.array_equal(on_disk(session, session.key), np.ones((16, 16), bool))
    layer = session.layers.get(MASK)
    layer.undo()
    assert np.array_equal(on_disk(session, session.key), SQUARE)
    layer.redo()
    click(view, (5, 11), "Shift")
    assert view.status.text() == "16 pixels taken away; Ctrl+Z undoes it."
    assert np.array_equal(on_disk(session, session.key), ~SQUARE)
    for _ in range(3):
        layer.undo()
    assert on_disk(session, session.key) is None


def test_in_a_large_image_a_click_is_computed_in_the_background(view, wait, monkeypatch):
    monkeypatch.setattr("napari_cam_feedback.widgets.paint.regions._AT_ONCE_PIXELS", 100)
    session = view._session
    view.buttons[WAND].click()
    hover(view, (5, 11))
    assert previewed(view) is None
    click(view, (5, 11))
    assert session.current_mask() is None
    wait(lambda: session.current_mask() is not None)
    assert np.array_equal(on_disk(session, session.key), SQUARE)
    # Whoever has moved on meanwhile finds nothing painted there.
    first = session.key
    session.clear_mask()
    click(view, (5, 11))
    session.step(1)
    view.tools.regions._clicks.wait()
    # What comes from threads arrives in order.
    arrived = []
    session.jobs.main.post(arrived.append, True)
    wait(lambda: arrived)
    assert session.current_mask() is None
    assert on_disk(session, first) is None


def test_a_drag_moves_the_image_and_paints_nothing(view):
    view.buttons[WAND].click()
    click(view, (5, 11), drag=30)
    assert view._session.current_mask() is None
    click(view, (5, 11), drag=2)
    assert np.array_equal(view._session.current_mask(), SQUARE)


def test_a_box_is_dragged_shown_meanwhile_and_moves_no_image(view):
    session = view._session
    viewer, layer = session.viewer, session.layers.get(MASK)
    view.buttons[BOX].click()
    assert not viewer.scene.camera.mouse_pan
    mouse_press_callbacks(viewer, event("mouse_press", (4.3, 10.4)))
    mouse_move_callbacks(viewer, event("mouse_move", (6.6, 13.2), pos=(160, 160)))
    assert np.array_equal(previewed(view), SQUARE)
    assert session.current_mask() is None
    mouse_release_callbacks(viewer, event("mouse_release", (6.6, 13.2), pos=(160, 160)))
    assert np.array_equal(on_disk(session, session.key), SQUARE)
    # Beyond the edge it ends there, and beside the image there is nothing.
    view.tools.draw_box((-5, -5), (0.2, 0.2))
    assert on_disk(session, session.key).sum() == 17
    layer.undo()
    view.tools.draw_box((20, 20), (30, 30))
    assert view.status.text() == "This box is outside the image."
    click(view, (5, 11))
    assert view.status.text() == "Drag from one corner of the box to the other."
    view.tools.draw_box((4, 10), (7, 11), erase=True)
    assert on_disk(session, session.key).sum() == 8
    view.buttons[WAND].click()
    assert viewer.scene.camera.mouse_pan
    view.buttons[BOX].click()
    session.paint()
    layer.mode = "pan_zoom"
    assert viewer.scene.camera.mouse_pan


def test_superpixels_are_made_in_the_background_and_one_is_painted_by_a_click(view, wait):
    session = view._session
    view.sliders[SUPERPIXEL].setValue(25)
    view.buttons[SUPERPIXEL].click()
    hover(view, (5, 11))
    # Once they are there the preview comes by itself.
    wait(lambda: previewed(view) is not None)
    shown = previewed(view)
    click(view, (5, 11))
    assert np.array_equal(on_disk(session, session.key), shown)
    assert np.array_equal(shown, SQUARE)


def test_the_heatmap_s_hot_region_is_painted_and_where_it_is_cold_a_sentence_says_so(view, wait):
    session = view._session
    session.set_view(target=0)
    wait(lambda: session.explanation is not None)
    heat = np.zeros((16, 16), np.float32)
    heat[2:6, 2:6], heat[10:12, 10:12] = 1.0, 0.6
    object.__setattr__(session.explanation, "map", heat)
    view.buttons[HEAT].click()
    click(view, (3, 3))
    assert np.array_equal(on_disk(session, session.key), heat == 1)
    click(view, (8, 8))
    assert view.status.text() == "The heatmap is cold here; click where it is hot, or lower the threshold."
    view.sliders[HEAT].setValue(70)
    click(view, (11, 11))
    assert "cold here" in view.status.text()
    view.sliders[HEAT].setValue(50)
    click(view, (11, 11))
    assert np.array_equal(on_disk(session, session.key), heat > 0)
    session.explanation = None
    click(view, (3, 3))
    assert view.status.text().startswith("There is no heatmap of this image yet")


def test_what_cannot_be_painted_or_is_not_learnt_from_is_said(view):
    session = view._session
    view.buttons[WAND].click()
    session.viewer.dims.ndisplay = 3
    click(view, (0, 5, 11))
    assert view.status.text() == "Masks are painted in the plane; leave the 3D view (Ctrl+Y) first."
    session.viewer.dims.ndisplay = 2
    click(view, (50, 50))
    assert session.current_mask() is None
    session.go_to(session.dataset.index_of("test/cat/00.png"))
    assert view.status.text() == "This is a test image: it can be painted, but is not learnt from."
    click(view, (5, 11))
    assert view.status.text().endswith("Ctrl+Z undoes it. This is a test image: it can be painted, but is not learnt from.")
    assert np.array_equal(on_disk(session, "test/cat/00.png"), SQUARE)


def test_a_tool_is_put_down_by_its_button_by_the_brush_and_with_the_dock_and_leaves_nothing_behind(view):
    session = view._session
    viewer = session.viewer
    before = len(viewer.mouse_drag_callbacks), len(viewer.mouse_move_callbacks)
    for put_down in (view.buttons[WAND].click, session.paint, view.tools.close):
        view.buttons[WAND].click()
        hover(view, (5, 11))
        assert view.buttons[WAND].isChecked()
        put_down()
        assert not view.buttons[WAND].isChecked()
        assert find_layers(viewer, PREVIEW) == []
        assert (len(viewer.mouse_drag_callbacks), len(viewer.mouse_move_callbacks)) == before


def test_a_layer_of_the_user_s_own_becomes_the_mask(view):
    session = view._session
    viewer = session.viewer
    view.layer_button.click()
    assert view.status.text().startswith("No open layer of yours has 16x16 pixels")
    labels = viewer.add_labels(np.where(SQUARE, 3, 0).astype(np.int32), name="mine")
    viewer.add_labels(np.zeros((5, 5), np.int32), name="too small")
    view.layer_button.click()
    assert view.status.text() == "16 pixels of “mine” painted; Ctrl+Z undoes it."
    assert np.array_equal(on_disk(session, session.key), SQUARE)
    session.layers.get(MASK).undo()
    assert on_disk(session, session.key) is None
    viewer.layers.remove(labels)
    viewer.add_shapes([[[4, 10], [4, 13], [7, 13], [7, 10]]], name="outline", shape_type="rectangle")
    view.layer_button.click()
    assert np.array_equal(on_disk(session, session.key), SQUARE)
    view.paint_from(viewer.add_image(np.arange(256.0).reshape(16, 16), name="picture"))
    assert "is a picture of many values" in view.status.text()
    # The layers of ours are not the user's.
    assert session.layers.get(IMAGE) not in viewer.layers.selection


def preview(view, wait, scope):
    view.same_place.scope.setCurrentIndex(view.same_place.scope.findData(scope))
    view.same_place.preview_button.click()
    wait(lambda: not view._session.jobs.running(JOB))
    return view.same_place


def test_the_same_place_is_previewed_accepted_and_taken_back_and_overwrites_nothing(view, wait):
    session = view._session
    grid = preview(view, wait, SAME_CLASS)
    assert grid.status.text().startswith("Nothing is painted on this image")
    session.fill_region(SQUARE)
    own = np.zeros((16, 16), bool)
    own[0, 0] = True
    session.put_mask("train/cat/01.png", own)
    grid = preview(view, wait, SAME_CLASS)
    cats = ["train/cat/02.png", "train/cat/03.png", "val/cat/00.png", "val/cat/01.png"]
    assert sorted(grid.ticked()) == cats
    assert grid.status.text() == "4 of 4 ticked."
    # Painted by somebody else between preview and accepting.
    from napari_cam_feedback.feedback import MaskStore

    MaskStore(session.masks.folder).put("val/cat/01.png", own)
    grid.accept_button.click()
    wait(lambda: grid.status.text().startswith("3 masks written"))
    assert grid.status.text() == "3 masks written; 1 had a mask already, which was kept."
    for key in cats[:3]:
        assert np.array_equal(on_disk(session, key), SQUARE)
        assert key in session.painted()
        assert session.masks.info(key)["author"] == f"same place as in {session.key}"
    for key in ("train/cat/01.png", "val/cat/01.png"):
        assert np.array_equal(on_disk(session, key), own)
    session.put_mask("train/cat/02.png", own)
    grid.back_button.click()
    wait(lambda: "taken back" in grid.status.text())
    assert grid.status.text() == "2 masks taken back. 1 that you have changed since is kept."
    assert on_disk(session, "train/cat/03.png") is None
    assert np.array_equal(on_disk(session, "train/cat/02.png"), own)


def test_of_all_images_those_that_look_different_come_last_and_unticked_and_none_is_for_testing(view, wait):
    session = view._session
    session.fill_region(SQUARE)
    grid = preview(view, wait, UNPAINTED)
    assert grid.grid.count() == 17  # 12 train and 6 val but the one painted
    assert len(grid.ticked()) == 11
    assert grid.status.text() == "11 of 17 ticked; 6 look different at this place and come last."
    assert all("/dog/" in grid.grid.item(n).toolTip() for n in range(11, 17))
    grid.none_button.click()
    assert not grid.accept_button.isEnabled()
    session.set_order([session.dataset.index_of(key) for key in ("train/dog/00.png", "test/dog/00.png")])
    assert preview(view, wait, LISTED).grid.count() == 1


def test_the_keys_take_up_the_tools_and_go_with_the_view(view):
    session = view._session
    keymap = {str(key): function for key, function in session.viewer.keymap.items()}
    for name, tool in (("box", BOX), ("superpixel", SUPERPIXEL), ("wand", WAND), ("grow", HEAT)):
        keymap[shortcuts.key_of(name)](session.viewer)
        assert view.tools.tool == tool
        assert view.buttons[tool].text().endswith(f"[{shortcuts.key_of(name)}]")
    keymap[shortcuts.key_of("from_layer")](session.viewer)
    assert "No open layer of yours" in view.status.text()
    keymap[shortcuts.key_of("same_place")](session.viewer)
    assert view.same_fold.opened
    session.closing.emit()
    assert shortcuts.key_of("wand") not in {str(key) for key in session.viewer.keymap}


def test_no_key_of_ours_is_one_of_napari_s_in_the_viewer_on_images_or_on_labels():
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels

    keys = [shortcut.key for shortcut in shortcuts.SHORTCUTS]
    assert len(set(keys)) == len(keys)
    # Those of shapes, points, … are for other layers than ours.
    others = ("points", "shapes", "vectors", "tracks", "surface", "select_all", "select_append", "plane", "vertex", "_mode")
    theirs = {
        str(key): name
        for name, bound in default_shortcuts.items()
        if "labels" in name or "image" in name or not any(other in name for other in others)
        for key in bound
    }
    bound = {str(key) for cls in (ImageLayer, Labels) for key in cls.class_keymap}
    # P is napari's own paint key, and means the same.
    assert {key for key in keys if key in theirs or key in bound} == {"P"}
