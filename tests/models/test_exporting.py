"""Classifiers written for other programs: what is written says the same as the model, and says what it needs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from core_builders import plain, same_weights, small_gap
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import ConfigError, ModelError, WeightsMismatch
from napari_cam_feedback.models import Classifier, build_classifier, load_classifier
from napari_cam_feedback.models.files import exporting
from napari_cam_feedback.models.files.exporting import export_classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def images(classifier: Classifier, count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, classifier.preprocessing.channels, *classifier.preprocessing.size, generator=generator)


def test_our_own_file_and_a_plain_state_dict_are_loaded_again(tmp_path):
    classifier = small_gap()
    assert export_classifier(classifier, tmp_path / "m.safetensors") == [tmp_path / "m.safetensors"]
    assert load_classifier(tmp_path / "m.safetensors", device="cpu").fingerprint() == classifier.fingerprint()
    written = export_classifier(classifier, tmp_path / "m.pt")
    assert written == [tmp_path / "m.pt", tmp_path / "m.pt.json"]
    # Tensors and names, as every program of torch reads them.
    found = torch.load(tmp_path / "m.pt", weights_only=True)
    assert found.keys() == classifier.module.state_dict().keys()
    again = load_classifier(
        tmp_path / "m.pt",
        device="cpu",
        arch="small-gap",
        class_names=("a", "b", "c"),
        size=(16, 16),
        mean=(0.0,),
        std=(1.0,),
    )
    assert same_weights(again, classifier)


def test_what_a_file_does_not_say_is_written_beside_it(tmp_path):
    export_classifier(small_gap(), tmp_path / "m.pt")
    about = json.loads((tmp_path / "m.pt.json").read_text())
    assert about["class_names"] == ["a", "b", "c"]
    assert about["input"] == "(N, 1, 16, 16) float32, scaled to 0..1, minus mean, over std"
    assert (about["arch"], about["target_layer"]) == ("small-gap", "features")
    assert about["preprocessing"]["mean"] == [0.0]


@pytest.mark.parametrize("ending", [".pt", ".pt2"])
@pytest.mark.parametrize("arch", ["small-gap", "torchvision:resnet18"])
def test_an_exported_file_is_opened_again_without_a_word_and_is_the_same_model(tmp_path, arch, ending):
    # Nothing of it is what would be assumed.
    prepared = Preprocessing(size=(32, 40), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), value_range=(0, 200))
    classifier = build_classifier(arch, ("one", "two", "three"), prepared, seed=1)
    classifier = classifier.with_layer(next(layer.name for layer in classifier.layers if "." in layer.name))
    classifier.info["training"] = {"split_seed": 7}
    path = tmp_path / f"m{ending}"
    export_classifier(classifier, path)
    again = load_classifier(path, device="cpu", trust=True)
    assert (again.class_names, again.preprocessing) == (classifier.class_names, prepared)
    assert again.split_seed == 7
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    batch = [each.preprocessing.input(image)[None] for each in (again, classifier)]
    assert torch.allclose(again.logits(batch[0]), classifier.logits(batch[1]), atol=1e-5)
    if ending == ".pt":
        assert (again.arch, again.target_layer) == (arch, classifier.target_layer)


def test_what_a_user_says_goes_before_what_is_said_beside_the_file(tmp_path):
    export_classifier(small_gap(), tmp_path / "m.pt")
    again = load_classifier(tmp_path / "m.pt", device="cpu", class_names=("x", "y", "z"), size=(20, 20), mean=(0.5,))
    assert again.class_names == ("x", "y", "z")
    assert (again.preprocessing.size, again.preprocessing.mean, again.preprocessing.std) == ((20, 20), (0.5,), (1.0,))


def test_what_another_program_put_beside_a_file_is_left_alone(tmp_path):
    export_classifier(small_gap(), tmp_path / "m.pt")
    (tmp_path / "m.pt.json").write_text('{"arch": "small-gap", "epochs": 3}')
    with pytest.raises(ModelError, match=r"^m\.pt does not say its architecture"):
        load_classifier(tmp_path / "m.pt", device="cpu")


def test_a_broken_file_beside_a_model_is_said(tmp_path):
    export_classifier(small_gap(), tmp_path / "m.pt")
    beside = tmp_path / "m.pt.json"
    whole = beside.read_text()
    beside.write_text(whole[:50])
    with pytest.raises(ModelError, match=r"^m\.pt\.json, beside the model, is not JSON or is cut short; mend it, or delete"):
        load_classifier(tmp_path / "m.pt", device="cpu")
    beside.write_text(json.dumps(json.loads(whole) | {"preprocessing": {"size": [16, 16], "mean": [0.0], "std": [1.0]}}))
    with pytest.raises(ModelError, match=r"^m\.pt\.json, .* is broken \(preprocessing: mean has 1 values for 3 channels"):
        load_classifier(tmp_path / "m.pt", device="cpu")
    beside.write_text(json.dumps(json.loads(whole) | {"class_names": ["a", "b"]}))
    with pytest.raises(WeightsMismatch, match=r"^m\.pt has 3 outputs and m\.pt\.json names 2 classes \(a, b\); name each"):
        load_classifier(tmp_path / "m.pt", device="cpu")


@pytest.mark.parametrize("arch", ["small-gap", "torchvision:resnet18"])
def test_an_exported_program_gives_the_model_s_logits_when_it_is_loaded_again(tmp_path, arch):
    channels, size = (1, 16) if arch == "small-gap" else (3, 32)
    classifier = build_classifier(arch, ("a", "b", "c"), plain(size, size, channels), seed=1)
    before = classifier.fingerprint()
    export_classifier(classifier, tmp_path / "m.pt2")
    assert classifier.fingerprint() == before
    again = load_classifier(
        tmp_path / "m.pt2",
        device="cpu",
        trust=True,
        class_names=("a", "b", "c"),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    assert again.preprocessing.size == (size, size)
    for count in (1, 5):
        batch = images(classifier, count)
        assert torch.allclose(again.logits(batch), classifier.logits(batch), atol=1e-5)
    assert again.layers
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["m.pt2", "m.pt2.json"]


class Uneven(nn.Module):
    """Takes another way by what is in the image, which cannot be followed once for all."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.features(x).mean((2, 3))
        return self.head(found) if found.sum() > 0 else -self.head(found)


