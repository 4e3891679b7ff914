"""The Session dock with models and images of every kind: layers of the viewer, transformers, weights that do not fit."""

from __future__ import annotations

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QMessageBox

from napari_cam_feedback.errors import DataError, Mismatch, WeightsMismatch
from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.viewer.identity import find_layer
from napari_cam_feedback.widgets.viewer.layer_images import LayerImages, PickedLayer
from napari_cam_feedback.widgets.viewer.layers import IMAGE

pytest_plugins = ["widget_fixtures"]

TRANSFORMER = """
from torchvision.models import VisionTransformer

def make(num_classes):
    return VisionTransformer(16, 4, num_layers=4, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=num_classes)
"""


@pytest.fixture
def widget(make_napari_viewer_proxy, files):
    """The Session widget in a viewer."""
    viewer = make_napari_viewer_proxy()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    yield widget
    session_of(viewer).close()


def load(widget, wait):
    before = widget._session.project
    widget.load_button.click()
    wait(lambda: not widget._session.jobs.running("load") and (widget._session.project is not before or widget.error.text()))
    return widget.error.text()


def squares(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


# The viewer's layers ------------------------------------------------------------------------------------


def test_open_layers_become_a_dataset_and_stay_as_they_were(widget, files, wait):
    session = widget._session
    viewer = session.viewer
    stack = viewer.add_image(squares(5, 16, 16), name="series/a", opacity=0.4)
    colour = viewer.add_image(squares(20, 16, 3, seed=1), name="photo", rgb=True)
    left_out = viewer.add_image(squares(16, 16), name="not this")
    unknown = viewer.add_image(squares(16, 16, seed=2), name="unknown")
    viewer.add_labels(np.zeros((16, 16), int))
    page = widget.choice.layers
    widget.choice.choose_layers(files.model, files.project)
    page.refresh()
    assert [page.table.item(row, 0).text() for row in range(page.table.rowCount())] == [
        "series/a",
        "photo",
        "not this",
        "unknown",
    ]
    assert [page.table.item(row, 1).text() for row in range(4)] == ["5", "1", "1", "1"]
    page.choose(stack, label="cat")
    page.choose(colour, label="dog")
    page.choose(left_out, ticked=False)
    assert load(widget, wait) == ""
    dataset = session.dataset
    assert [*dataset.keys] == [*(f"series_a/{i:04d}.tif" for i in range(5)), "photo.tif", "unknown.tif"]
    assert dataset.labels.tolist() == [0] * 5 + [1, -1]
    assert dataset.class_names == ("cat", "dog", "eel")
    assert np.array_equal(dataset.read(3), stack.data[3])
    assert np.array_equal(dataset.read(5), colour.data)
    assert dataset.source == files.project / "images" / "labels.csv"
    wait(lambda: session.explanation is not None)
    # The user's layers are where and what they were, under ours, which are no images to choose.
    assert [layer.name for layer in viewer.layers][:4] == ["series/a", "photo", "not this", "unknown"]
    assert stack.opacity == 0.4
    assert all(layer.visible for layer in (stack, colour, left_out, unknown))
    assert find_layer(viewer, IMAGE) is not None
    page.refresh()
    assert page.table.rowCount() == 4
    # They can be put out of the way.
    assert not widget.open_view.hide_button.isHidden()
    widget.open_view.hide_button.click()
    assert not stack.visible
    assert find_layer(viewer, IMAGE).visible
    # And the project opens again by itself.
    widget.choose_project(files.project)
    assert load(widget, wait) == ""
    assert len(session.dataset) == 7


def test_the_models_classes_are_offered_for_the_layers(widget, files, wait):
    widget._session.viewer.add_image(squares(16, 16), name="one")
    widget.choice.choose_layers(files.model, files.project)
    page = widget.choice.layers
    page.refresh()
    page.set_class_names(["cat", "dog", "eel"])
    combo = page.table.cellWidget(0, 2)
    assert [combo.itemText(i) for i in range(combo.count())] == ["", "cat", "dog", "eel"]
    combo.setCurrentText("eel")
    # Another layer is opened, one is renamed: what was chosen stays.
    widget._session.viewer.add_image(squares(16, 16), name="two")
    widget._session.viewer.layers["one"].name = "uno"
    wait(lambda: page.table.rowCount() == 2 and page.table.item(0, 0).text() == "uno")
    assert page.table.cellWidget(0, 2).currentText() == "eel"


def test_a_failed_load_of_layers_leaves_nothing_in_the_way_of_the_next(widget, files, wait):
    layer = widget._session.viewer.add_image(squares(3, 16, 16), name="series")
    widget.choice.choose_layers(files.model, files.project)
    widget.choice.layers.choose(layer, label="fox")
    sentence = load(widget, wait)
    assert "fox" in sentence
    assert "\n" not in sentence
    assert not (files.project / "images").exists()
    widget.choice.layers.choose(layer, label="eel")
    assert load(widget, wait) == ""
    # That project has its images now, and masks on them perhaps: it is not written over.
    widget.load_button.click()
    wait(lambda: widget.error.text())
    assert "holds a project already; choose another project folder for these layers" in widget.error.text()
    assert len(list((files.project / "images").rglob("*.tif"))) == 3


def test_no_layer_ticked_is_one_sentence(widget, files, wait):
    widget.choice.choose_layers(files.model, files.project)
    assert "Open images in napari first" in widget.choice.layers.note.text()
    assert load(widget, wait) == "No layer is ticked; open images in napari and tick those to use."


def test_a_project_folder_for_layers_is_suggested_that_is_free(widget, files):
    widget.choice.choose_layers(files.model)
    first = widget.choice.project.path
    assert first.name == "layers-model"
    (first / "images").mkdir(parents=True)
    widget.choice.choose_project(files.project)
    widget.choice.choose_layers(files.model)
    widget.choice._project_touched = False
    widget.choice._suggest_project()
    assert widget.choice.project.path == first.with_name("layers-model-2")


def test_of_lazy_data_one_slice_is_computed_at_a_time():
    computed = []

    def block(block_info=None):
        start = block_info[None]["array-location"][0][0]
        computed.append(start)
        return np.full((1, 8, 8), start, np.uint8)

    lazy = da.map_blocks(block, chunks=((1,) * 6, (8,), (8,)), dtype=np.uint8)
    images = LayerImages([PickedLayer("lazy", lazy, rgb=False), PickedLayer("one", squares(8, 8), rgb=False)])
    assert len(images) == 7
    assert images[4].max() == 4
    assert set(computed) == {4}
    assert images[6].shape == (8, 8)
    with pytest.raises(IndexError):
        images[7]


def test_stacks_of_more_axes_and_of_colours_are_taken_plane_by_plane():
    deep = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    picked = PickedLayer("deep", deep, rgb=False)
    assert (picked.count, picked.size) == (6, (4, 5))
    assert np.array_equal(picked.read(4), deep[1, 1])
    colours = PickedLayer("colours", np.zeros((3, 4, 5, 3), np.uint8), rgb=True)
    assert (colours.count, colours.size) == (3, (4, 5))
    assert colours.read(2).shape == (4, 5, 3)


def test_a_layer_that_cannot_be_read_is_named():
    def fail(block):
        raise OSError("the drive is gone")

    broken = da.zeros((2, 8, 8), chunks=(1, 8, 8)).map_blocks(fail, dtype=float, meta=np.zeros((0, 0, 0)))
    with pytest.raises(DataError, match=r"Image 1 of the layer “scan” cannot be read \(the drive is gone\); untick it\."):
        PickedLayer("scan", broken, rgb=False).read(1)


# Models -------------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit_are_a_table_that_can_be_copied(widget, files, wait):
    from napari_cam_feedback.models import build_classifier, load_classifier
    from napari_cam_feedback.torch_loader import torch

    first = load_classifier(files.model, device="cpu")
    other = build_classifier("residual-vgg", first.class_names, first.preprocessing)
    weights = files.model.with_name("colleague.pth")
    torch.save(other.module.state_dict(), weights)
    widget.choose_files(weights, files.data, files.project)
    widget.choice.form.arch.edit.setText("torchvision:resnet18")
    sentence = load(widget, wait)
    assert sentence.startswith("The weights in colleague.pth do not fit")
    assert "“Architecture”" in sentence
    assert "--arch" not in sentence
    table = widget.error.table.text().replace("&#8203;", "")
    assert not widget.error.table.isHidden()
    widget.error.copy_button.click()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0] == sentence
    assert lines[2] == "name\tin the file\tin the architecture"
    names = [line.split("\t")[0] for line in lines[3:]]
    assert len(names) > 40
    assert all(f">{name}<" in table for name in names[:10])
    assert f">{names[10]}<" not in table
    assert f"<i>and {len(names) - 10} more</i>" in table
    # A good choice afterwards takes the table away.
    widget.choice.form.arch.edit.setText("residual-vgg")
    widget.choice.form.input_size.setText("16")
    widget.choice.form.mean.setText("0.5")
    widget.choice.form.std.setText("0.5")
    assert load(widget, wait) == ""
    assert widget.error.isHidden()
    assert "residual-vgg" in widget.open_view.summary.text()
    assert "from the folders, in alphabetical order" in widget.open_view.summary.text()


