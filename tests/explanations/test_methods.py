"""Attribution methods beyond CAM and Grad-CAM: every formula against numbers worked out by hand, and against a peer."""

from __future__ import annotations

import math

import pytest
from captum.attr import LayerFeatureAblation, LayerGradientXActivation
from torchcam.methods import LayerCAM as TorchcamLayerCam
from torchcam.methods import ScoreCAM as TorchcamScoreCam
from torchcam.methods import XGradCAM as TorchcamXGradCam

from core_builders import hand_classifier, plain, small_gap
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.explanations import METHODS, get_method
from napari_cam_feedback.models import Classifier, build_classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn

# The classifier of `test_explain_maps`: x has the mean 2.5 and the sum 10, a_0 = x, a_1 = -x, W = [1 2; 3 -1],
# b = [0.5, -0.5].
# Its logits are -2 and 9.5, and the gradient of logit c with respect to a_d is W[c, d] / 4 at each place.
X = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
BOTH = torch.tensor([[0, 1]])


def by_hand(first: tuple[float, float], second: tuple[float, float]) -> torch.Tensor:
    """The maps of class a and b if the filters have these weights."""
    return torch.stack([w[0] * X[0, 0] - w[1] * X[0, 0] for w in (first, second)])[None]


def found(method: str) -> torch.Tensor:
    return get_method(method)(hand_classifier(), X, BOTH).maps


def test_hirescam_by_hand():
    assert torch.allclose(found("hirescam"), by_hand((0.25, 0.5), (0.75, -0.25)))


def test_layercam_leaves_negative_gradients_out():
    assert torch.allclose(found("layercam"), by_hand((0.25, 0.5), (0.75, 0)))


def test_xgradcam_by_hand():
    assert torch.allclose(found("xgradcam"), by_hand((0.25, 0.5), (0.75, -0.25)))


def test_gradcam_plus_plus_by_hand():
    # alpha = 1 / (2 + S g) with the sums S = 10 and -10; the weight is four places times alpha times relu(g).
    first = (4 * 0.25 / (2 + 10 * 0.25), 4 * 0.5 / (2 - 10 * 0.5))
    second = (4 * 0.75 / (2 + 10 * 0.75), 0.0)
    assert torch.allclose(found("gradcam++"), by_hand(first, second))


def test_scorecam_by_hand():
    # The windows are (x - 1) / 3 and its complement; seen through them the image's mean is 5/3 and 5/6.
    means = (5 / 3, 5 / 6)
    maps = []
    for weight, bias in ((-1.0, 0.5), (4.0, -0.5)):
        scores = [math.exp(weight * mean + bias) for mean in means]
        maps.append(tuple(score / sum(scores) for score in scores))
    assert torch.allclose(found("scorecam"), by_hand(*maps))


def test_ablationcam_by_hand():
    # Without a_0 the logits are -4.5 and 2, without a_1 3 and 7; those of the whole are -2 and 9.5.
    assert torch.allclose(found("ablationcam"), by_hand((2.5 / 2, -5 / 2), (7.5 / 9.5, 2.5 / 9.5)))


def images(count: int, channels: int, size: int) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def dense() -> Classifier:
    """A linear layer over every place of every filter: no global pooling."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(80, 3))
    return Classifier(module, ("a", "b", "c"), plain(8, 8), "1", "dense")


@pytest.fixture(scope="module")
def resnet() -> Classifier:
    preprocessing = Preprocessing(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return build_classifier("torchvision:resnet18", tuple("abcde"), preprocessing, seed=2)


def gradients_of(classifier: Classifier, batch: torch.Tensor, label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations and gradients through the whole graph, without the cut below the layer."""
    kept = {}
    layer = classifier.module.get_submodule(classifier.target_layer)
    handle = layer.register_forward_hook(lambda m, i, output: kept.update(a=output.clone()) or kept["a"])
    logits = classifier.module(batch.clone().requires_grad_(True))
    handle.remove()
    return kept["a"].detach(), torch.autograd.grad(logits[:, label].sum(), kept["a"])[0]


@pytest.mark.parametrize("name", ["dense", "resnet"])
def test_gradient_methods_are_their_formulas_written_out(name, request):
    classifier = request.getfixturevalue(name)
    batch = images(2, *((1, 8) if name == "dense" else (3, 64)))
    a, g = gradients_of(classifier, batch, 2)
    total = a.sum((2, 3), keepdim=True)
    alpha = g**2 / (2 * g**2 + total * g**3)
    expected = {
        "hirescam": (g * a).sum(1),
        "layercam": (g.clamp(min=0) * a).sum(1),
        "xgradcam": (((a * g).sum((2, 3), keepdim=True) / total).nan_to_num() * a).sum(1),
        "gradcam++": ((alpha.nan_to_num() * g.clamp(min=0)).sum((2, 3), keepdim=True) * a).sum(1),
    }
    for method, maps in expected.items():
        ours = get_method(method)(classifier, batch, torch.full((2, 1), 2)).maps[:, 0]
        tolerance = 1e-4 * float(maps.abs().max())
        assert torch.allclose(ours, maps, rtol=1e-3, atol=tolerance), method


def test_the_sum_of_a_hirescam_is_the_logit_where_only_a_linear_layer_follows(dense):
    batch = images(4, 1, 8)
    ours = get_method("hirescam")(dense, batch, torch.arange(3).expand(4, 3))
    assert torch.allclose(ours.maps.sum((2, 3)) + dense.module[3].bias, ours.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("method", "peer"), [("layercam", TorchcamLayerCam), ("xgradcam", TorchcamXGradCam)])
