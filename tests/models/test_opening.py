"""A model and its images are opened together: classes in the model's order, the split that it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from core_builders import same_weights, small_gap
from napari_cam_feedback.errors import ConsentNeeded, DataError, ModelError, WeightsMismatch
from napari_cam_feedback.models import ModelOptions, check_fits, open_pair, save_classifier
from napari_cam_feedback.projects import Project
from napari_cam_feedback.torch_loader import torch

PLAIN = ModelOptions(arch="small-gap", size=(16, 16), mean=(0.0,), std=(1.0,))


def images(folder: Path, classes: tuple[str, ...] = ("a", "b", "c"), count: int = 5) -> Path:
    """Write a folder of class folders, without splits."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            Image.fromarray(np.full((16, 16), 40 * number + n, np.uint8)).save(folder / name / f"{n}.png")
    return folder


def plain(path: Path, names: tuple[str, ...] = ("a", "b", "c")) -> Path:
    """Write weights that say nothing of themselves."""
    torch.save({"state_dict": small_gap(names).module.state_dict()}, path)
    return path


def test_the_model_s_names_and_their_order_count_before_the_folders(tmp_path):
    save_classifier(small_gap(("c", "a", "b")), tmp_path / "m.safetensors")
    classifier, dataset = open_pair(tmp_path / "m.safetensors", images(tmp_path / "data"), device="cpu")
    assert classifier.class_names == dataset.class_names == ("c", "a", "b")
    assert classifier.info["class_names_from"] == "header"
    first = dataset.keys.index("c/0.png")
    assert dataset.labels[first] == 0
    check_fits(classifier, dataset)


def test_plain_weights_take_the_folders_names_and_say_so(tmp_path):
    classifier, dataset = open_pair(plain(tmp_path / "m.pt"), images(tmp_path / "data"), PLAIN, device="cpu")
    assert classifier.class_names == dataset.class_names == ("a", "b", "c")
    assert classifier.info["class_names_from"] == "folders"
    save_classifier(classifier, tmp_path / "again.safetensors")
    again, _ = open_pair(tmp_path / "again.safetensors", tmp_path / "data", device="cpu")
    assert again.info["class_names_from"] == "folders", "a version still tells that its names were assumed"


def test_names_that_the_user_gives_count_before_all_others(tmp_path):
    save_classifier(small_gap(("x", "y", "z")), tmp_path / "m.safetensors")
    options = ModelOptions(class_names=("b", "c", "a"))
    classifier, dataset = open_pair(tmp_path / "m.safetensors", images(tmp_path / "data"), options, device="cpu")
    assert classifier.class_names == dataset.class_names == ("b", "c", "a")
    assert classifier.info["class_names_from"] == "file"


def test_another_number_of_folders_than_outputs_gives_both(tmp_path):
    path, data = plain(tmp_path / "m.pt"), images(tmp_path / "data", ("ant", "bee"))
    with pytest.raises(
        WeightsMismatch,
        match=r"^m\.pt has 3 outputs and the dataset has 2 classes \(ant, bee\); choose the dataset that the model was "
        r"trained for, or name the model's classes in their order\.$",
    ) as caught:
        open_pair(path, data, PLAIN, device="cpu")
    assert caught.value.fields == ("class_names",)
    assert (caught.value.rows[0].name, caught.value.rows[0].found, caught.value.rows[0].expected) == ("classes", "3", "2")


def test_folders_of_other_classes_than_the_model_s_give_a_sentence(tmp_path):
    save_classifier(small_gap(("a", "b", "d")), tmp_path / "m.safetensors")
    with pytest.raises(DataError, match=r'has the class "c", which is no class of the model \(a, b, d\); correct the'):
        open_pair(tmp_path / "m.safetensors", images(tmp_path / "data"), device="cpu")


def test_the_split_that_the_model_was_trained_on_is_made_again(tmp_path):
    classifier = small_gap()
    classifier.info["training"] = {"split_seed": 7}
    save_classifier(classifier, tmp_path / "m.safetensors")
    data = images(tmp_path / "data", count=20)
    _, dataset = open_pair(tmp_path / "m.safetensors", data, device="cpu", seed=1)
    _, other = open_pair(plain(tmp_path / "m.pt"), data, PLAIN, device="cpu", seed=1)
    assert (dataset.split_seed, other.split_seed) == (7, 1)
    assert dataset.splits.tolist() != other.splits.tolist()


def test_versions_of_a_network_that_code_makes_are_opened_with_consent(tmp_path):
    data, code = images(tmp_path / "data"), tmp_path / "nets.py"
    code.write_text("from napari_cam_feedback.models.networks.networks import SmallGap as make\n")
    options = PLAIN.model_copy(update={"arch": f"{code}:make", "trust": True})
    classifier, dataset = open_pair(plain(tmp_path / "m.pt"), data, options, device="cpu")
    Project.create(tmp_path / "project", dataset, classifier)
    project = Project.open(tmp_path / "project")
    with pytest.raises(ConsentNeeded, match=r"nets\.py .*agree to it if you trust"):
        project.classifier(device="cpu")
    assert same_weights(project.classifier(device="cpu", trust=True), classifier)


def test_the_dataset_is_opened_once(tmp_path, monkeypatch):
    from napari_cam_feedback.models.files import loading

    opened = []
    original = loading.open_dataset
    monkeypatch.setattr(loading, "open_dataset", lambda *a, **k: opened.append(k) or original(*a, **k))
    data = images(tmp_path / "data")
    open_pair(plain(tmp_path / "m.pt"), data, PLAIN, device="cpu")
    save_classifier(small_gap(("c", "a", "b")), tmp_path / "m.safetensors")
    open_pair(tmp_path / "m.safetensors", data, device="cpu", seed=3)
    assert opened == [{"seed": 0}, {"seed": 3, "class_names": ("c", "a", "b")}]


def test_other_forms_of_datasets_go_the_same_way(tmp_path):
    images(tmp_path / "data")
    lines = [f"data/{name}/{n}.png,{name}" for name in "abc" for n in range(5)]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(lines))
    classifier, dataset = open_pair(plain(tmp_path / "m.pt"), tmp_path / "list.csv", PLAIN, device="cpu")
    assert classifier.class_names == dataset.class_names == ("a", "b", "c")


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path):
    data = images(tmp_path / "data")
    with pytest.raises(DataError, match=r"none does not exist; check the path\."):
        open_pair(plain(tmp_path / "m.pt"), tmp_path / "none", PLAIN)
    with pytest.raises(ModelError, match=r"^There is no model file .*none\.pt; check the path\.$"):
        open_pair(tmp_path / "none.pt", data, PLAIN)
    with pytest.raises(ModelError, match=r"^m\.pt does not say its architecture; its weights fit small-gap, so name that"):
        open_pair(tmp_path / "m.pt", data)


def test_torchvision_s_own_weights_are_asked_for_with_their_thousand_names(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with pytest.raises(
        ConsentNeeded, match=r"squeezenet1_1-.*\.pth \(5 MB\) of torchvision:squeezenet1_1 are not on this machine"
    ):
        open_pair("torchvision:squeezenet1_1", images(tmp_path / "data"))


def test_a_dataset_without_classes_needs_a_model_that_knows_its_own(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "list.csv").write_text("path,label\n0.png,\n1.png,\n")
    for n in range(2):
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / f"{n}.png")
    save_file(small_gap().module.state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(
        DataError, match=r"^Neither m\.safetensors nor .*list\.csv names classes; give them in a file, one a line"
    ):
        open_pair(tmp_path / "m.safetensors", folder / "list.csv", PLAIN)