def test_what_the_form_says_is_how_the_model_is_opened(widget, files, wait):
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.torch_loader import torch

    weights = files.model.with_name("colleague.pth")
    torch.save(load_classifier(files.model, device="cpu").module.state_dict(), weights)
    names = files.model.with_name("names.txt")
    names.write_text("eel\ndog\ncat\n")
    widget.choose_files(weights, files.data, files.project)
    form = widget.choice.form
    form.arch.edit.setText("small-gap")
    form.class_names.set_path(names)
    form.input_size.setText("24x32")
    form.crop.setCurrentIndex(form.crop.findData(True))
    form.resize_to.setText("40")
    form.interpolation.setCurrentIndex(form.interpolation.findData("bicubic"))
    form.mean.setText("0.4")
    form.std.setText("0.2")
    form.value_range.setText("0 200")
    form.layer.setText("features.1")
    form.set_opened(True)
    assert load(widget, wait) == ""
    # Out of the way of what is open now; its title says that it holds something.
    assert not form.opened
    assert "(10 given)" in form.button.text()
    assert widget._session.class_names == ("eel", "dog", "cat")
    assert widget._session.classifier.target_layer == "features.1"
    summary = widget.open_view.summary.text().replace("&#8203;", "")
    assert "24x32 gray, scaled to 40 px, centre cut out, bicubic; values: 0 to 200; mean 0.4; std 0.2" in summary
    assert "3: eel, dog, cat (from the file of names)" in summary
    assert "features.1 (32 filters, 24x32)" in summary


