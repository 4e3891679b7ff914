"""Where weights do not fit, the sentence says the likeliest remedy and the table everything."""

from __future__ import annotations

import pytest
from torchvision import models as theirs

from model_files import NAMES, saved, torchvision_file
from napari_cam_feedback.errors import Mismatch, ModelError, WeightsMismatch
from napari_cam_feedback.models import (
    load_classifier,
)
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def test_a_wrong_architecture_gives_the_right_one_and_the_table(tmp_path):
    _, path = torchvision_file(tmp_path / "m.pth", "resnet18")
    sentence = (
        r"^The weights in m\.pth do not fit torchvision:resnet34 \(\d+ missing, first layer1\.2\.conv1\.weight\); "
        r"they fit torchvision:resnet18, which you can name\.$"
    )
    with pytest.raises(WeightsMismatch, match=sentence) as caught:
        load_classifier(path, arch="torchvision:resnet34", class_names=NAMES, device="cpu")
    assert caught.value.rows[0] == Mismatch("layer1.2.conv1.weight", "", "64x64x3x3")
    assert len(caught.value.rows) == 16 * 5


def test_a_replaced_head_gives_the_way_out(tmp_path):
    module = theirs.resnet18(weights=None)
    module.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3))
    path = saved(tmp_path / "m.pth", module.state_dict())
    with pytest.raises(WeightsMismatch, match=r"^The weights in m\.pth do not fit torchvision:resnet18 \(2 missing, first "
                       r"fc\.weight; 4 not expected, first fc\.0\.weight\); its last layer was replaced, so name a Python "
                       r"function that builds the network \(file\.py:function\)\.$") as caught:  # fmt: skip
        load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, device="cpu")
    assert [row.name for row in caught.value.rows] == [
        "fc.weight", "fc.bias", "fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"
    ]  # fmt: skip


def test_weights_of_no_known_network_give_the_way_out(tmp_path):
    path = saved(tmp_path / "m.pth", {"body.weight": torch.zeros(4, 3, 3, 3)})
    with pytest.raises(WeightsMismatch, match=r"; name the architecture that they were trained with, or a Python function "
                       r"that builds the network \(file\.py:function\)\.$"):  # fmt: skip
        load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, device="cpu")


def test_another_number_of_classes_and_of_channels_come_first_in_the_table(tmp_path):
    _, path = torchvision_file(tmp_path / "m.pth", "resnet18", classes=7)
    with pytest.raises(WeightsMismatch) as caught:
        load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, channels=1, device="cpu")
    assert caught.value.rows[:3] == (
        Mismatch("classes", "7", "3"),
        Mismatch("input channels", "3", "1"),
        Mismatch("conv1.weight", "64x3x7x7", "64x1x7x7"),
    )
    with pytest.raises(
        WeightsMismatch, match=r"^The first layer in m\.pth takes 3 channels, not 1; leave out the channels\.$"
    ):
        load_classifier(path, arch="torchvision:resnet18", class_names=tuple("abcdefg"), channels=1, device="cpu")


def test_images_of_many_channels_are_refused(tmp_path):
    _, path = torchvision_file(tmp_path / "m.pth", "resnet18", channels=4)
    with pytest.raises(ModelError, match=r"^m\.pth takes images of 4 channels; only gray and RGB images can be shown\.$"):
        load_classifier(path, arch="torchvision:resnet18", class_names=NAMES, device="cpu")


def test_the_number_of_outputs_is_said_where_class_names_are_missing(tmp_path):
    _, path = torchvision_file(tmp_path / "m.pth", "mobilenet_v3_small", classes=7)
    with pytest.raises(
        ModelError, match=r"^m\.pth does not say its class names \(it has 7 outputs\); give them in a file, one a"
    ):
        load_classifier(path, arch="torchvision:mobilenet_v3_small", device="cpu")
