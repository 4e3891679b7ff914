"""Weights of others: however they were saved they load, and nothing in them runs."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torchvision import models as theirs

from core_builders import same_weights, small_gap
from model_files import GRAY, NAMES, load, same_logits, saved, weights_of
from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.models import (
    ModelOptions,
    load_classifier,
)
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


# How weights are wrapped ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("inner", ["state_dict", "model"])
def test_weights_nested_twice_load(tmp_path, outer, inner):
    content = {"epoch": 3, outer: {"step": 1, inner: weights_of()}}
    assert same_weights(load(saved(tmp_path / "m.pt", content)), small_gap())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model._orig_mod.module.", "encoder.net."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_under_any_prefix_load(tmp_path, prefix, suffix):
    weights = {prefix + name: tensor for name, tensor in weights_of().items()}
    path = tmp_path / f"m{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else saved(path, weights)
    assert same_weights(load(path), small_gap())


def test_weights_of_a_network_compiled_in_part_load(tmp_path):
    weights = {name.replace("features.", "features._orig_mod."): tensor for name, tensor in weights_of().items()}
    assert same_weights(load(saved(tmp_path / "m.pt", weights)), small_gap())


def test_weights_beside_the_network_under_its_prefix_are_left_out(tmp_path):
    weights = {f"model.{name}": tensor for name, tensor in weights_of().items()}
    path = saved(
        tmp_path / "m.ckpt.pt", {"state_dict": {**weights, "criterion.weight": torch.ones(3)}, "hparams": {"lr": 1}}
    )
    assert same_weights(load(path), small_gap())


@pytest.mark.parametrize("legacy", [False, True])
def test_what_trainings_save_beside_the_weights_does_not_hinder(tmp_path, legacy):
    optimizer = torch.optim.AdamW(small_gap().module.requires_grad_(True).parameters())
    content = {
        "state_dict": OrderedDict(weights_of()),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best_accuracy": np.float64(0.9),
        "best_epoch": np.int64(2),
        "args": argparse.Namespace(lr=0.1, arch="small"),
        "classes": ["a", "b"],
    }
    path = saved(tmp_path / "m.pth", content, _use_new_zipfile_serialization=not legacy)
    assert same_weights(load(path), small_gap())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_of_other_precision_become_float32(tmp_path, dtype, suffix):
    weights = {name: t.to(dtype) if t.is_floating_point() else t for name, t in weights_of().items()}
    path = tmp_path / f"m{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else saved(path, weights)
    loaded = load(path)
    assert {t.dtype for t in loaded.module.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(loaded.module.head.weight, weights["head.weight"].float())
    assert loaded.logits(torch.rand(1, 1, 16, 16)).dtype == torch.float32


def test_weights_saved_on_a_gpu_load_without_one(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        path = saved(tmp_path / "m.pth", {"state_dict": weights_of()})
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    assert same_weights(load(path), small_gap())


def test_old_names_of_torchvision_load(tmp_path):
    module = theirs.densenet121(weights=None, num_classes=3).eval()
    old = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): t for name, t in module.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    path = saved(tmp_path / "m.pth", old)
    loaded = load_classifier(path, arch="torchvision:densenet121", class_names=NAMES, size=(32, 32), device="cpu")
    assert same_logits(module, loaded)


# What does not run ----------------------------------------------------------------------------------------------------


class Exploit:
    """Writes a file when it is unpickled: by a shell or by Python code."""

    def __init__(self, way: str, marker: Path) -> None:
        self.way, self.marker = way, marker

    def __reduce__(self):
        if self.way == "system":
            return (os.system, (f"touch '{self.marker}'",))
        return (builtins.exec, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.mark.parametrize("way", ["system", "exec"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["alone", "beside", "under state_dict", "as a key's value"])
def test_a_malicious_checkpoint_runs_nothing(tmp_path, way, legacy, place):
    marker, path = tmp_path / "marker", tmp_path / "m.pt"
    exploit = Exploit(way, marker)
    content = {
        "alone": exploit,
        "beside": {"state_dict": weights_of(), "args": exploit},
        "under state_dict": {"state_dict": exploit},
        "as a key's value": {"state_dict": weights_of(extra=exploit)},
    }[place]
    saved(path, content, _use_new_zipfile_serialization=not legacy)
    sentence = (
        r"^m\.pt holds Python objects \(.*(system|exec)\), a whole model for example, whose loading could run code, "
        r"so it was not opened; save it with torch\.save\(model\.state_dict\(\), …\) and load that\.$"
    )
    with pytest.raises(ModelError, match=sentence):
        load(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file would have run its code"


def test_a_plain_pickle_with_an_exploit_runs_nothing(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "m.pth"
    path.write_bytes(pickle.dumps({"state_dict": Exploit("system", marker)}, protocol=2))
    with pytest.raises(ModelError, match=r"m\.pth .*save it with torch\.save"):
        load(path)
    assert not marker.exists()


def test_what_stands_for_harmless_objects_cannot_be_used_to_run_code(tmp_path):
    marker = tmp_path / "marker"

    class Scalar:
        def __reduce__(self):
            return (np.float64(0).__reduce__()[0], (Exploit("exec", marker), b"12345678"))

    with pytest.raises(ModelError, match=r"holds Python objects"):
        load(saved(tmp_path / "m.pt", {"state_dict": weights_of(), "best": Scalar()}))
    assert not marker.exists()


def test_numpy_arrays_and_whole_networks_are_said(tmp_path):
    arrays = {name: t.numpy() for name, t in weights_of().items()}
    with pytest.raises(ModelError, match=r"^m\.pt holds NumPy arrays, whose loading could run code, so it was not opened; "
                       r"turn them into tensors with torch\.from_numpy, save it with torch\.save"):  # fmt: skip
        load(saved(tmp_path / "m.pt", arrays))
    with pytest.raises(
        ModelError, match=r"^w\.pt holds Python objects \(torch\.nn\.modules\.container\.Sequential\), a whole"
    ):
        load(saved(tmp_path / "w.pt", nn.Sequential(nn.Conv2d(1, 2, 3))))
    with pytest.raises(ModelError, match=r"^n\.pt holds Python objects \(torch\.nn\.modules"):
        load(saved(tmp_path / "n.pt", {"model": nn.Sequential(nn.Conv2d(1, 2, 3))}))


# Options --------------------------------------------------------------------------------------------------------------


def test_options_and_settings_are_one(tmp_path):
    path = saved(tmp_path / "m.pt", weights_of())
    options = ModelOptions(**{**GRAY, "size": (20, 20)})
    assert load_classifier(path, options, device="cpu", size=(16, 16)).preprocessing.size == (16, 16)
    with pytest.raises(ConfigError, match=r"Models have no option 'clases'; did you mean class_names\?"):
        load_classifier(path, clases=NAMES)
    with pytest.raises(ConfigError, match=r"Weights are chosen for a model named torchvision:NAME; leave them out with a"):
        load_classifier(path, options, weights="DEFAULT")


def test_a_capital_suffix_and_a_home_folder_are_understood(tmp_path, monkeypatch):
    saved(tmp_path / "M.PTH", weights_of())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert same_weights(load(Path("~/M.PTH")), small_gap())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.to("meta"), "holds weights without values"),
        (lambda t: t.to_sparse() if t.ndim == 2 else t, "sparse ones"),
        (lambda t: (t * 50).to(torch.int8), r"is of whole numbers \(int8\), as a quantised network's weights are"),
    ],
)
def test_weights_without_values_sparse_or_of_whole_numbers_are_refused(tmp_path, change, said):
    weights = {name: change(t) if t.is_floating_point() else t for name, t in weights_of().items()}
    with pytest.raises(ModelError, match=said):
        load(saved(tmp_path / "m.pt", weights))


def test_images_of_absurd_size_are_refused_before_any_is_made(tmp_path):
    path = saved(tmp_path / "m.pt", weights_of())
    with pytest.raises(ModelError, match=r"cannot be used \(size\.0: Input should be less"):
        load(path, size=(10**9, 10**9))
