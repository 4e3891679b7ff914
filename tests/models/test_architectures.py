"""Networks of others put out what they do there; what a file of the user's makes, too, once it is trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torchvision import models as theirs

from core_builders import same_weights
from model_files import NAMES, load, same_logits, saved, torchvision_file, weights_of
from napari_cam_feedback.errors import ConfigError, ConsentNeeded, Mismatch, ModelError, WeightsMismatch
from napari_cam_feedback.models import (
    ModelOptions,
    known_architectures,
    load_classifier,
    save_classifier,
)
from napari_cam_feedback.models.files.guess import guess_architecture
from napari_cam_feedback.models.files.statedict import align
from napari_cam_feedback.models.networks.architectures import build_module, skeleton
from napari_cam_feedback.models.networks.presets import trained_size
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_torchvision_s_networks_put_out_what_they_do_there(tmp_path, name):
    module, path = torchvision_file(tmp_path / "m.pth", name)
    loaded = load_classifier(path, arch=f"torchvision:{name}", class_names=NAMES, size=(64, 64), device="cpu")
    assert same_logits(module, loaded)
    save_classifier(loaded, tmp_path / "again.safetensors")
    assert same_weights(load_classifier(tmp_path / "again.safetensors", device="cpu"), loaded)


@pytest.mark.parametrize("aux_logits", [True, False])
def test_weights_with_and_without_auxiliary_heads_load(tmp_path, aux_logits):
    module, path = torchvision_file(tmp_path / "m.pth", "googlenet", aux_logits=aux_logits, init_weights=False)
    loaded = load_classifier(path, arch="torchvision:googlenet", class_names=NAMES, size=(64, 64), device="cpu")
    assert same_logits(module, loaded)
    assert isinstance(loaded.copy().module.train()(torch.rand(2, 3, 64, 64)), torch.Tensor)


def test_googlenet_s_own_change_of_the_input_is_part_of_the_preprocessing(tmp_path):
    # Who fine-tunes torchvision's GoogLeNet normalises as for ImageNet, and the network undoes that.
    module, path = torchvision_file(
        tmp_path / "m.pth", "googlenet", init_weights=False, transform_input=True, aux_logits=False
    )
    loaded = load_classifier(path, arch="torchvision:googlenet", class_names=NAMES, size=(64, 64), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    inputs = theirs.GoogLeNet_Weights.DEFAULT.transforms(crop_size=64, resize_size=64)(
        torch.from_numpy(image).movedim(-1, 0)
    )
    ours = loaded.logits(loaded.preprocessing.input(image)[None])
    with torch.no_grad():
        torch.testing.assert_close(ours, module(inputs[None]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_network_whose_first_convolution_was_replaced_for_gray_images_loads(tmp_path, suffix):
    module, path = torchvision_file(tmp_path / "m.pth", "resnet18", channels=1)
    if suffix == ".safetensors":
        path = tmp_path / "m.safetensors"
        save_file(module.state_dict(), path)
    loaded = load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, size=(64, 64), device="cpu")
    assert same_logits(module, loaded)
    # The mean of ImageNet's three.
    assert (loaded.preprocessing.channels, loaded.preprocessing.mean, loaded.preprocessing.std) == (1, (0.449,), (0.226,))
    save_classifier(loaded, tmp_path / "again.safetensors")
    assert same_weights(load_classifier(tmp_path / "again.safetensors", device="cpu"), loaded)


def test_a_network_for_gray_images_can_be_made_of_any_of_torchvision_s():
    for name in ("mobilenet_v3_small", "squeezenet1_1", "densenet121"):
        module = build_module(f"torchvision:{name}", 2, 1).eval()
        assert module(torch.rand(1, 1, 64, 64)).shape == (1, 2)


def test_the_size_that_torchvision_s_vision_transformers_were_trained_for_is_told_by_their_weights():
    arch = "torchvision:vit_b_32"
    usual, weights = skeleton(arch), skeleton(arch, 3, (64, 64)).state_dict()
    old = {f"module.{name.replace('mlp.0.', 'mlp.linear_1.')}": tensor for name, tensor in weights.items()}
    assert align(old, usual.state_dict()).keys() == weights.keys()
    assert trained_size(usual, align(old, usual.state_dict())) == (64, 64)
    assert trained_size(usual, usual.state_dict()) is None


def test_a_size_that_a_vision_transformer_cannot_have_gives_a_sentence():
    with pytest.raises(ModelError, match=r"torchvision:vit_b_32 takes square images only, not 64x96; give another size\."):
        build_module("torchvision:vit_b_32", 3, 3, (64, 96))
    with pytest.raises(
        ModelError, match=r"torchvision:vit_b_32 cannot be built for images of 70x70 pixels \(.*\); give the size"
    ):
        build_module("torchvision:vit_b_32", 3, 3, (70, 70))


def test_timm_s_networks_load(tmp_path):
    timm = pytest.importorskip("timm")
    for name, channels in (("resnet10t", 3), ("mobilenetv3_small_050", 1)):
        module = timm.create_model(name, num_classes=3, in_chans=channels).eval()
        path = saved(tmp_path / "m.pth", {"state_dict": module.state_dict()})
        loaded = load_classifier(path, arch=f"timm:{name}", class_names=NAMES, size=(64, 64), device="cpu")
        assert loaded.preprocessing.channels == channels
        assert same_logits(module, loaded)
        save_classifier(loaded, tmp_path / "again.safetensors")
        assert same_weights(load_classifier(tmp_path / "again.safetensors", device="cpu"), loaded)


def test_timm_s_transformer_is_built_for_the_size_that_its_weights_are_for(tmp_path):
    timm = pytest.importorskip("timm")
    module = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64).eval()
    path = saved(tmp_path / "m.pth", module.state_dict())
    loaded = load_classifier(path, arch="timm:vit_tiny_patch16_224", class_names=NAMES, device="cpu")
    assert loaded.preprocessing.size == (64, 64)
    assert same_logits(module, loaded)
    with pytest.raises(WeightsMismatch, match=r"do not fit timm:vit_tiny_patch16_224 \(1 of another shape, first "
                       r"pos_embed 1x17x192 instead of 1x37x192\); it was trained for images of another size; "
                       r"leave out the size\.$"):  # fmt: skip
        load_classifier(path, arch="timm:vit_tiny_patch16_224", class_names=NAMES, size=(96, 96), device="cpu")


def test_an_unknown_network_of_timm_gives_the_nearest_and_nothing_is_fetched(tmp_path):
    pytest.importorskip("timm")
    path = saved(tmp_path / "m.pt", weights_of())
    with pytest.raises(ModelError, match=r"There is no architecture 'resnet18x'; did you mean .*resnet18"):
        load(path, arch="timm:resnet18x")
    with pytest.raises(ModelError, match=r"There is no architecture 'hf_hub:timm/resnet18'"):
        load(path, arch="timm:hf_hub:timm/resnet18")


def test_without_timm_its_networks_give_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(
        ModelError, match=r"^The architecture timm:resnet18 needs the package timm; install it with: pip install timm$"
    ):
        load(saved(tmp_path / "m.pt", weights_of()), arch="timm:resnet18")


FACTORY = """
from torch import nn

