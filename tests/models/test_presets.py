"""The preprocessing: a network's own, changed by what the user says, and kept with the model."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import save_file

from core_builders import same_weights, small_gap
from model_files import NAMES, saved, torchvision_file, weights_of
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models import (
    build_classifier,
    load_classifier,
    save_classifier,
)
from napari_cam_feedback.torch_loader import torch


def test_a_network_s_own_preset_is_taken_where_nothing_is_said(tmp_path):
    _, path = torchvision_file(tmp_path / "m.pth", "resnet18")
    p = load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, device="cpu").preprocessing
    assert (p.size, p.crop, p.resize_to, p.interpolation) == ((224, 224), True, 256, "bilinear")
    _, path = torchvision_file(tmp_path / "s.pth", "efficientnet_b0")
    p = load_classifier(path, arch="torchvision:efficientnet_b0", class_names=NAMES, device="cpu").preprocessing
    assert (p.size, p.crop, p.resize_to, p.interpolation) == ((224, 224), True, 256, "bicubic")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": (96, 64)}, {"size": (96, 64), "crop": False, "resize_to": None}),
        ({"size": (96, 96), "crop": True}, {"size": (96, 96), "crop": True, "resize_to": 256}),
        ({"size": (300, 300), "crop": True}, {"size": (300, 300), "crop": True, "resize_to": None}),
        ({"size": (96, 96), "resize_to": 110}, {"size": (96, 96), "crop": True, "resize_to": 110}),
        ({"crop": False}, {"size": (224, 224), "crop": False, "resize_to": None}),
        (
            {"interpolation": "bicubic", "channel_order": "bgr"},
            {"crop": True, "interpolation": "bicubic", "channel_order": "bgr"},
        ),
        ({"mean": (0, 0, 0), "std": (1, 1, 1)}, {"mean": (0, 0, 0), "std": (1, 1, 1), "resize_to": 256}),
        ({"value_range": (0, 4095)}, {"value_range": (0, 4095)}),
    ],
)
def test_what_is_said_goes_before_the_preset(tmp_path, settings, expected):
    _, path = torchvision_file(tmp_path / "m.pth", "squeezenet1_1")
    p = load_classifier(path, arch="torchvision:squeezenet1_1", class_names=NAMES, device="cpu", **settings).preprocessing
    assert {name: getattr(p, name) for name in expected} == expected


def test_timm_s_own_preset_is_timm_s_transform(tmp_path):
    timm = pytest.importorskip("timm")
    from PIL import Image

    module = timm.create_model("resnet10t", num_classes=3)
    path = saved(tmp_path / "m.pth", module.state_dict())
    ours = load_classifier(path, arch="timm:resnet10t", class_names=NAMES, device="cpu").preprocessing
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)
    image = np.random.default_rng(0).integers(0, 256, (211, 307, 3), np.uint8)
    difference = (ours.input(image) - transform(Image.fromarray(image))).abs() * torch.tensor(ours.std)[:, None, None]
    assert ours.interpolation == "bicubic"
    assert difference.max() < 2 / 255


def test_one_field_of_a_saved_preprocessing_can_be_changed(tmp_path):
    settings = {"size": (64, 64), "crop": True, "resize_to": 80, "interpolation": "bicubic", "channel_order": "bgr"}
    _, path = torchvision_file(tmp_path / "m.pth", "squeezenet1_1")
    first = load_classifier(path, arch="torchvision:squeezenet1_1", class_names=NAMES, device="cpu", **settings)
    save_classifier(first, tmp_path / "s.safetensors")
    again = load_classifier(tmp_path / "s.safetensors", device="cpu")
    assert again.preprocessing == first.preprocessing
    changed = load_classifier(tmp_path / "s.safetensors", device="cpu", channel_order="rgb").preprocessing
    assert changed == first.preprocessing.model_copy(update={"channel_order": "rgb"})


def test_a_header_from_before_there_were_such_fields_still_loads(tmp_path):
    header = (
        '{"schema": 1, "arch": "small-gap", "class_names": ["a", "b", "c"], '
        '"preprocessing": {"size": [16, 16], "channels": 1, "mean": [0.0], "std": [1.0], '
        '"crop": false, "resize_to": null, "value_range": null}, "target_layer": "features"}'
    )
    save_file(weights_of(), tmp_path / "m.safetensors", metadata={"napari_cam_feedback": header})
    loaded = load_classifier(tmp_path / "m.safetensors", device="cpu")
    assert same_weights(loaded, small_gap())
    assert (loaded.preprocessing, loaded.grid) == (small_gap().preprocessing, None)


def test_a_grid_is_kept_with_the_model(tmp_path):
    pytest.importorskip("timm")
    settings = {"arch": "timm:vit_tiny_patch16_224", "class_names": NAMES, "size": (64, 64), "device": "cpu"}
    preprocessing = small_gap().preprocessing.model_copy(
        update={"size": (64, 64), "channels": 3, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    )
    path = saved(tmp_path / "m.pth", build_classifier(settings["arch"], NAMES, preprocessing).module.state_dict())
    loaded = load_classifier(path, **settings, layer="blocks.3", grid=(2, 8))
    assert loaded.grid == (2, 8)
    save_classifier(loaded, tmp_path / "s.safetensors")
    assert load_classifier(tmp_path / "s.safetensors", device="cpu").grid == (2, 8)
    assert load_classifier(tmp_path / "s.safetensors", device="cpu", layer="blocks.4").grid is None


def test_one_number_is_the_mean_of_all_channels_and_a_bare_name_is_mended(tmp_path):
    _, path = torchvision_file(tmp_path / "m.pth", "resnet18")
    found = load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, device="cpu", mean=(0.5,)).preprocessing
    assert found.mean == (0.5, 0.5, 0.5)
    assert len(found.std) == 3
    with pytest.raises(ModelError, match=r"no architecture 'ResNet-18'; did you mean torchvision:resnet18\?"):
        load_classifier(path, arch="ResNet-18", class_names=NAMES, device="cpu")
