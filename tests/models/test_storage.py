"""Classifiers on disk: exact round trips, foreign state dicts, and files that are broken or want to run code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import safetensors
from safetensors.torch import save_file

from core_builders import same_weights, small_disk, small_gap
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import Mismatch, ModelError, StorageError, WeightsMismatch, describe
from napari_cam_feedback.models import build_classifier, load_classifier, save_classifier
from napari_cam_feedback.torch_loader import torch

NAMES = ("a", "b", "c")


def foreign(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def load(path: Path, **options):
    """Load a state dict of a small-gap network for 16x16 gray images."""
    options = {"arch": "small-gap", "class_names": NAMES, "size": (16, 16), "mean": (0.0,), "std": (1.0,), **options}
    return load_classifier(path, device="cpu", **options)


def test_a_classifier_comes_back_exactly(tmp_path):
    preprocessing = Preprocessing(size=(16, 20), channels=1, mean=(0.1,), std=(0.3,), value_range=(0, 4095))
    classifier = build_classifier("small-gap", ("ä", "b c", "日"), preprocessing, target_layer="features.0", seed=4)
    classifier.info["training"] = {"epoch": 3, "note": "ü"}
    save_classifier(classifier, tmp_path / "m.safetensors")
    again = load_classifier(tmp_path / "m.safetensors", device="cpu")
    assert same_weights(classifier, again)
    assert again.fingerprint() == classifier.fingerprint()
    assert again.class_names == ("ä", "b c", "日")
    assert again.preprocessing == preprocessing
    assert again.target_layer == "features.0"
    assert again.arch == "small-gap"
    assert again.info == {"training": {"epoch": 3, "note": "ü"}, "class_names_from": "header"}
    images = torch.rand(2, 1, 16, 20)
    assert torch.equal(classifier.logits(images), again.logits(images))


def test_other_programs_can_read_weights_and_header(tmp_path):
    classifier = small_gap()
    save_classifier(classifier, tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["napari_cam_feedback"])
        assert set(file.keys()) == set(classifier.module.state_dict())
        assert (file.get_tensor("head.weight") == classifier.module.head.weight.numpy()).all()
    assert header == {
        "schema": 1,
        "arch": "small-gap",
        "class_names": ["a", "b", "c"],
        "preprocessing": classifier.preprocessing.model_dump(mode="json"),
        "target_layer": "features",
        "grid": None,
        "info": {},
    }


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
def test_a_plain_state_dict_loads(tmp_path, suffix):
    original = small_gap()
    loaded = load(foreign(tmp_path / f"m{suffix}", original.module.state_dict()))
    assert same_weights(original, loaded)
    assert loaded.target_layer == "features"
    assert loaded.head is not None


@pytest.mark.parametrize("nest", ["state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_nested_and_prefixed_state_dict_loads(tmp_path, nest, prefix):
    original = small_gap()
    weights = {prefix + name: tensor for name, tensor in original.module.state_dict().items()}
    path = foreign(tmp_path / "m.pt", {"epoch": 3, "optimizer": {"lr": 0.1}, nest: weights})
    assert same_weights(original, load(path))


def test_a_state_dict_without_batch_norm_s_counters_loads(tmp_path):
    weights = {k: v for k, v in small_gap().module.state_dict().items() if not k.endswith("num_batches_tracked")}
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(load(foreign(tmp_path / "m.pt", weights)).logits(images), small_gap().logits(images))


def test_a_foreign_safetensors_file_loads(tmp_path):
    original = small_gap()
    save_file(original.module.state_dict(), tmp_path / "m.safetensors")
    assert same_weights(original, load(tmp_path / "m.safetensors"))


def test_a_torchvision_state_dict_loads_with_imagenet_s_preprocessing(tmp_path):
    original = build_classifier("torchvision:resnet18", NAMES, Preprocessing(size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3))
    path = foreign(tmp_path / "m.pth", original.module.state_dict())
    loaded = load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, size=(64, 64), device="cpu")
    assert same_weights(original, loaded)
    assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)
    assert loaded.preprocessing.std == (0.229, 0.224, 0.225)
    assert loaded.preprocessing.size == (64, 64)
    assert loaded.target_layer == "layer4"


def test_what_a_file_does_not_say_is_asked_for(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module.state_dict())
    with pytest.raises(ModelError, match=r"m\.pt does not say its architecture; its weights fit small-gap, so name that\.$"):
        load_classifier(path)
    other = foreign(tmp_path / "n.pt", {"a.weight": torch.zeros(2, 2)})
    with pytest.raises(
        ModelError, match=r"n\.pt does not say its architecture; name it, for example torchvision:resnet18\.$"
    ):
        load_classifier(other)
    with pytest.raises(ModelError, match=r"m\.pt does not say its class names \(it has 3 outputs\); give them in a file"):
        load_classifier(path, arch="small-gap")


def test_what_the_caller_says_goes_before_what_the_file_says(tmp_path):
    save_classifier(small_gap(), tmp_path / "m.safetensors")
    loaded = load_classifier(
        tmp_path / "m.safetensors", class_names=("x", "y", "z"), size=(20, 24), mean=(0.2,), std=(0.4,), device="cpu",
        layer="features.1",
    )  # fmt: skip
    assert loaded.class_names == ("x", "y", "z")
    assert loaded.preprocessing.size == (20, 24)
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == ((0.2,), (0.4,))
    assert loaded.target_layer == "features.1"


def test_a_wrong_layer_name_gives_the_nearest(tmp_path):
    save_classifier(small_gap(), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"no layer 'featurs'; did you mean features"):
        load_classifier(tmp_path / "m.safetensors", layer="featurs", device="cpu")


def test_an_unknown_architecture_gives_the_nearest_names(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module.state_dict())
    with pytest.raises(ModelError, match=r"no architecture 'smal-gap'; did you mean small-gap"):
        load(path, arch="smal-gap")


def test_another_number_of_classes_gives_a_sentence(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module.state_dict())
    with pytest.raises(
        WeightsMismatch,
        match=r"^m\.pt has 3 outputs and there are 2 class names \(a, b\); name each output, in their order",
    ) as caught:
        load(path, class_names=("a", "b"))
    assert caught.value.rows == (
        Mismatch("classes", "3", "2"),
        Mismatch("head.weight", "3x64", "2x64"),
        Mismatch("head.bias", "3", "2"),
    )


def test_weights_of_another_architecture_give_a_sentence(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module.state_dict())
    with pytest.raises(
        WeightsMismatch,
        match=r"^The weights in m\.pt do not fit residual-vgg \(\d+ missing, first features\.0\.first\.0\.weight; "
        r"\d+ not expected, first features\.0\.0\.weight\); they fit small-gap, which you can name\.$",
    ):
        load(path, arch="residual-vgg")


def test_wrong_channel_means_give_a_sentence(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module.state_dict())
    with pytest.raises(ModelError, match=r"The preprocessing of m\.pt cannot be used .*mean has 3 values for 1 channels"):
        load(path, mean=(0.1, 0.2, 0.3))


def test_a_size_that_the_network_cannot_take_gives_a_sentence(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module.state_dict())
    with pytest.raises(ModelError, match=r"cannot take images of 1 channels and 2x2 pixels"):
        load(path, size=(2, 2))


class Malice:
    """Makes a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("form", ["torch", "legacy", "pickle", "nested"])