def make(num_classes, channels):
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), pool, nn.Linear(4, num_classes))

def fixed():
    return make(5, 1)

def maps():
    return nn.Conv2d(1, 4, 3)
"""


def factory(folder: Path) -> tuple[Path, Path, nn.Module]:
    """Write a file that makes a network, and weights of that."""
    file = folder / "nets.py"
    file.write_text(FACTORY)
    scope: dict = {}
    exec(FACTORY, scope)
    module = scope["make"](3, 1).eval()
    return file, saved(folder / "m.pt", module.state_dict()), module


def test_a_network_of_the_user_s_own_file_loads_once_it_is_trusted(tmp_path):
    file, path, module = factory(tmp_path)
    own = {"arch": f"{file}:make", "class_names": NAMES, "size": (8, 8), "device": "cpu"}
    with pytest.raises(ConsentNeeded, match=r"; agree to it if you trust that file\.$") as caught:
        load_classifier(path, **own)
    assert caught.value.kind == "trust"
    loaded = load_classifier(path, ModelOptions(trust=True), **own)
    assert loaded.arch == f"{file}:make"
    assert loaded.preprocessing.channels == 1
    assert same_logits(module, loaded)


def test_a_saved_version_finds_its_file_where_it_was_or_beside_itself(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    file, path, _ = factory(tmp_path / "code")
    monkeypatch.chdir(tmp_path / "code")
    loaded = load_classifier(path, arch="nets.py:make", class_names=NAMES, size=(8, 8), device="cpu", trust=True)
    assert loaded.arch == f"{file}:make"
    other = tmp_path / "other"
    save_classifier(loaded, other / "m.safetensors")
    with pytest.raises(ConsentNeeded):
        load_classifier(other / "m.safetensors", device="cpu")
    assert same_weights(load_classifier(other / "m.safetensors", device="cpu", trust=True), loaded)
    file.rename(other / "nets.py")
    moved = load_classifier(other / "m.safetensors", device="cpu", trust=True)
    assert moved.arch == f"{other / 'nets.py'}:make"
    (other / "nets.py").unlink()
    with pytest.raises(ModelError, match=r"^The file .*nets\.py that makes the network is not there and not beside "
                       r"m\.safetensors; put it there, or name it\.$"):  # fmt: skip
        load_classifier(other / "m.safetensors", device="cpu", trust=True)


def test_a_network_made_by_code_is_asked_how_many_outputs_it_has(tmp_path):
    file, path, _ = factory(tmp_path)
    exec(FACTORY, scope := {})
    saved(path, scope["fixed"]().state_dict())
    own = {"class_names": NAMES, "size": (8, 8), "device": "cpu", "trust": True}
    with pytest.raises(WeightsMismatch, match=r"^m\.pt has 5 outputs and there are 3 class names \(a, b, c\)") as caught:
        load_classifier(path, arch=f"{file}:fixed", **own)
    assert caught.value.rows == (Mismatch("classes", "5", "3"),)
    saved(path, scope["maps"]().state_dict())
    with pytest.raises(
        ModelError, match=r"^m\.pt does not put out one number for each class; give a network that puts out \(N, K\)"
    ):
        load_classifier(path, arch=f"{file}:maps", **own)
    with pytest.raises(
        ModelError, match=r"^m\.pt cannot take images of 1 channels and 2x2 pixels .* say those it was made for\.$"
    ):
        load_classifier(path, arch=f"{file}:maps", **{**own, "size": (2, 2)})


def exported(path: Path) -> tuple[nn.Module, Path]:
    """Export a network of 1x20x24 images and 3 classes."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    batch = {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(module, (torch.rand(2, 1, 20, 24),), dynamic_shapes=(batch,)), path)
    return module, path


