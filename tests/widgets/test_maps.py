"""How maps are drawn, several classes side by side, and maps of a split written in the background."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tifffile
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog

from napari_cam_feedback.explanations import cam_display, explain, explain_item
from napari_cam_feedback.explanations.display import common_display, contour_segments
from napari_cam_feedback.explanations.maps.class_maps import ClassMapsCache, class_maps
from napari_cam_feedback.projects import Project
from napari_cam_feedback.widgets.browse import class_row as map_class_row
from napari_cam_feedback.widgets.browse import map_writer
from napari_cam_feedback.widgets.browse.class_layers import CLASS_IMAGE
from napari_cam_feedback.widgets.browse.dock import BrowseWidget
from napari_cam_feedback.widgets.parts.class_chooser import ClassChooser
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.session.session import prepare
from napari_cam_feedback.widgets.viewer.identity import find_layers, role_of
from napari_cam_feedback.widgets.viewer.layers import CAM, CLASS_MAP, CONTOUR, IMAGE, MASK
from napari_cam_feedback.widgets.viewer.map_style import MapLook, all_colormaps

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def browse(session, qtbot, wait):
    """The Browse widget of a viewer without a window, which is faster; everything predicted."""
    widget = BrowseWidget(session.viewer)
    qtbot.addWidget(widget)
    wait(lambda: not session.jobs.running())
    return widget


@pytest.fixture
def browse_in_window(window_session, wait):
    """The same in a viewer with a window."""
    widget = BrowseWidget(window_session.viewer)
    window_session.viewer.window.add_dock_widget(widget, name="Browse")
    wait(lambda: not window_session.jobs.running())
    return widget


def choose(combo, data):
    place = combo.findData(data)
    assert place >= 0, data
    combo.setCurrentIndex(place)
    combo.activated.emit(place)


# --- views -----------------------------------------------------------------------------------------------------------


def test_maps_side_by_side_share_one_scale():
    signed = np.array([[[4.0, -1.0]], [[1.0, 2.0]], [[-3.0, 0.0]]])
    assert common_display(signed).tolist() == [[[1.0, 0.0]], [[0.25, 0.5]], [[0.0, 0.0]]]
    assert common_display(signed).dtype == np.float32
    assert not common_display(-np.abs(signed)).any()


def test_a_contour_runs_half_way_between_pixels_above_and_below_the_level():
    shown = np.zeros((7, 9), np.float32)
    shown[2:5, 3:6] = 1.0
    pieces = contour_segments(shown, 0.5)
    ends = pieces[:, 0] + pieces[:, 1]
    assert pieces.dtype == np.float32
    assert (pieces[:, 0].min(0).tolist(), pieces[:, 0].max(0).tolist()) == ([1.5, 2.5], [4.5, 5.5])
    # It is closed: every piece ends where another starts.
    assert {tuple(p) for p in ends.round(3).tolist()} == {tuple(p) for p in pieces[:, 0].round(3).tolist()}


def test_a_contour_is_closed_along_the_edge_and_empty_where_the_level_is_not_reached():
    pieces = contour_segments(np.ones((4, 4), np.float32), 0.5)
    assert (pieces[:, 0].min(), pieces[:, 0].max()) == (-0.5, 3.5)
    assert contour_segments(np.zeros((4, 4), np.float32), 0.5).shape == (0, 2, 2)


def test_the_contour_of_a_large_map_is_as_fine_as_can_be_seen_and_in_its_place():
    rows, columns = np.mgrid[:3000, :2000]
    shown = (1000 - np.hypot(rows - 1500, columns - 900)).clip(0) / 1000
    start = time.perf_counter()
    pieces = contour_segments(shown.astype(np.float32), 0.5)
    assert time.perf_counter() - start < 1
    assert 100 < len(pieces) < 5000
    radius = np.hypot(*(pieces[:, 0] - (1500, 900)).T)
    assert np.abs(radius - 500).max() < 6


# --- the look --------------------------------------------------------------------------------------------------------


def test_colours_and_opacity_act_on_the_map_and_stay_from_image_to_image(browse, wait):
    session, display = browse._session, browse.item.display
    assert browse.item.display_fold.opened is False
    cam = session.layers.get(CAM)
    assert (cam.colormap.name, cam.opacity) == ("CAM", 0.5)
    assert [display.colormap.itemData(i) for i in range(4)] == ["CAM", "inferno", "viridis", "red"]
    assert display.colormap.findData("magma") > 0
    choose(display.colormap, "viridis")
    display.opacity.setValue(80)
    session.step(1)
    wait(lambda: session.explanation is not None)
    assert session.layers.get(CAM) is cam
    assert (cam.colormap.name, cam.opacity) == ("CAM viridis", 0.8)
    assert cam.colormap.colors[0, 3] == 0  # the image stays visible where nothing speaks for the class
    assert cam.colormap.colors[-1, 3] == 1


def test_a_map_layer_that_was_deleted_comes_back_as_it_was_drawn(browse, wait):
    session, display = browse._session, browse.item.display
    choose(display.colormap, "inferno")
    display.opacity.setValue(30)
    session.viewer.layers.remove(session.layers.get(CAM))
    session.step(1)
    wait(lambda: session.explanation is not None and session.layers.get(CAM) is not None)
    cam = session.layers.get(CAM)
    assert (cam.colormap.name, cam.opacity) == ("CAM inferno", 0.3)


def test_what_is_set_in_napari_s_own_controls_is_shown_in_the_dock(browse):
    session, display = browse._session, browse.item.display
    cam = session.layers.get(CAM)
    cam.opacity = 0.25
    assert display.opacity.value() == 25
    assert session.layers.look.opacity == 0.25
    cam.colormap = "magma"
    assert display.colormap.currentIndex() == -1
    choose(display.colormap, "CAM")
    assert display.colormap.currentData() == "CAM"
    display.show_look()


def test_the_contour_follows_the_map_and_goes_with_it(browse_in_window, project, wait):
    browse = browse_in_window
    session, display = browse._session, browse.item.display
    assert not display.threshold.isEnabled()
    display.contour.setChecked(True)
    layer = session.layers.get(CONTOUR)
    assert [role_of(each) for each in session.viewer.layers] == [IMAGE, CAM, CONTOUR, MASK]
    assert np.array_equal(layer.data, contour_segments(session.layers.get(CAM).data, 0.5))
    display.threshold.setValue(70)
    for _ in range(3):
        session.step(1)
        wait(lambda: session.explanation is not None)
        assert session.layers.get(CONTOUR) is layer
        expected = contour_segments(cam_display(session.explanation.shown), 0.7)
        assert layer.data.shape == expected.shape
        assert np.allclose(layer.data, expected)
        assert layer.metadata["napari_cam_feedback"]["key"] == session.key
    session.toggle_cam()
    assert not layer.visible
    session.toggle_cam()
    assert layer.visible
    display.contour.setChecked(False)
    assert session.layers.get(CONTOUR) is None
    session.step(1)
    assert session.layers.get(CONTOUR) is None


def test_there_is_no_contour_without_evidence_and_none_of_a_broken_image(browse, project, wait, forget_explanations):
    session = browse._session
    browse.item.display.contour.setChecked(True)
    classifier = project.classifier(device="cpu")
    classifier.head.weight[2] = -classifier.head.weight[2].abs()
    session.set_classifier(classifier)
    session.set_view(target=2)
    wait(lambda: session.explanation is not None and not session.explanation.evidence)
    # It is drawn by what listens to the explanation, so a moment after it.
    wait(lambda: session.layers.get(CONTOUR).data.shape[0] == 0)
    session.set_view(target=session.explanation.predicted)
    wait(lambda: session.explanation is not None and session.explanation.evidence)
    wait(lambda: session.layers.get(CONTOUR).data.shape[0] > 0)
    (project.dataset.source / "train/cat/02.png").write_bytes(b"no image")
    forget_explanations(session)
    session.go_to(project.dataset.index_of("train/cat/02.png"))
    assert session.item_error is not None
    wait(lambda: session.layers.get(CONTOUR).data.shape[0] == 0)


def test_the_look_is_remembered_with_the_project(browse, project, wait):
    session, display = browse._session, browse.item.display
    choose(display.colormap, "red")
    display.opacity.setValue(65)
    display.threshold.setValue(40)
    display.contour.setChecked(True)
    expected = {"colormap": "red", "opacity": 0.65, "contour": 40}
    wait(lambda: Project.open(project.folder).remembered.get("map_look") == expected, 5)
    session.layers.set_look(MapLook())
    again = Project.open(project.folder)
    session.open(prepare(again, again.classifier(device="cpu")))
    assert session.layers.look == MapLook("red", 0.65, 40)
    assert (display.colormap.currentData(), display.opacity.value(), display.threshold.value()) == ("red", 65, 40)
    assert display.contour.isChecked()
    assert session.layers.get(CAM).opacity == 0.65
    assert session.layers.get(CONTOUR) is not None


@pytest.mark.parametrize(
    "broken",
    [None, "red", {"colormap": "no such"}, {"opacity": 7, "contour": 400}, {"opacity": "much", "contour": "x"}, [1]],
)
def test_a_look_that_makes_no_sense_is_the_default(broken):
    assert MapLook.from_remembered(broken) == MapLook()


def test_every_colour_map_that_is_offered_can_be_drawn():
    for name in all_colormaps():
        assert MapLook(name).colours().colors.shape == (64, 4)


# --- classes side by side --------------------------------------------------------------------------------------------


def cells(session):
    """Name, map and image of each cell of the grid, in the order of the cells."""
    viewer = session.viewer
    grid, stack = viewer.canvas.grid, list(viewer.layers)
    found = []
    for _, places in grid.iter_viewboxes(viewer.layers):
        layers = [stack[place] for place in sorted(places) if stack[place].visible]
        if layers:
            assert [role_of(layer) for layer in layers] == [CLASS_IMAGE, CLASS_MAP]
            found.append((layers[1].name, layers[1].data, layers[0].data))
    return found


def side_by_side(browse, wait):
    browse.item.classes.button.click()
    grid = grid_of(browse._session)
    wait(lambda: grid.owner == "classes" and not grid.busy)


def test_the_most_probable_classes_are_shown_over_the_image_on_one_scale(browse, wait):
    session = browse._session
    assert [browse.item.classes.which.itemText(i) for i in range(browse.item.classes.which.count())] == [
        "top 2", "all 3", "choose …",
    ]  # fmt: skip
    side_by_side(browse, wait)
    p = session.explanation.probabilities
    order = np.argsort(-p)
    raw = [explain_item(session.classifier, session.dataset, session.index, target=int(k), method="cam") for k in order]
    expected = common_display(np.stack([each.map for each in raw]))
    nothing = ["" if each.evidence else ", no positive evidence" for each in raw]
    shown = cells(session)
    assert [name for name, _, _ in shown] == [
        f"{place + 1}. {session.class_names[k]} ({p[k]:.2f}){nothing[place]}" for place, k in enumerate(order)
    ]
    for (_, found, image), wanted in zip(shown, expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-5)
        assert np.array_equal(image, session.dataset.read(session.index))
    layers = find_layers(session.viewer, CLASS_MAP)
    assert [layer.name_overlay.visible for layer in layers] == [True] * 3
    assert not any(layer.name_overlay.visible for layer in find_layers(session.viewer, CLASS_IMAGE))
    assert [layer.contrast_limits for layer in layers] == [[0, 1]] * 3
    layers[1].contrast_limits = (0, 0.5)
    layers[2].opacity = 0.9
    assert [(layer.contrast_limits, layer.opacity) for layer in layers] == [([0, 0.5], 0.9)] * 3


def test_the_cells_follow_to_the_next_image_and_the_user_s_contrast_stays(browse, wait):
    session = browse._session
    side_by_side(browse, wait)
    layers = list(session.viewer.layers)
    find_layers(session.viewer, CLASS_MAP)[0].contrast_limits = (0, 0.7)
    for _ in range(3):
        session.step(1)
        wait(lambda: all("…" not in name for name, _, _ in cells(session)) and session.explanation is not None)
        wait(lambda: find_layers(session.viewer, CLASS_MAP)[0].metadata["napari_cam_feedback"]["key"] == session.key)
        assert list(session.viewer.layers) == layers
        p = np.sort(session.explanation.probabilities)[::-1]
        assert [f"({value:.2f})" in name for (name, _, _), value in zip(cells(session), p, strict=True)] == [True] * 3
        assert all(np.array_equal(image, session.dataset.read(session.index)) for _, _, image in cells(session))
    assert find_layers(session.viewer, CLASS_MAP)[2].contrast_limits == [0, 0.7]


def test_an_image_whose_maps_are_still_being_made_shows_none_of_the_last_one(browse, wait, monkeypatch):
    session = browse._session
    side_by_side(browse, wait)
    last = int(session.order[-1])
    assert session.explanation_cache.peek(last, "predicted", session.method) is None
    session.go_to(last)
    shown = cells(session)
    assert [name for name, _, _ in shown] == ["1. …", "2. …", "3. …"]
    assert not any(found.any() for _, found, _ in shown)
    assert all(np.array_equal(image, session.dataset.read(last)) for _, _, image in shown)
    wait(lambda: "…" not in cells(session)[0][0])


@pytest.mark.parametrize("way", ["button", "napari's grid button", "another owner"])
def test_the_viewer_is_as_before_when_the_cells_are_left(browse_in_window, wait, way):
    browse = browse_in_window
    session = browse._session
    mine = session.viewer.add_points(np.zeros((1, 2)), name="mine")
    before = [(layer.name, layer.visible) for layer in session.viewer.layers]
    grid = session.viewer.canvas.grid
    settings = (grid.stride, tuple(grid.shape), grid.spacing, grid.enabled)
    side_by_side(browse, wait)
    assert not mine.visible
    if way == "button":
        browse.item.classes.button.click()
    elif way == "another owner":
        grid_of(session).show("other", [mine], lambda: None)
        grid_of(session).leave()
    else:
        grid.enabled = False
    assert not browse.item.classes.button.isChecked()
    assert not browse.item.classes.layers.on
    assert [(layer.name, layer.visible) for layer in session.viewer.layers] == before
    assert (grid.stride, tuple(grid.shape), grid.spacing, grid.enabled) == settings
    session.step(1)
    wait(lambda: session.explanation is not None)
    assert len(session.viewer.layers) == len(before)
    side_by_side(browse, wait)
    assert len(cells(session)) == 3


def test_a_layer_that_the_user_adds_does_not_tear_the_cells_apart(browse, wait):
    session = browse._session
    side_by_side(browse, wait)
    session.viewer.add_points(np.zeros((1, 2)), name="mine", visible=False)
    session.step(1)
    wait(lambda: session.explanation is not None)
    assert len(cells(session)) == 3


def test_the_number_of_classes_and_the_method_can_be_changed_while_they_are_shown(browse, wait):
    session = browse._session
    side_by_side(browse, wait)
    choose(browse.item.classes.which, 2)
    wait(lambda: len(cells(session)) == 2)
    session.set_view(method="hirescam")
    order = np.argsort(-session.explanation_cache.peek(session.index, "predicted", "cam").probabilities)[:2]
    wait(lambda: session.explanation is not None)
    expected = class_maps(session.classifier, session.dataset, session.index, 2, "hirescam").shown
    wait(lambda: all(np.allclose(found, wanted) for (_, found, _), wanted in zip(cells(session), expected, strict=True)))
    assert [session.class_names[k] in name for k, (name, _, _) in zip(order, cells(session), strict=True)] == [True] * 2
    choose(browse.item.classes.which, 3)
    wait(lambda: len(cells(session)) == 3)


def test_more_classes_get_cells_that_are_drawn(browse_in_window, wait):
    browse = browse_in_window
    viewer = browse._session.viewer
    canvas = viewer.window._qt_viewer.canvas
    choose(browse.item.classes.which, 2)
    side_by_side(browse, wait)
    assert len(canvas.grid_views) == 2
    choose(browse.item.classes.which, 3)
    wait(lambda: len(cells(browse._session)) == 3 and not grid_of(browse._session).busy)
    # A name that napari wrote into a cell too early kept it from making the new cells.
    assert len(canvas.grid_views) == len(canvas.grid_cameras) == 4
    parents = {canvas.layer_to_visual[layer].node.parent for layer in find_layers(viewer, CLASS_MAP)}
    assert parents == {view.scene for view in canvas.grid_views[:3]}
    assert all(layer.name_overlay.visible for layer in find_layers(viewer, CLASS_MAP))


def test_chosen_classes_are_shown_whatever_their_probability(browse, wait, monkeypatch):
    session, which = browse._session, browse.item.classes.which

    class Chooser(ClassChooser):
        def exec(self):
            assert self.chosen == ()
            for row in (0, 2):
                self.list.item(row).setCheckState(Qt.CheckState.Checked)
            return QDialog.DialogCode.Accepted

    monkeypatch.setattr(map_class_row, "ClassChooser", Chooser)
    side_by_side(browse, wait)
    place = which.findText("choose …")
    which.setCurrentIndex(place)
    which.activated.emit(place)
    assert which.currentText() == "2 chosen"
    wait(lambda: len(cells(session)) == 2)
    assert [name.split(" (")[0] for name, _, _ in cells(session)] == ["1. cat", "2. eel"]


def test_the_list_of_classes_can_be_filtered_and_takes_no_more_than_can_be_seen(qtbot):
    dialog = ClassChooser([f"class {n}" for n in range(40)], [3])
    qtbot.addWidget(dialog)
    ok = dialog.buttons.button(dialog.buttons.StandardButton.Ok)
    assert dialog.chosen == (3,)
    assert dialog.count.text() == "1 chosen"
    dialog.filter.setText("CLASS 1")
    assert sum(not dialog.list.item(row).isHidden() for row in range(40)) == 11
    for row in range(17):
        dialog.list.item(row).setCheckState(Qt.CheckState.Checked)
    assert dialog.count.text() == "17 chosen; untick some, 16 at most"
    assert not ok.isEnabled()
    dialog.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert ok.isEnabled()
    for row in range(40):
        dialog.list.item(row).setCheckState(Qt.CheckState.Unchecked)
    assert not ok.isEnabled()


def test_another_version_is_looked_through_at_once(browse, project, wait):
    from napari_cam_feedback.models import build_classifier

    session = browse._session
    side_by_side(browse, wait)
    old = project.classifier(device="cpu")
    session.set_classifier(build_classifier("small-gap", old.class_names, old.preprocessing, seed=7))
    wait(lambda: session.explanation is not None)
    p = np.sort(session.explanation.probabilities)[::-1]
    wait(lambda: all(f"({value:.2f})" in name for (name, _, _), value in zip(cells(session), p, strict=True)))


def test_another_project_begins_without_cells(browse, project):
    session = browse._session
    browse.item.classes.button.click()
    session.open(prepare(project, project.classifier(device="cpu")))
    assert not browse.item.classes.button.isChecked()
    assert not find_layers(session.viewer, CLASS_MAP)


def test_images_of_any_kind_follow_each_other_side_by_side(browse_in_window, project, wait, forget_explanations):
    browse = browse_in_window
    session = browse._session
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(colours).save(project.dataset.source / "train" / "dog" / "01.png")
    (project.dataset.source / "train" / "dog" / "02.png").write_bytes(b"no image")
    forget_explanations(session)
    session.go_to(project.dataset.index_of("train/dog/00.png"))
    side_by_side(browse, wait)
    session.step(1)
    wait(lambda: cells(session) and cells(session)[0][2].shape == (20, 30, 3))
    assert len(cells(session)) == 3
    session.step(1)  # cannot be read
    assert session.item_error is not None
    assert not any(found.any() or image.any() for _, found, image in cells(session))
    session.step(1)
    wait(lambda: cells(session)[0][2].shape == (16, 16) and "…" not in cells(session)[0][0])
    assert len(cells(session)) == 3


def test_a_large_image_is_thinned_out_and_lies_where_it_was(browse, project, wait, forget_explanations):
    session = browse._session
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (3000, 12))).save(
        project.dataset.source / "train" / "dog" / "01.png"
    )
    forget_explanations(session)
    session.go_to(project.dataset.index_of("train/dog/01.png"))
    wait(lambda: session.explanation is not None)
    side_by_side(browse, wait)
    maps = find_layers(session.viewer, CLASS_MAP)[0]
    assert maps.data.shape == (1000, 800)
    assert maps.scale.tolist() == [3, 3]
    assert maps.extent.world[1].tolist() == pytest.approx([3000, 2400], abs=4)
    # Its maps are those of the whole image.
    found = class_maps(session.classifier, session.dataset, session.index, 3, "cam")
    whole = [explain_item(session.classifier, session.dataset, session.index, target=int(k), method="cam").map for k in
             found.classes]  # fmt: skip
    assert np.abs(common_display(np.stack(whole))[:, ::3, ::3] - found.shown).max() < 0.01


def test_classes_are_explained_in_one_call_of_the_method(project, monkeypatch):
    from napari_cam_feedback.explanations.maps.gradients import GradCam

    asked = []
    real = GradCam.__call__

    def call(self, classifier, inputs, classes=None):
        asked.append(tuple(classes.shape))
        return real(self, classifier, inputs, classes)

    monkeypatch.setattr(GradCam, "__call__", call)
    explanation_cache = ClassMapsCache(project.classifier(device="cpu"), project.dataset)
    found = explanation_cache.get(0, 3, "gradcam")
    assert asked == [(1, 3)]
    assert explanation_cache.peek(0, 3, "gradcam") is found
    assert explanation_cache.get(0, 3, "gradcam") is found
    assert explanation_cache.peek(0, (1,), "gradcam") is None
    assert explanation_cache.get(0, (1,), "gradcam").classes.tolist() == [1]


# --- maps of a split -------------------------------------------------------------------------------------------------


def test_the_maps_of_a_split_are_written_into_the_project_and_told_of(browse, project, wait, monkeypatch):
    session, writer = browse._session, browse.writer
    assert not browse.writer_fold.opened
    assert writer.stop_button.isHidden()
    assert writer.split.currentData() == "test"
    choose(writer.target, "true")
    writer.write_button.click()
    assert not writer.write_button.isEnabled()
    wait(lambda: not session.jobs.running())
    file = project.folder / "maps" / "v001-cam-true-test.npz"
    assert writer.result.text() == "The maps of 9 images are in v001-cam-true-test.npz."
    assert writer.result.toolTip() == str(file)
    opened = []
    monkeypatch.setattr(map_writer.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    writer.open_button.click()
    assert opened == [str(file.parent)]
    with np.load(file, allow_pickle=False) as found:
        expected = explain(session.classifier, session.dataset, method="cam", target="true", split="test")
        assert found["keys"].tolist() == expected.keys
        assert found["targets"].tolist() == expected.targets
        assert np.allclose(found["maps"], np.stack(expected.maps))
    assert writer.write_button.isEnabled()


def test_all_classes_of_all_images_as_tiffs_in_a_folder_of_one_s_own(browse, project, wait, tmp_path):
    session, writer = browse._session, browse.writer
    session.set_view(method="gradcam")
    choose(writer.target, "all")
    choose(writer.split, None)
    choose(writer.format, "")
    writer.folder.set_path(tmp_path / "mine")
    writer.write_button.click()
    wait(lambda: not session.jobs.running())
    folder = tmp_path / "mine" / "v001-gradcam-all-all"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.tif")) == sorted(
        f"{key}.tif" for key in project.dataset.keys
    )
    assert tifffile.imread(folder / "val/cat/01.png.tif").shape == (3, 16, 16)
    assert "27 images" in writer.result.text()


def test_pictures_and_a_table_are_offered_too(browse, project, wait):
    session, writer = browse._session, browse.writer
    folder = project.folder / "maps"
    choose(writer.format, map_writer.PICTURES)
    writer.write_button.click()
    wait(lambda: not session.jobs.running())
    assert writer.result.text() == "The maps of 9 images are in v001-cam-predicted-test-pictures."
    assert len(list((folder / "v001-cam-predicted-test-pictures").rglob("*.png"))) == 9
    choose(writer.format, map_writer.TABLE)
    writer.write_button.click()
    wait(lambda: not session.jobs.running())
    assert writer.result.text() == "The maps of 9 images are in v001-cam-predicted-test.csv."
    assert len((folder / "v001-cam-predicted-test.csv").read_text().splitlines()) == 10


def test_writing_can_be_stopped_and_says_what_is_there(browse, project, wait, monkeypatch):
    from napari_cam_feedback.explanations.maps import split as split_maps

    session, writer = browse._session, browse.writer
    real = split_maps.ItemMap.blocks

    def slow(item):
        time.sleep(0.05)
        return real(item)

    monkeypatch.setattr(split_maps.ItemMap, "blocks", slow)
    choose(writer.split, None)
    for extension, expected in ((".npz", "Stopped; nothing was written."), ("", "Stopped. The maps of ")):
        choose(writer.format, extension)
        writer.write_button.click()
        wait(lambda: any((project.folder / "maps").rglob("*.npz")) or any((project.folder / "maps").rglob("*.tif")))
        assert not writer.stop_button.isHidden()
        writer.stop_button.click()
        wait(lambda: not session.jobs.running())
        assert writer.result.text().startswith(expected)
        files = [path for path in (project.folder / "maps").rglob("*") if path.is_file()]
        assert not any(path.name.startswith(".tmp") for path in files)
        assert (len(files) == 0) == (extension == ".npz")
        assert len(files) < 27


def test_closing_the_window_asks_while_maps_are_written(browse, wait, monkeypatch):
    from napari_cam_feedback.explanations.maps import split as split_maps

    monkeypatch.setattr(split_maps.ItemMap, "blocks", lambda item: time.sleep(0.1) or iter(()))
    browse.writer.write_button.click()
    assert browse._session.jobs.precious() == ["Writing maps"]
    browse.writer.stop_button.click()
    wait(lambda: not browse._session.jobs.running())


def test_what_cannot_be_written_is_said_in_the_dock(browse, project, wait):
    from PIL import Image as Pictures

    session, writer = browse._session, browse.writer
    Pictures.new("L", (20, 30)).save(project.dataset.source / "test" / "dog" / "01.png")
    writer.write_button.click()
    wait(lambda: not session.jobs.running())
    assert writer.result.text() == (
        "The images are of different sizes, so their maps do not fit one array; "
        "write them into a folder, a TIFF for each image."
    )
    assert writer.write_button.isEnabled()
    writer.folder.edit.clear()
    writer.write_button.click()
    assert writer.result.text() == "Name a folder to write the maps into."


def test_images_that_cannot_be_read_are_counted(browse, project, wait):
    (project.dataset.source / "test" / "dog" / "01.png").write_bytes(b"no image")
    browse.writer.write_button.click()
    wait(lambda: not browse._session.jobs.running())
    assert browse.writer.result.text().endswith("1 could not be read.")
    assert "8 images" in browse.writer.result.text()


def test_the_dock_is_not_crowded(browse):
    browse.item.display_fold.set_opened(True)
    assert browse.minimumSizeHint().width() <= 340
    browse.writer_fold.set_opened(True)
    assert not browse.item.display_fold.opened
    browse.writer._say("The maps of 3 images are in v001-" + "a_rather_long_class-" * 3 + "train.npz.")
    browse.writer.open_button.show()
    assert browse.minimumSizeHint().width() <= 340


def test_a_map_that_was_computed_ahead_is_not_drawn_over_an_image_that_cannot_be_read(
    browse, project, wait, forget_explanations
):
    session = browse._session
    browse.item.display.contour.setChecked(True)
    wait(lambda: session.explanation is not None and session.layers.get(CONTOUR).data.shape[0] > 0)
    early = session.explanation
    (project.dataset.source / "train/cat/02.png").write_bytes(b"no image")
    forget_explanations(session)
    session.go_to(project.dataset.index_of("train/cat/02.png"))
    wait(lambda: session.item_error is not None)
    session._arrived(session._request(session.index), early, None)
    assert session.layers.get(CONTOUR).data.shape[0] == 0
    assert session.explanation is None