def test_a_grid_of_tokens_can_be_set_and_comes_back(widget, files, wait, monkeypatch):
    code = files.model.with_name("vit.py")
    code.write_text(TRANSFORMER)
    from napari_cam_feedback.torch_loader import torch

    names: dict = {}
    exec(TRANSFORMER, names)
    weights = files.model.with_name("vit.pt")
    torch.save(names["make"](3).state_dict(), weights)
    yes = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", staticmethod(lambda *args: yes))
    widget.choose_files(weights, files.data, files.project)
    widget.choice.form.arch.edit.setText(f"{code}:make")
    widget.choice.form.input_size.setText("16")
    session, view = widget._session, widget.open_view
    assert load_after_question(widget, wait) == ""
    assert not view.grid.isHidden()
    assert view.grid_text.text() == "4x4"
    assert "8 filters, 4x4 tokens after 1 other" in view.summary.text()
    view.grid_text.setText("2x8")
    view.grid_text.returnPressed.emit()
    wait(lambda: session.classifier.grid == (2, 8) or widget.error.text())
    assert widget.error.text() == ""
    wait(lambda: session.explanation is not None)
    assert session.explanation.raw.shape == (2, 8)
    assert view.grid_text.text() == "2x8"
    # What cannot be is a sentence, and the grid stays.
    for text, words in (("5x5", "“Token grid”"), ("many", "“Token grid” cannot be “many”")):
        view.grid_text.setText(text)
        view.grid_text.returnPressed.emit()
        wait(lambda: not session.jobs.running("load") and widget.error.text())
        assert words in widget.error.text()
        assert session.classifier.grid == (2, 8)
    # The next time it is as it was left.
    widget.choose_project(files.project)
    assert load_after_question(widget, wait) == ""
    assert session.classifier.grid == (2, 8)
    assert view.grid_text.text() == "2x8"