def test_an_exported_program_loads_once_it_is_trusted_and_tells_its_input(tmp_path):
    module, path = exported(tmp_path / "m.pt2")
    with pytest.raises(ConsentNeeded, match=r"; agree to it if you trust that file\.$") as caught:
        load_classifier(path, class_names=NAMES, device="cpu")
    assert caught.value.kind == "trust"
    with pytest.raises(ModelError, match=r"^m\.pt2 does not say its class names \(it has 3 outputs\); give them in a file"):
        load_classifier(path, device="cpu", trust=True)
    loaded = load_classifier(path, class_names=NAMES, device="cpu", trust=True)
    assert (loaded.preprocessing.size, loaded.preprocessing.channels) == ((20, 24), 1)
    assert loaded.arch == f"export:{path}"
    assert same_logits(module, loaded)
    save_classifier(loaded, tmp_path / "again.safetensors")
    with pytest.raises(ConsentNeeded):
        load_classifier(tmp_path / "again.safetensors", device="cpu")
    assert same_weights(load_classifier(tmp_path / "again.safetensors", device="cpu", trust=True), loaded)
    with pytest.raises(WeightsMismatch, match=r"^m\.pt2 has 3 outputs and there are 2 class names \(a, b\)"):
        load_classifier(path, class_names=("a", "b"), device="cpu", trust=True)
    with pytest.raises(ConfigError, match=r"^m\.pt2 is a saved program and has its architecture inside; leave it out\.$"):
        load_classifier(path, arch="small-gap", class_names=NAMES, device="cpu", trust=True)


def test_what_a_user_can_type_is_listed():
    names = known_architectures()
    assert names[:2] == ["small-gap", "residual-vgg"]
    assert {"torchvision:resnet18", "torchvision:vit_b_16", "torchvision:swin_t"} <= set(names)
    assert not any(name.startswith("timm:") for name in names)
    with pytest.raises(ModelError, match=r"There is no architecture 'resnet19'; did you mean resnet1"):
        build_module("torchvision:resnet19", 2, 3)


def test_weights_tell_their_architecture():
    weights = build_module("residual-vgg", 7, 1).state_dict()
    assert guess_architecture({f"module.{name}": tensor for name, tensor in weights.items()}) == "residual-vgg"


def test_shapes_are_seen_without_memory_also_where_widths_are_computed():
    weights = skeleton("torchvision:regnet_y_400mf", 3).state_dict()
    assert weights["fc.weight"].shape == (3, 440)
    assert {t.device.type for name, t in weights.items() if name.endswith("weight") and t.ndim == 4} == {"meta"}
