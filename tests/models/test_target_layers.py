"""The networks that people bring: the layer that is explained, maps of it, and losses on it (random weights)."""

from __future__ import annotations

import pytest
from captum.attr import LayerGradCam

from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.explanations import get_method
from napari_cam_feedback.models import Classifier, build_classifier, list_layers
from napari_cam_feedback.models.layers.target import choose_layer
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
NAMES = ("a", "b", "c")

# Name, side of the input, the layer to explain, and its (F, h, w).
NETWORKS = [
    ("resnet18", 64, "layer4", (512, 2, 2)),
    ("resnext50_32x4d", 64, "layer4", (2048, 2, 2)),
    ("densenet121", 64, "features", (1024, 2, 2)),
    ("vgg11", 64, "features", (512, 2, 2)),
    ("vgg11_bn", 64, "features", (512, 2, 2)),
    ("mobilenet_v2", 64, "features", (1280, 2, 2)),
    ("mobilenet_v3_small", 64, "features", (576, 2, 2)),
    ("efficientnet_b0", 64, "features", (1280, 2, 2)),
    ("convnext_tiny", 64, "features", (768, 2, 2)),
    ("regnet_y_400mf", 64, "trunk_output", (440, 2, 2)),
    ("shufflenet_v2_x0_5", 64, "conv5", (1024, 2, 2)),
    ("swin_t", 64, "permute", (768, 2, 2)),
    ("vit_b_16", 64, "encoder.layers.encoder_layer_11.ln_1", (768, 4, 4)),
]


def three_blocks_and_a_dense_head() -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(
        block(3, 8), block(8, 8), block(8, 16), nn.Flatten(), nn.Linear(16 * 37 * 37, 32), nn.ReLU(), nn.Linear(32, 3)
    )


def ending_in_pooling() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


OWN = [
    (three_blocks_and_a_dense_head, 300, "2", (16, 37, 37)),
    (ending_in_pooling, 20, "1", (8, 18, 18)),
]


def plain_rgb(side: int) -> Preprocessing:
    return Preprocessing(size=(side, side), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def bring(network: object, side: int) -> Classifier:
    """The classifier as it is opened: nobody named a layer."""
    if isinstance(network, str):
        return build_classifier(f"torchvision:{network}", NAMES, plain_rgb(side), seed=1)
    torch.manual_seed(1)
    module = network()
    return Classifier(module, NAMES, plain_rgb(side), choose_layer(module, 3, (side, side)).name, "own")


def naive_gradcam(classifier: Classifier, batch: torch.Tensor, label: int) -> torch.Tensor:
    """Grad-CAM through the whole graph of a copy, with the layer's output laid out by hand."""
    module = classifier.copy().module.requires_grad_(True)
    kept = {}

    def keep(_module, _inputs, output):
        kept["output"] = output
        return output.clone()

    module.get_submodule(classifier.target_layer).register_forward_hook(keep)
    logits = module(batch)
    (gradient,) = torch.autograd.grad(logits[:, label].sum(), kept["output"])
    activation = kept["output"].detach()
    if activation.ndim == 3:  # tokens, the first of which is the class token
        side = round((activation.shape[1] - 1) ** 0.5)
        activation, gradient = (t[:, 1:].reshape(len(t), side, side, -1).permute(0, 3, 1, 2) for t in (activation, gradient))
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1)


@pytest.mark.parametrize(("network", "side", "layer", "shape"), NETWORKS + OWN, ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_network_that_somebody_brings(network, side, layer, shape):
    classifier = bring(network, side)
    assert classifier.target_layer == layer
    assert classifier.layout.shape == shape
    module = classifier.module
    # torchvision starts the head of its vision transformers at zero, which would hide everything.
    generator = torch.Generator().manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.Linear) and child.out_features == 3 and not child.weight.any():
            child.weight.copy_(torch.randn(child.weight.shape, generator=generator))
    batch = torch.rand(2, 3, side, side, generator=generator)
    before = module(batch)

    found = get_method("gradcam")(classifier, batch, torch.tensor([[1], [1]]))
    assert found.activations.shape == (2, *shape)
    assert torch.allclose(found.logits, before, rtol=1e-4, atol=1e-5)
    expected = naive_gradcam(classifier, batch, 1)
    scale = float(expected.abs().max())
    assert scale > 0
    assert torch.allclose(found.maps[:, 0], expected, rtol=1e-3, atol=1e-4 * scale)

    # Nothing stays behind, and the network is as it was.
    assert not any(child._forward_hooks for child in module.modules())
    assert torch.equal(module(batch), before)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(child.training for child in module.modules())

    # A loss on the activations reaches the first weights: what PAS, PASA and ActDiff need.
    tuned = classifier.copy()
    tuned.module.requires_grad_(True)
    with torch.enable_grad(), tuned.tap() as tap:
        tuned.module(batch)
        tap.take().abs().mean().backward()
    first = next(p for p in tuned.module.parameters() if p.ndim >= 4)
    assert first.grad is not None
    assert first.grad.any()


@pytest.mark.parametrize("network", ["resnet18", "vgg11", "densenet121"])
def test_gradcam_is_captum_s(network):
    classifier = bring(network, 64)
    batch = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layer = classifier.module.get_submodule(classifier.target_layer)
    peer = LayerGradCam(classifier.module, layer).attribute(batch.clone().requires_grad_(True), target=2)[:, 0].detach()
    ours = get_method("gradcam")(classifier, batch, torch.tensor([[2]])).maps[:, 0]
    assert torch.allclose(ours, peer, rtol=1e-3, atol=1e-5 * float(peer.abs().max()))


def test_another_layer_can_be_chosen_from_the_list():
    classifier = bring("resnet18", 64)
    names = [info.name for info in classifier.layers]
    assert names[-1] == "layer4"
    assert "layer2.1.conv2" in names
    other = classifier.with_layer("layer2.1.conv2")
    assert other.layout.shape == (128, 8, 8)
    assert [info.shape for info in list_layers(classifier.module, 3, (64, 64)) if info.name == "layer2"] == [(128, 8, 8)]