def test_a_malicious_pickle_never_runs(tmp_path, form):
    marker, path = tmp_path / "marker", tmp_path / "m.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Malice(marker), protocol=2))
    elif form == "nested":
        torch.save({"state_dict": small_gap().module.state_dict(), "args": Malice(marker)}, path)
    else:
        torch.save(Malice(marker), path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(
        ModelError,
        match=r"^m\.pt holds Python objects \([\w.]+\), a whole model for example, whose loading could run code, "
        r"so it was not opened; save it with torch\.save\(model\.state_dict\(\), …\) and load that\.$",
    ):
        load(path)
    assert not marker.exists()
    if form != "nested":  # the files are live: whoever unpickles them runs them
        torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
        assert marker.exists()


def test_a_whole_pickled_network_is_not_unpickled(tmp_path):
    path = foreign(tmp_path / "m.pt", small_gap().module)
    name = r"napari_cam_feedback\.models\.networks\.networks\.SmallGap"
    with pytest.raises(ModelError, match=rf"m\.pt holds Python objects \({name}\)"):
        load(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"state_dict": {"epoch": 3}}, {3: 4}])
def test_a_file_without_weights_gives_a_sentence(tmp_path, content):
    with pytest.raises(ModelError, match=r"m\.pt holds no weights; save it with torch\.save"):
        load(foreign(tmp_path / "m.pt", content))


