"""Networks, the layer that is explained by default, and the linear head found by numbers."""

from __future__ import annotations

import pytest
from torchvision.models.densenet import DenseNet
from torchvision.models.vgg import VGG

from core_builders import Hand, hand_classifier, plain, small_gap
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.models import (
    ARCHITECTURES,
    Classifier,
    build_classifier,
    check_fits,
    list_layers,
    pick_device,
)
from napari_cam_feedback.models.layers.target import default_layer
from napari_cam_feedback.models.networks.architectures import build_module
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
RGB = {"channels": 3, "mean": (0.5,) * 3, "std": (0.5,) * 3}


def of(module: nn.Module, size: int, layer: str, arch: str, classes: int = 10) -> Classifier:
    return Classifier(module, tuple(str(k) for k in range(classes)), Preprocessing(size=(size, size), **RGB), layer, arch)


# (architecture, input size, layer, its shape): the last layer to finish with maps, adaptive pools left out.
DEFAULTS = [
    ("small-gap", 28, "features", (64, 7, 7)),
    ("residual-vgg", 64, "features", (64, 4, 4)),
    ("torchvision:resnet18", 64, "layer4", (512, 2, 2)),
    ("torchvision:vgg11", 64, "features", (512, 2, 2)),
    ("torchvision:mobilenet_v3_small", 64, "features", (576, 2, 2)),
    ("torchvision:densenet121", 64, "features", (1024, 2, 2)),
]


@pytest.mark.parametrize(("arch", "size", "layer", "shape"), DEFAULTS)
def test_the_default_target_layer_is_the_last_with_maps(arch, size, layer, shape):
    with torch.device("meta"):
        module = build_module(arch, 10, 3)
    layers = list_layers(module, 3, (size, size))
    assert default_layer(layers) == layer
    assert [info.shape for info in layers if info.layout.has_places][-1] == shape
    # Where nothing has places there are features (N, F), or it is not listed.
    assert all(info.shape[1] * info.shape[2] > 1 or info.kind == "vector" for info in layers)
    assert not any("avgpool" in info.name or info.name == "pool" for info in layers)


def test_listing_layers_leaves_the_network_alone():
    module = Hand().train()
    weights = module.features.weight.clone()
    assert [(info.name, info.shape) for info in list_layers(module, 1, (6, 8))] == [("features", (2, 6, 8))]
    assert module.training
    assert module.features.weight.device.type == "cpu"
    assert torch.equal(module.features.weight, weights)
    assert not any(child._forward_hooks for child in module.modules())


class Twice(nn.Module):
    """Runs one convolution before and after another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)
        self.second = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.second(self.first(x)))


def test_a_layer_that_runs_twice_counts_where_it_finished_last():
    assert [info.name for info in list_layers(Twice(), 1, (4, 4))] == ["second", "first"]


class Bare(nn.Module):
    """Logits straight from the pixels, flattened by no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def test_a_network_without_any_layer_to_look_at_gives_a_sentence():
    assert list_layers(Bare(), 1, (4, 4)) == []
    with pytest.raises(ModelError, match=r"no layer that could be looked at .*; give it layers of their own, as nn.Flatten"):
        default_layer(list_layers(Bare(), 1, (4, 4)))


def test_a_network_that_cannot_take_such_an_image_gives_a_sentence():
    with pytest.raises(ModelError, match=r"cannot take images of 3 channels and 16x16 pixels .*; check its size"):
        list_layers(small_gap().module, 3, (16, 16))
    with pytest.raises(ModelError, match=r"cannot take images of 1 channels and 2x2 pixels"):
        build_classifier("small-gap", ("a", "b"), plain(2, 2))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_linear_head_after_global_average_pooling_is_found(arch):
    classifier = build_classifier(arch, ("a", "b", "c"), plain(32, 32), seed=3)
    assert classifier.head is not None
    assert classifier.head.name == "head"
    assert torch.equal(classifier.head.weight, classifier.module.head.weight)
    assert torch.equal(classifier.head.bias, classifier.module.head.bias)


def test_the_head_of_resnet_is_found():
    classifier = of(build_module("torchvision:resnet18", 10, 3), 64, "layer4", "torchvision:resnet18")
    assert classifier.head is not None
    assert classifier.head.name == "fc"


def test_no_head_is_found_where_hidden_layers_follow_as_in_vgg():
    # vgg's own class and structure, but small: half a gigabyte of weights need not be drawn.
    with torch.device("meta"):
        module = VGG(nn.Sequential(), num_classes=10)
    module.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    module.classifier = nn.Sequential(nn.Linear(8 * 49, 8), nn.ReLU(inplace=True), nn.Linear(8, 10))
    assert of(module, 64, "features", "torchvision:vgg11").head is None


def test_no_head_is_found_where_a_relu_follows_as_in_densenet():
    # densenet121's own class, but small.
    module = DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=10)
    layers = list_layers(module, 3, (64, 64))
    assert default_layer(layers) == "features"
    assert of(module, 64, "features", "torchvision:densenet121").head is None


def test_no_head_is_found_for_a_layer_further_down():
    assert small_gap().with_layer("features.0").head is None


def test_a_head_of_zeros_is_none_that_could_be_known():
    classifier = small_gap().copy()
    classifier.module.head.weight.zero_()
    assert classifier.head is None
    # Nor one whose bias hides that the activations are not the head's input.
    hidden = small_gap().with_layer("features.5.0").copy()
    hidden.module.head.bias.fill_(1e3)
    assert hidden.layout.filters == hidden.module.head.in_features
    assert hidden.head is None


