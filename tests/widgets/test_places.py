"""napari's own places: its Preferences, what is dropped on its window, saving a mask, and its menus."""

from __future__ import annotations

import dataclasses
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest
from PIL import Image

import napari_cam_feedback
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.widgets.launch import show_project
from napari_cam_feedback.widgets.menus import look_at_classifier, new_mask_layer, paint_irrelevant
from napari_cam_feedback.widgets.reading import get_reader, kind_of
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.session.sources import home
from napari_cam_feedback.widgets.viewer.layers import MASK, ItemLayers, mask_colormap
from napari_cam_feedback.widgets.viewer.map_style import FIRST_COLORMAPS, MapLook
from napari_cam_feedback.widgets.viewer.preferences import CATEGORIES, MASK_COLOURS, Preferences, preferences
from napari_cam_feedback.widgets.writing import write_mask

pytest_plugins = ["widget_fixtures"]

MANIFEST = PluginManifest.from_file(Path(napari_cam_feedback.__file__).with_name("napari.yaml"))


@pytest.fixture
def settings(plugin_settings, npe2pm):
    """The plugin's settings in napari's Preferences, in a temporary folder."""
    from napari.settings import get_plugin_settings

    npe2pm.register(MANIFEST)
    return get_plugin_settings("napari-cam-feedback")


def test_the_defaults_of_the_preferences_are_those_of_the_manifest(settings):
    assert preferences() == Preferences()
    declared = {key: tuple(each.properties) for key, each in MANIFEST.contributions.configurations.items()}
    assert declared == CATEGORIES
    assert sorted(name for names in CATEGORIES.values() for name in names) == sorted(
        field.name for field in dataclasses.fields(Preferences)
    )
    colours = MANIFEST.contributions.configurations["colours"].properties
    assert colours["mask_colour"].enum == list(MASK_COLOURS)
    assert colours["heatmap_colours"].enum == list(FIRST_COLORMAPS)


def test_what_is_set_is_used_where_it_serves(settings, make_napari_viewer, project, tmp_path, monkeypatch):
    from napari_cam_feedback.widgets.open.source_view import SourceView
    from napari_cam_feedback.widgets.session.session import prepare

    settings.opening.device = "cpu"
    settings.opening.projects_folder = str(tmp_path / "mine")
    settings.opening.cache_megabytes = 16
    settings.colours.heatmap_colours = "viridis"
    settings.colours.heatmap_opacity = 0.25
    settings.colours.mask_colour = "cyan"
    assert home() == tmp_path / "mine"
    session = session_of(make_napari_viewer())
    assert SourceView(session).device.currentData() == "cpu"
    assert session.layers.look == MapLook("viridis", 0.25)
    # What was chosen in a project counts more.
    assert MapLook.from_remembered({"colormap": "inferno"}) == MapLook("inferno", 0.25)
    assert tuple(mask_colormap().color_dict[1]) == pytest.approx(MASK_COLOURS["cyan"])
    sizes = []
    monkeypatch.setattr("napari_cam_feedback.explanations.ExplanationCache", lambda *_, max_bytes: sizes.append(max_bytes))
    prepare(project, project.classifier(device="cpu"))
    assert sizes == [16 << 20]
    session.close()


def test_without_a_manifest_the_defaults_hold(plugin_settings):
    assert preferences() == Preferences()
    assert ItemLayers(type("Viewer", (), {})()).look == MapLook()