def test_a_file_whose_weights_have_no_names_gives_a_sentence(tmp_path):
    with pytest.raises(ModelError, match=r"m\.pt holds no weights"):
        load(foreign(tmp_path / "m.pt", {0: torch.zeros(2)}))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_truncated_file_gives_a_sentence(tmp_path, suffix, share):
    path = tmp_path / f"m{suffix}"
    if suffix == ".pt":
        foreign(path, small_gap().module.state_dict())
    else:
        save_classifier(small_gap(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    expected = r"is not a plain state dict" if suffix == ".pt" else r"is not a safetensors file or is cut short .*copy it"
    with pytest.raises(ModelError, match=expected):
        load(path)


def test_a_missing_file_a_folder_and_a_foreign_kind_give_a_sentence(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "m.onnx").write_bytes(b"x")
    for name in ("none.safetensors", "none.pt", "folder.safetensors"):
        with pytest.raises(ModelError, match=r"no model file .*check the path"):
            load(tmp_path / name)
    with pytest.raises(ModelError, match=r"m\.onnx is no model file that can be read; choose a \.safetensors, \.pt"):
        load(tmp_path / "m.onnx")


def test_a_header_of_a_newer_version_gives_a_sentence(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"napari_cam_feedback": '{"schema": 2}'})
    with pytest.raises(ModelError, match=r"A newer version of napari-cam-feedback wrote .*; update the plugin"):
        load_classifier(tmp_path / "m.safetensors")


@pytest.mark.parametrize("header", ["{", "[]", '{"schema": "x"}', '{"schema": 1, "preprocessing": 3, "arch": "small-gap"}'])
def test_a_broken_header_gives_a_sentence(tmp_path, header):
    save_file(small_gap().module.state_dict(), tmp_path / "m.safetensors", metadata={"napari_cam_feedback": header})
    with pytest.raises(ModelError, match=r"header .* is broken; copy the file again"):
        load_classifier(tmp_path / "m.safetensors", class_names=NAMES)


def test_a_model_that_does_not_fit_on_the_disk_gives_a_sentence_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "m.safetensors"
    save_classifier(small_gap(), path)
    old = path.read_bytes()
    with small_disk(20_000), pytest.raises(StorageError, match=r"Could not write .*m\.safetensors: .*too large") as caught:
        save_classifier(small_gap(seed=1), path)
    assert "fault of the program" not in describe(caught.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_gives_a_sentence_for_a_model_too(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        # The words of the safetensors library, which raises no OSError.
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("napari_cam_feedback.models.files.storage.save_file", full)
    with pytest.raises(StorageError, match=r"Could not write .*m\.safetensors: .*the disk is full; free some space"):
        save_classifier(small_gap(), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_model_can_be_read_by_others_as_any_file_of_the_user(tmp_path):
    save_classifier(small_gap(), tmp_path / "m.safetensors")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "m.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