def load_after_question(widget, wait):
    """Load where a dialog is answered with yes in between, which starts the loading again."""
    before = widget._session.project
    widget.load_button.click()
    wait(lambda: widget._session.project is not before or widget.error.text())
    return widget.error.text()


def test_a_layer_of_maps_has_no_grid_to_set(widget, files, wait):
    widget.choose_files(files.model, files.data, files.project)
    assert load(widget, wait) == ""
    assert widget.open_view.grid.isHidden()


def test_weights_of_torchvision_are_fetched_only_after_a_yes(widget, files, wait, monkeypatch):
    asked = []

    def no(parent, title, text, buttons, default):
        asked.append((title, text))
        return default

    monkeypatch.setattr(QMessageBox, "question", staticmethod(no))
    monkeypatch.setenv("TORCH_HOME", str(files.project))
    widget.choose_files("torchvision:squeezenet1_1", files.data, files.project)
    assert widget.choice.project.path == files.project
    widget.load_button.click()
    wait(lambda: widget.error.text())
    assert [title for title, _ in asked] == ["Download the weights?"]
    assert "squeezenet1_1" in asked[0][1]
    assert widget.error.text() == (
        "The model was not loaded, because its weights may not be downloaded; press Load to be asked again."
    )


# The dock -----------------------------------------------------------------------------------------------


def test_nothing_is_cut_off_in_the_narrow_dock(widget, files):
    viewer = widget._session.viewer
    viewer.add_image(squares(3, 16, 16), name="a layer with quite a long name that goes on and on")
    long_name = "features.denseblock4.denselayer16.norm2.running_mean_of_something_else"
    rows = [Mismatch(f"{long_name}.{i}", "1024x1024x3x3", "512x2048x3x3") for i in range(12)]
    widget._show_error(WeightsMismatch("The weights do not fit; choose another architecture.", rows))
    widget.choice.form.set_opened(True)
    widget.choice.form.arch.edit.setText("/a/folder/with/a/long/name/and/a_file_of_code.py:make_the_network")
    widget.choice.form.input_size.setText("224x224")
    for row in range(widget.choice.kind.count()):
        widget.choice.kind.setCurrentIndex(row)
        # The dock is 330 px wide at least; a scroll bar takes 16 of them.
        assert widget._area.widget().minimumSizeHint().width() <= 330 - 16


def test_the_form_stays_away_from_samples_and_projects(widget):
    shown = {}
    for row in range(widget.choice.kind.count()):
        widget.choice.kind.setCurrentIndex(row)
        parts = (("model", widget.choice.model), ("data", widget.choice.data), ("form", widget.choice.form))
        shown[widget.choice.kind.currentData()] = {name for name, part in parts if not part.isHidden()}
    assert shown == {"sample": set(), "files": {"model", "data", "form"}, "layers": {"model", "form"}, "project": set()}


def test_all_architectures_are_offered_once_torch_is_there(widget, wait):
    combo = widget.choice.form.arch.combo
    assert combo.findText("torchvision:resnet18") > 0
    assert combo.findText("torchvision:shufflenet_v2_x1_0") < 0
    widget.choice.form.set_opened(True)
    wait(lambda: combo.findText("torchvision:shufflenet_v2_x1_0") > 0)


def test_the_form_and_the_layers_load_no_torch():
    code = """
import sys, napari, numpy as np
from napari_cam_feedback.widgets.open.dock import SessionWidget
viewer = napari.Viewer(show=False)
widget = SessionWidget(viewer)
viewer.add_image(np.zeros((3, 8, 8)))
for row in range(widget.choice.kind.count()):
    widget.choice.kind.setCurrentIndex(row)
    widget.choice.form.set_opened(True)
    widget.choice.model.set_path("/somewhere/model.safetensors")
    widget.choice.form.arch.edit.setText("resnet")
    widget.choice.source()
print("torch" in sys.modules)
widget._session.close()
viewer.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("False")
