"""The layer that is explained is one that all passes through, and one that runs once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core_builders import plain
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models import Classifier, build_classifier, list_layers, load_classifier, save_classifier
from napari_cam_feedback.models.layers.cuts import edge_of, find_cuts
from napari_cam_feedback.models.layers.target import choose_layer, default_layer
from napari_cam_feedback.models.networks.architectures import build_module
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def infos(module: nn.Module, side: int, channels: int = 3) -> dict:
    return {info.name: info for info in list_layers(module, channels, (side, side))}


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Branches(nn.Module):
    """Two branches that no module joins, and a way round both of them."""

    def __init__(self, *, skip: bool = False) -> None:
        super().__init__()
        self.stem, self.left, self.right = conv(1, 4), conv(4, 2), conv(4, 2)
        self.skip = skip
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.stem(x)
        joined = torch.cat([self.left(maps), self.right(maps)], 1)
        if self.skip:
            joined = joined + x
        return self.head(joined.mean((2, 3)))


def test_one_of_several_branches_is_not_the_default():
    layers = infos(Branches(), 8, 1)
    assert list(layers) == ["stem", "left", "right"]
    assert {name for name, info in layers.items() if info.whole} == {"stem"}
    assert default_layer(list(layers.values())) == "stem"
    # Whoever names a branch gets it.
    assert choose_layer(Branches(), 1, (8, 8), layer="right").name == "right"


def test_where_nothing_is_passed_by_all_the_last_layer_is_the_default():
    layers = infos(Branches(skip=True), 8, 1)
    assert not any(info.whole for info in layers.values())
    assert default_layer(list(layers.values())) == "right"


@pytest.mark.parametrize(
    ("arch", "side", "joined", "branch"),
    [
        ("torchvision:inception_v3", 128, "Mixed_7c", "Mixed_7c.branch_pool"),
        ("torchvision:googlenet", 64, "inception5b", "inception5b.branch4"),
    ],
)
def test_of_an_inception_block_the_whole_is_explained(arch, side, joined, branch):
    with torch.device("meta"):
        module = build_module(arch, 3, 3)
    layers = infos(module, side)
    assert default_layer(list(layers.values())) == joined
    assert layers[joined].whole
    assert not layers[branch].whole


def test_residual_blocks_are_passed_by_all_and_their_insides_are_not():
    with torch.device("meta"):
        module = build_module("torchvision:resnet18", 3, 3)
    layers = infos(module, 64)
    whole = {name for name, info in layers.items() if info.whole}
    assert {"conv1", "layer1", "layer3.0", "layer4.1", "layer4"} <= whole
    assert not {"layer4.0.conv1", "layer4.1.conv2", "layer4.1.bn2", "layer4.0.downsample"} & whole


def test_parts_of_one_operation_are_told_apart():
    image = torch.ones(1, 4, requires_grad=True)
    left, right = image.chunk(2, 1)
    cuts = find_cuts(left.sum() + right.sum(), image)
    assert not {edge_of(left), edge_of(right)} & cuts
    assert edge_of(left) in find_cuts(left.sum(), image)


def test_a_network_whose_features_have_no_gradient_tells_nothing():
    image = torch.ones(1, 4, requires_grad=True)
    assert find_cuts(image.detach() * 2, image) is None

    class Frozen(Branches):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                maps = self.right(self.stem(x))
            return self.head(torch.cat([maps, maps], 1).mean((2, 3)))

    assert default_layer(list(infos(Frozen(), 8, 1).values())) == "right"


class Shared(nn.Module):
    """One activation function for the whole network, as EfficientNet-Lite's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool, self.last, self.act = conv(1, 4), nn.MaxPool2d(2), conv(4, 6), nn.ReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.pool(self.act(self.stem(x)))
        return self.head(self.act(self.last(maps)).mean((2, 3)))


def test_an_activation_function_of_the_whole_network_is_no_layer_to_explain():
    module = Shared()
    assert list(infos(module, 8, 1)) == ["stem", "pool", "last"]
    assert choose_layer(module, 1, (8, 8)).name == "last"
    classifier = Classifier(module, ("a", "b", "c"), plain(8, 8), "last", "shared")
    said = r"Layer 'act' \(ReLU\) runs 2 times for one image .* choose a layer that runs once, such as 'last'"
    with pytest.raises(ModelError, match=said):
        classifier.with_layer("act")
    with pytest.raises(ModelError, match=said):
        choose_layer(module, 1, (8, 8), layer="act")


def test_efficientnet_lite_is_explained_by_its_last_maps():
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    module = lite.EfficientNet.from_name("efficientnet-lite0").eval()
    assert choose_layer(module, 3, (64, 64)).name == "_bn1"
    with pytest.raises(ModelError, match=r"Layer '_swish' .* runs \d+ times .* such as '_bn1'"):
        choose_layer(module, 3, (64, 64), layer="_swish")


def test_a_layer_that_runs_twice_alike_can_be_chosen_and_is_not_the_default():
    class Twice(Shared):
        def __init__(self) -> None:
            super().__init__()
            self.last = conv(4, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.act(self.last(self.act(self.stem(x)))).mean((2, 3)))

    layers = infos(Twice(), 8, 1)
    assert layers["act"].runs == 2
    assert default_layer(list(layers.values())) == "last"
    assert choose_layer(Twice(), 1, (8, 8), layer="act").runs == 2


def test_the_graph_is_walked_without_leaving_anything_in_the_network():
    classifier = build_classifier("small-gap", ("a", "b"), plain(16, 16))
    assert classifier.layers
    assert not any(parameter.requires_grad for parameter in classifier.module.parameters())
    assert not any(child._forward_hooks for child in classifier.module.modules())


def test_a_file_that_names_such_a_layer_opens_with_another(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n"
        "    def __init__(self, num_classes, channels):\n"
        "        super().__init__()\n"
        "        self.one, self.two, self.act = nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 6, 3), nn.ReLU()\n"
        "        self.head = nn.Linear(6, num_classes)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.act(self.two(self.act(self.one(x)))).mean((2, 3)))\n"
    )
    classifier = build_classifier(f"{tmp_path / 'net.py'}:Net", ("a", "b"), plain(8, 8), trust=True)
    assert classifier.target_layer == "two"
    save_classifier(replace(classifier, target_layer="act"), tmp_path / "m.safetensors")
    assert load_classifier(tmp_path / "m.safetensors", trust=True, device="cpu").target_layer == "two"
    with pytest.raises(ModelError, match="Layer 'act'"):
        load_classifier(tmp_path / "m.safetensors", trust=True, device="cpu", layer="act")