def test_a_head_without_bias_has_zeros():
    classifier = hand_classifier()
    classifier.module.head.bias = None
    assert classifier.head is not None
    assert torch.equal(classifier.head.bias, torch.zeros(2))


def test_a_relu_between_layer_and_pooling_means_no_head_even_in_place():
    class Between(Hand):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.pool(self.features(x).relu_()).flatten(1))

    assert Classifier(Between(), ("a", "b"), plain(4, 4), "features", "between").head is None


def test_another_layer_can_be_chosen_by_name_and_a_wrong_one_gives_a_sentence():
    classifier = small_gap()
    other = classifier.with_layer("features.0")
    assert other.target_layer == "features.0"
    assert other.module is classifier.module
    assert other.forward_with_activations(torch.zeros(1, 1, 16, 16))[1].shape == (1, 16, 16, 16)
    with pytest.raises(ModelError, match=r"no layer 'feature'; did you mean features"):
        classifier.with_layer("feature")
    with pytest.raises(
        ModelError, match=r"Layer 'head' \(Linear\) puts out the logits themselves; choose a layer before it"
    ):
        classifier.with_layer("head")
    with pytest.raises(
        ModelError, match=r"Layer 'pool' \(AdaptiveAvgPool2d\) puts out neither maps nor features; choose one of"
    ):
        classifier.with_layer("pool")


def test_an_unknown_architecture_gives_the_nearest_names():
    with pytest.raises(ModelError, match=r"no architecture 'small-gab'; did you mean small-gap\?"):
        build_module("small-gab", 2, 1)
    with pytest.raises(ModelError, match=r"no architecture 'resnet81'; did you mean .*resnet18"):
        build_module("torchvision:resnet81", 2, 3)
    with pytest.raises(ModelError, match=r"no architecture 'xyzzy'; known are small-gap, residual-vgg, torchvision:NAME"):
        build_module("xyzzy", 2, 3)


def test_a_network_of_torchvision_takes_gray_images_through_another_first_convolution():
    module = build_module("torchvision:resnet18", 2, 1)
    assert module.conv1.in_channels == 1
    assert module(torch.zeros(1, 1, 64, 64)).shape == (1, 2)


def test_the_same_seed_gives_the_same_weights_and_torch_s_own_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = small_gap(seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert one.fingerprint() == small_gap(seed=1).fingerprint()
    assert one.fingerprint() != small_gap(seed=2).fingerprint()


def test_a_classifier_needs_two_classes():
    with pytest.raises(ModelError, match=r"at least two classes, not 1; add images of another class"):
        build_classifier("small-gap", ("a",), plain(16, 16))


def test_a_classifier_is_in_evaluation_mode_and_frozen():
    classifier = small_gap()
    assert not any(child.training for child in classifier.module.modules())
    assert not any(p.requires_grad for p in classifier.module.parameters())


def test_a_copy_has_a_module_of_its_own():
    classifier = small_gap()
    classifier.info["note"] = ["one"]
    before = classifier.fingerprint()
    other = classifier.copy()
    with torch.no_grad():
        other.module.head.bias.add_(1)
    other.info["note"].append("two")
    assert classifier.fingerprint() == before
    assert other.fingerprint() != before
    assert classifier.info == {"note": ["one"]}


@pytest.mark.parametrize("what", ["weight", "buffer", "layer", "preprocessing"])
def test_the_fingerprint_tells_any_difference(what):
    classifier, other = small_gap(), small_gap()
    assert classifier.fingerprint() == other.fingerprint()
    if what == "weight":
        with torch.no_grad():
            other.module.features[5][0].weight[0, 0, 0, 0] += 1e-7
    elif what == "buffer":
        other.module.features[0][1].running_mean[3] += 1e-7
    elif what == "layer":
        other = other.with_layer("features.0")
    else:
        other.preprocessing = other.preprocessing.model_copy(update={"mean": (0.25,)})
    assert classifier.fingerprint() != other.fingerprint()


class Names:
    """As much of a dataset as `check_fits` asks."""

    def __init__(self, *names: str) -> None:
        self.class_names = names


def test_a_dataset_of_other_classes_gives_a_sentence():
    check_fits(small_gap(), Names("a", "b", "c"))
    with pytest.raises(ModelError, match=r"The model knows 3 classes \(a, b, c\) and the dataset has 2 \(a, b\); choose"):
        check_fits(small_gap(), Names("a", "b"))
    with pytest.raises(ModelError, match=r"The model's classes \(a, b, c\) are not the dataset's \(a, c, b\), or not in"):
        check_fits(small_gap(), Names("a", "c", "b"))


def test_devices_that_are_not_there_give_a_sentence(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"This machine has no cuda device; choose auto or cpu"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match=r"This machine has no mps device; choose auto or cpu"):
        pick_device("mps")
    with pytest.raises(ConfigError, match=r"There is no device 'gpu'; choose one of auto, cpu, cuda, mps"):
        pick_device("gpu")
    with pytest.raises(ConfigError, match=r"There is no device 'cpu:x'"):
        pick_device("cpu:x")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"This machine has 1 cuda devices, so no cuda:1"):
        pick_device("cuda:1")