def test_what_is_dropped_is_known_by_its_look_and_the_rest_is_left_to_others(files, project, tmp_path):
    np.savez(tmp_path / "set.npz", x_train=np.zeros((2, 4, 4)), y_train=np.zeros(2))
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    np.save(tmp_path / "image.npy", np.zeros((4, 4)))
    (tmp_path / "list.csv").write_text("path,label,split\na.png,cat,train\n")
    (tmp_path / "points.csv").write_text("index,axis-0,axis-1\n0,1,2\n")
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00path,label")
    (tmp_path / "not.npz").write_text("no archive")
    (tmp_path / "weights.pth").write_bytes(b"never read")
    (tmp_path / "empty").mkdir()
    one = tmp_path / "one"
    shutil.copytree(files.data / "train/cat", one / "cat")
    expected = {
        project.folder: "project",
        project.folder / "project.json": "project",
        files.model: "model",
        tmp_path / "weights.pth": "model",
        files.data: "data",
        files.data / "train": "data",
        tmp_path / "list.csv": "data",
        tmp_path / "set.npz": "data",
        # Whatever follows is others' business.
        files.data / "train/cat": None,
        files.data / "train/cat/00.png": None,
        one: None,
        tmp_path / "empty": None,
        tmp_path / "other.npz": None,
        tmp_path / "image.npy": None,
        tmp_path / "points.csv": None,
        tmp_path / "broken.csv": None,
        tmp_path / "not.npz": None,
        tmp_path / "nowhere.csv": None,
    }
    assert {path: kind_of(path) for path in expected} == expected
    assert get_reader(str(tmp_path / "image.npy")) is None
    # Of what napari offers to every plugin that names its kind, so that it asks which to take, pictures are none.
    (reader,) = MANIFEST.contributions.readers
    assert reader.accepts_directories
    for name in ("a.png", "a.tif", "a.tiff", "a.jpg", "a.npy", "other.json"):
        assert not any(fnmatch(name, pattern) for pattern in reader.filename_patterns)
    for path, kind in expected.items():
        assert kind is None or path.is_dir() or any(fnmatch(path.name, pattern) for pattern in reader.filename_patterns)
    assert get_reader([str(files.model), str(files.data)]) is None


def test_a_project_that_is_dropped_is_opened_and_a_model_and_its_images_as_soon_as_both_are_there(
    make_napari_viewer, files, project, wait
):
    viewer = make_napari_viewer()
    session = session_of(viewer)
    read = get_reader(str(project.folder))
    assert read(str(project.folder)) == [(None,)]
    wait(lambda: session.project is not None and not session.jobs.running("load"))
    assert session.project.folder == project.folder
    assert len(session.dataset) == 27
    files.model.rename(files.model.with_name("other.safetensors"))
    get_reader(str(files.model.with_name("other.safetensors")))("")
    assert not session.jobs.running("load")
    before = session.project
    get_reader(str(files.data))("")
    wait(lambda: session.project is not before and not session.jobs.running("load"))
    assert session.project.folder == home() / "data-other"
    session.close()


def test_a_labels_layer_is_saved_as_a_mask_that_the_program_reads(make_napari_viewer, tmp_path):
    from napari_cam_feedback.feedback import read_mask_file

    labels = np.zeros((6, 8), np.int32)
    labels[2:4, 3:6] = 7
    path = tmp_path / "mask.png"
    assert write_mask(str(path), labels, {"name": "mine"}) == [str(path)]
    assert np.array_equal(np.asarray(Image.open(path)), np.where(labels, 255, 0))
    assert np.array_equal(read_mask_file(path), labels != 0)
    with pytest.raises(MaskError, match="“mine” has 3 dimensions; a mask is one plane"):
        write_mask(str(path), np.zeros((2, 6, 8), int), {"name": "mine"})
    (writer,) = MANIFEST.contributions.writers
    assert [str(kind) for kind in writer.layer_types] == ["labels"]


def test_the_menus_open_the_docks_and_make_a_layer_to_draw_a_mask_in(make_napari_viewer, project, wait):
    viewer = make_napari_viewer()
    new_mask_layer(viewer)
    assert len(viewer.layers) == 0
    image = viewer.add_image(np.zeros((3, 5, 7)), name="stack")
    viewer.add_image(np.zeros((4, 6, 3), np.uint8), rgb=True)
    new_mask_layer(viewer)
    assert viewer.layers[-1].data.shape == (4, 6)
    viewer.layers.selection.active = image
    new_mask_layer(viewer)
    assert viewer.layers[-1].data.shape == (5, 7)
    look_at_classifier(viewer)
    assert len(viewer.window.dock_widgets) == 1
    show_project(viewer, project.folder)
    session = session_of(viewer)
    wait(lambda: session.project is not None and not session.jobs.running("load"))
    paint_irrelevant(viewer)
    layer = session.layers.get(MASK)
    assert viewer.layers.selection.active is layer
    assert layer.mode == "paint"
    session.close()
    used = {item.command for items in MANIFEST.contributions.menus.values() for item in items}
    assert used == {f"napari-cam-feedback.{name}" for name in ("new_mask", "paint", "look")}
