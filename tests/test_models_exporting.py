"""Classifiers written for other programs: what is written says the same as the model, and says what it needs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from core_builders import plain, same_weights, small_gap
from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.models import Classifier, build_classifier, exporting, load_classifier
from napari_cam_feedback.models.exporting import export_classifier
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
