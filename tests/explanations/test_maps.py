"""Attribution maps: every formula against numbers worked out by hand or against a peer library."""

from __future__ import annotations

import pytest
from captum.attr import LayerGradCam
from torchcam.methods import CAM as TorchcamCam

from core_builders import hand_classifier, plain, small_gap
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.explanations import METHODS, default_method, get_method
from napari_cam_feedback.models import Classifier, build_classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn

# x = [1 2; 3 4] has the mean 2.5. The filters are a_0 = x and a_1 = -x, the weights W = [1 2; 3 -1], b = [0.5, -0.5].
X = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
LOGITS = torch.tensor([[1 * 2.5 + 2 * -2.5 + 0.5, 3 * 2.5 - 1 * -2.5 - 0.5]])  # -2.0 and 9.5
CAM_A = 1 * X[0] + 2 * -X[0]  # -x
CAM_B = 3 * X[0] - 1 * -X[0]  # 4 x


def images(count: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


class Flat(nn.Module):
    """Two convolutions, then a linear layer over every place of every filter: no global pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3, padding=1, stride=2), nn.Tanh()
        )
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(5 * 16, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(self.flatten(self.features(x))).relu())


@pytest.fixture(scope="module")
def flat() -> Classifier:
    torch.manual_seed(1)
    return Classifier(Flat(), ("a", "b", "c"), plain(8, 8), "features", "flat")


@pytest.fixture(scope="module")
def resnet() -> Classifier:
    preprocessing = Preprocessing(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return build_classifier("torchvision:resnet18", tuple("abcde"), preprocessing, seed=2)


def test_cam_and_gradcam_by_hand():
    classifier = hand_classifier()
    both = torch.tensor([[0, 1]])
    cam = get_method("cam")(classifier, X, both)
    assert torch.equal(cam.logits, LOGITS)
    assert torch.equal(cam.classes, both)
    assert torch.equal(cam.activations, torch.cat([X, -X], 1))
    assert torch.equal(cam.contributions, torch.tensor([[[2.5, -5.0], [7.5, 2.5]]]))  # W times the means 2.5 and -2.5
    assert torch.equal(cam.maps, torch.stack([CAM_A[0], CAM_B[0]])[None])
    gradcam = get_method("gradcam")(classifier, X, both)
    # d logit_c / d a_d = W[c, d] / 4 at each of the four places, and so is its mean.
    assert torch.equal(gradcam.logits, LOGITS)
    assert torch.equal(gradcam.contributions, cam.contributions / 4)
    assert torch.equal(gradcam.maps, torch.stack([CAM_A[0] / 4, CAM_B[0] / 4])[None])
    assert torch.equal(gradcam.activations, cam.activations)


def test_maps_keep_their_sign():
    maps = get_method("cam")(hand_classifier(), X, torch.tensor([[0, 1]])).maps
    assert (maps[0, 0] < 0).all()
    assert (maps[0, 1] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_class_and_minus_one_mean_the_predicted_class(method):
    classifier = small_gap()
    batch = images(6, 1, 16)
    explainer = get_method(method)
    predicted = classifier.logits(batch).argmax(1, keepdim=True)
    expected = explainer(classifier, batch, predicted)
    assert torch.equal(expected.classes, predicted)
    for classes in (None, torch.full((6, 1), -1)):
        found = explainer(classifier, batch, classes)
        assert torch.equal(found.classes, predicted)
        assert torch.equal(found.maps, expected.maps)
    # Beside named classes too.
    mixed = explainer(classifier, batch, torch.tensor([[2, -1]] * 6))
    assert torch.equal(mixed.classes, torch.cat([torch.full((6, 1), 2), predicted], 1))
    assert torch.allclose(mixed.maps[:, 1], expected.maps[:, 0])


@pytest.mark.parametrize("arch", ["small-gap", "residual-vgg"])
def test_the_mean_of_a_cam_plus_the_bias_is_the_logit(arch):
    classifier = build_classifier(arch, ("a", "b", "c"), plain(32, 32), seed=5)
    found = get_method("cam")(classifier, images(4, 1, 32), torch.arange(3).expand(4, 3))
    assert torch.allclose(found.maps.mean((2, 3)) + classifier.head.bias, found.logits, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arch", ["small-gap", "residual-vgg"])
def test_with_a_linear_head_gradcam_is_cam_over_the_number_of_places(arch):
    classifier = build_classifier(arch, ("a", "b", "c"), plain(32, 32), seed=5)
    classes = torch.arange(3).expand(4, 3)
    cam = get_method("cam")(classifier, images(4, 1, 32), classes)
    gradcam = get_method("gradcam")(classifier, images(4, 1, 32), classes)
    places = cam.maps.shape[2] * cam.maps.shape[3]
    assert torch.allclose(gradcam.maps, cam.maps / places, rtol=1e-5, atol=1e-7)
    assert torch.allclose(gradcam.contributions, cam.contributions / places, rtol=1e-5, atol=1e-9)
    assert torch.equal(gradcam.logits, cam.logits)


def captum_map(classifier: Classifier, batch: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Captum's raw Grad-CAM (N, h, w); its gradients need an input that asks for them."""
    layer = classifier.module.get_submodule(classifier.target_layer)
    batch = batch.clone().requires_grad_(True)
    return LayerGradCam(classifier.module, layer).attribute(batch, target=classes, relu_attributions=False)[:, 0].detach()


@pytest.mark.parametrize("classes", [[0, 1, 2, 0], [2, 2, 2, 2]])
def test_gradcam_is_captum_s_without_global_pooling(flat, classes):
    assert flat.head is None
    batch, classes = images(4, 1, 8), torch.tensor(classes)
    ours = get_method("gradcam")(flat, batch, classes[:, None])
    assert (ours.maps < 0).any()
    assert torch.allclose(ours.maps[:, 0], captum_map(flat, batch, classes), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("layer", ["layer4", "layer2", "layer3.0.conv1"])
def test_gradcam_is_captum_s_on_resnet18(resnet, layer):
    classifier = resnet.with_layer(layer)
    batch, classes = images(2, 3, 64), torch.tensor([3, 0])
    ours = get_method("gradcam")(classifier, batch, classes[:, None])
    expected = captum_map(classifier, batch, classes)
    assert torch.allclose(ours.maps[:, 0], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_cam_is_torchcam_s(resnet):
    batch = images(1, 3, 64)
    with TorchcamCam(resnet.module, "layer4", "fc") as peer:
        resnet.module(batch)
        expected = torch.stack([peer(k, normalized=False)[0].detach()[0] for k in range(5)])
    ours = get_method("cam")(resnet, batch, torch.arange(5)[None])
    assert torch.allclose(ours.maps[0], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_several_classes_at_once_are_those_asked_one_by_one(flat):
    batch = images(3, 1, 8)
    together = get_method("gradcam")(flat, batch, torch.arange(3).expand(3, 3)).maps
    for k in range(3):
        alone = get_method("gradcam")(flat, batch, torch.full((3, 1), k)).maps[:, 0]
        assert torch.allclose(together[:, k], alone)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_each_image_gives_alone(method):
    classifier = small_gap()
    batch = images(5, 1, 16)
    classes = torch.tensor([[0], [1], [2], [1], [-1]])
    together = get_method(method)(classifier, batch, classes)
    for n in range(5):
        alone = get_method(method)(classifier, batch[n : n + 1], classes[n : n + 1])
        for ours, theirs in zip(together, alone, strict=True):
            assert torch.allclose(ours[n : n + 1].float(), theirs.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradcam_works_where_the_caller_switched_gradients_off(flat, off):
    expected = get_method("gradcam")(flat, images(2, 1, 8)).maps
    with off():
        assert torch.equal(get_method("gradcam")(flat, images(2, 1, 8)).maps, expected)


@pytest.mark.parametrize("method", METHODS)
def test_maps_carry_no_graph(method):
    found = get_method(method)(small_gap(), images(2, 1, 16))
    assert not any(tensor.requires_grad for tensor in found)


def test_cam_without_such_a_head_gives_a_sentence(flat):
    with pytest.raises(ModelError, match=r"CAM needs a model whose target layer goes through global average .*use gradcam"):
        get_method("cam")(flat, images(1, 1, 8))


class SideBranch(nn.Module):
    """A layer that runs and that the logits do not use."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Conv2d(1, 2, 1)
        self.side = nn.Conv2d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.side(x)
        return self.main(x).mean((2, 3))


def test_a_layer_that_the_logits_do_not_depend_on_gives_a_sentence():
    classifier = Classifier(SideBranch(), ("a", "b"), plain(4, 4), "side", "side")
    with pytest.raises(ModelError, match=r"The logits do not depend on layer 'side'; choose another target layer"):
        get_method("gradcam")(classifier, images(1, 1, 4))


def test_an_unknown_method_gives_the_nearest_names():
    with pytest.raises(ConfigError, match=r"no explain method 'grad-cam'; did you mean gradcam"):
        get_method("grad-cam")
    with pytest.raises(ConfigError, match=r"no explain method 'xyzzy'; choose one of cam, gradcam"):
        get_method("xyzzy")


def test_the_default_method_is_cam_where_the_model_allows_it(flat):
    assert default_method(small_gap()) == "cam"
    assert default_method(flat) == "gradcam"