def test_the_positive_part_is_torchcam_s(resnet, method, peer):
    batch = images(1, 3, 64)
    with peer(resnet.module, "layer3") as theirs:
        scores = resnet.module(batch.clone().requires_grad_(True))
        expected = theirs(3, scores, normalized=False)[0].detach()
    ours = get_method(method)(resnet.with_layer("layer3"), batch, torch.tensor([[3]])).maps[:, 0].relu()
    assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_hirescam_is_captum_s_gradient_times_activation(resnet):
    classifier, batch, label = resnet.with_layer("layer3"), images(2, 3, 64), torch.tensor([3, 1])
    peer = LayerGradientXActivation(classifier.module, classifier.module.get_submodule("layer3"))
    expected = peer.attribute(batch, target=label).sum(1).detach()
    ours = get_method("hirescam")(classifier, batch, label[:, None]).maps[:, 0]
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["dense", "resnet"])
def test_ablationcam_is_the_sum_of_captum_s_drops_without_each_filter(name, request):
    classifier = request.getfixturevalue(name)
    if name == "resnet":
        classifier = classifier.with_layer("layer1")  # of 64 filters, since the peer runs the network for each
    batch, label = images(1, *((1, 8) if name == "dense" else (3, 64))), 2
    layer = classifier.module.get_submodule(classifier.target_layer)
    with torch.no_grad():
        found = get_method("ablationcam")(classifier, batch, torch.tensor([[label]]))
        logit, filters = found.logits[0, label], found.activations.shape[1]
        # A filter's places are ablated together, and each of them is given the drop.
        together = torch.arange(filters)[None, :, None, None].expand_as(found.activations)
        peer = LayerFeatureAblation(classifier.module, layer)
        drops = peer.attribute(batch, target=label, layer_mask=together, perturbations_per_eval=16)[0, :, 0, 0]
        expected = (drops[:, None, None] * found.activations[0]).sum(0) / logit.abs()
    assert torch.allclose(found.maps[0, 0], expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_the_positive_part_of_scorecam_is_torchcam_s_where_nothing_is_enlarged():
    # torchcam scales activations to 0 ... 1 before it enlarges them and not, as the paper does, after; without enlarging
    # the two are the same.
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 40, 3, padding=1), nn.Softplus(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(160, 3))
    classifier = Classifier(module, ("a", "b", "c"), plain(8, 8), "1", "same size")
    batch, label = images(1, 1, 8), 1
    with TorchcamScoreCam(module, "1", input_shape=(1, 8, 8)) as theirs:
        expected = theirs(label, module(batch), normalized=False)[0].detach()
    ours = get_method("scorecam")(classifier, batch, torch.tensor([[label]])).maps[:, 0].relu()
    assert float(expected.max()) > 0
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_ablationcam_is_the_network_run_without_each_filter(dense):
    batch, label = images(1, 1, 8), 1
    activations = dense.module[:2](batch)
    logit = dense.module(batch)[0, label]
    weights = []
    for d in range(5):
        altered = activations.clone()
        altered[:, d] = 0
        weights.append((logit - dense.module[2:](altered)[0, label]) / logit.abs())
    expected = sum(w * activations[0, d] for d, w in enumerate(weights))
    assert torch.allclose(get_method("ablationcam")(dense, batch, torch.tensor([[label]])).maps[0, 0], expected, atol=1e-6)


class Joined(nn.Module):
    """The target layer is one of two branches that are joined, and the batch's size is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 40, 3), nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(42, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.one(x).relu(), self.two(x)], 1)
        return self.head(joined.mean((2, 3)).reshape(len(x), 42))


def test_ablationcam_of_one_of_several_branches():
    torch.manual_seed(0)
    module = Joined()
    classifier = Classifier(module, ("a", "b", "c"), plain(6, 6), "one", "joined")
    batch = images(2, 1, 6)
    ours = get_method("ablationcam")(classifier, batch, torch.tensor([[0], [2]])).maps
    for n, label in ((0, 0), (1, 2)):
        activations = module.one(batch[n : n + 1])
        logit = module(batch[n : n + 1])[0, label]
        # After the ReLU and the mean, filter d without its activation loses weight times mean relu(activation).
        drop = module.head.weight[label, :40] * activations.relu().mean((2, 3))[0]
        expected = torch.einsum("d,dhw->hw", drop / logit.abs(), activations[0])
        assert torch.allclose(ours[n, 0], expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_contributions_add_up_to_the_map_s_mean(method):
    ours = get_method(method)(small_gap(), images(3, 1, 16), torch.tensor([[0, 2]] * 3))
    assert ours.contributions.shape == (3, 2, 64)
    assert torch.allclose(ours.contributions.sum(2), ours.maps.mean((2, 3)), rtol=1e-3, atol=1e-6)


# CAM's head is found by numbers, and a dead layer has none to show.
@pytest.mark.parametrize("method", [name for name in METHODS if name != "cam"])
def test_a_dead_layer_gives_maps_of_zeros_not_of_nothing(method):
    classifier = small_gap().copy()
    with torch.no_grad():
        classifier.module.features[5][1].weight.zero_()  # the last batch norm puts out zero everywhere
        classifier.module.features[5][1].bias.zero_()
    ours = get_method(method)(classifier, images(2, 1, 16))
    assert torch.equal(ours.activations, torch.zeros_like(ours.activations))
    assert torch.equal(ours.maps, torch.zeros_like(ours.maps))


@pytest.mark.parametrize("method", METHODS)
def test_methods_say_what_they_are(method):
    explainer = METHODS[method]
    assert explainer.name == method
    assert explainer.title
    assert len(explainer.description) < 100
    assert explainer.slow == (method in ("scorecam", "ablationcam"))