def test_a_network_that_cannot_be_followed_gives_a_sentence_and_no_file(tmp_path):
    classifier = Classifier(Uneven(), ("a", "b", "c"), plain(8, 8), "features", "uneven")
    with pytest.raises(ModelError) as caught:
        export_classifier(classifier, tmp_path / "m.pt2")
    assert str(caught.value).startswith("uneven cannot be written as torch.export (")
    assert str(caught.value).endswith("export a state dict (.pt) instead.")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_gives_other_logits_is_not_kept(tmp_path, monkeypatch):
    other = small_gap(seed=9)
    monkeypatch.setattr(exporting, "load_program", lambda *_, **__: other.module)
    with pytest.raises(ModelError, match=r"The exported small-gap gave other logits than the model when it was read back"):
        export_classifier(small_gap(), tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


def test_an_ending_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"A model cannot be written as m\.h5; let its name end in one of \.safetensors"):
        export_classifier(small_gap(), tmp_path / "m.h5")


def test_onnx_without_its_packages_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        export_classifier(small_gap(), tmp_path / "m.onnx")
    assert str(caught.value) == (
        "Writing ONNX needs the packages onnx and onnxscript; install them with: pip install onnx onnxscript; "
        "or export .pt2 instead."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("onnx") is None or find_spec("onnxscript") is None, reason="ONNX is not installed")
def test_onnx_gives_the_model_s_logits(tmp_path: Path):
    reference = pytest.importorskip("onnx.reference")
    classifier = small_gap()
    export_classifier(classifier, tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.json"]
    for count in (1, 5):
        batch = images(classifier, count)
        (logits,) = reference.ReferenceEvaluator(str(tmp_path / "m.onnx")).run(None, {"images": batch.numpy()})
        assert torch.allclose(torch.from_numpy(logits), classifier.logits(batch), atol=1e-4)
