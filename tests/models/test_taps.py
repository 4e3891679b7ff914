"""Reading a layer's activations: right, from this thread only, and without a trace in the module."""

from __future__ import annotations

import threading

import pytest

from core_builders import hand_classifier, plain, small_gap
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.explanations import get_method
from napari_cam_feedback.models import ActivationTap, Classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def hooks(module: nn.Module) -> int:
    """Count the hooks of all kinds in a module and its children."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(child, kind)) for child in module.modules() for kind in kinds)


class InPlace(nn.Module):
    """A convolution whose output the ReLU after it changes in place: a = -x becomes 0 for positive x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(-1.0)
            self.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


def in_place_classifier() -> Classifier:
    return Classifier(InPlace(), ("a", "b"), plain(2, 2), "conv", "in-place")


IMAGE = torch.tensor([[[[1.0, -2.0], [3.0, 0.0]]]])


@pytest.mark.parametrize("grad", [False, True])
def test_an_in_place_relu_after_the_layer_does_not_change_what_the_tap_read(grad):
    classifier = in_place_classifier()
    with torch.set_grad_enabled(grad), ActivationTap(classifier.module, "conv") as tap:
        classifier.module(IMAGE)
        assert torch.equal(tap.take(), -IMAGE)


def test_an_in_place_relu_after_the_layer_does_not_change_activations_and_logits_read_together():
    logits, activations = in_place_classifier().forward_with_activations(IMAGE)
    assert torch.equal(activations, -IMAGE)
    # ReLU(-x) is 2 in one of four places.
    assert torch.equal(logits, torch.tensor([[0.5, -0.5]]))


def test_an_in_place_relu_after_a_cut_layer_leaves_leaf_and_gradient_right():
    classifier = in_place_classifier()
    with torch.enable_grad(), ActivationTap(classifier.module, "conv", cut=True) as tap:
        logits = classifier.module(IMAGE)
        leaf = tap.take()
    assert leaf.is_leaf
    assert torch.equal(leaf.detach(), -IMAGE)
    (gradient,) = torch.autograd.grad(logits[0, 0], leaf)
    # Only the place where -x is positive reaches the mean of four.
    assert torch.equal(gradient, torch.tensor([[[[0.0, 0.25], [0.0, 0.0]]]]))


def test_a_cut_tap_makes_no_graph_below_the_layer():
    classifier = hand_classifier()
    image = IMAGE.clone().requires_grad_(True)
    with torch.enable_grad(), ActivationTap(classifier.module, "features", cut=True) as tap:
        logits = classifier.module(image)
        leaf = tap.take()
    logits.sum().backward()
    assert leaf.grad is not None
    assert image.grad is None


def test_a_tap_that_is_not_cut_lets_gradients_reach_the_layers_below():
    module = hand_classifier().module.requires_grad_(True)
    with torch.enable_grad(), ActivationTap(module, "features") as tap:
        module(IMAGE)
        tap.take().sum().backward()
    # The sum over a_d = w_d x has the gradient sum x = 2 for each weight.
    assert torch.equal(module.features.weight.grad.flatten(), torch.tensor([2.0, 2.0]))


def test_a_tap_ignores_the_forward_passes_of_other_threads():
    classifier = hand_classifier()

    def elsewhere() -> None:
        classifier.logits(torch.full((1, 1, 2, 2), 99.0))

    with ActivationTap(classifier.module, "features") as tap:
        classifier.module(IMAGE)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert torch.equal(tap.take()[:, :1], IMAGE)


def test_a_cut_tap_does_not_cut_the_graph_of_another_thread():
    module = hand_classifier().module.requires_grad_(True)
    reached = []

    def elsewhere() -> None:
        module(IMAGE).sum().backward()
        reached.append(module.features.weight.grad is not None)

    with ActivationTap(module, "features", cut=True):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert reached == [True]


def test_maps_of_many_threads_that_share_a_classifier_are_those_of_one():
    classifier = small_gap()
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    alone = [get_method("gradcam")(classifier, image[None]).maps for image in images]
    found: list[torch.Tensor | None] = [None] * len(images)

    def work(n: int) -> None:
        for _ in range(5):
            found[n] = get_method("gradcam")(classifier, images[n : n + 1]).maps

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True))


class Skips(nn.Module):
    """A network with a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(1, 1, 1)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x).mean((2, 3)).expand(-1, 2)


@pytest.mark.parametrize("look", [lambda c: c.forward_with_activations(IMAGE), lambda c: get_method("gradcam")(c, IMAGE)])
def test_a_layer_that_never_ran_gives_a_sentence(look):
    classifier = Classifier(Skips(), ("a", "b"), plain(2, 2), "unused", "skips")
    with pytest.raises(ModelError, match=r"Layer 'unused' did not run in the forward pass; choose another layer, or load"):
        look(classifier)
    assert hooks(classifier.module) == 0


def test_a_layer_without_maps_gives_a_sentence_and_leaves_no_hook():
    classifier = hand_classifier()
    with (
        pytest.raises(ModelError, match=r"Layer 'head' does not put out \(N, F, h, w\) activations; choose another layer"),
        ActivationTap(classifier.module, "head"),
    ):
        classifier.module(IMAGE)
    assert hooks(classifier.module) == 0


def test_activations_are_given_once_and_then_forgotten():
    classifier = hand_classifier()
    with ActivationTap(classifier.module, "features") as tap:
        classifier.module(IMAGE)
        tap.take()
        with pytest.raises(ModelError, match="did not run"):
            tap.take()


def test_a_wrong_layer_name_gives_the_nearest_names():
    with pytest.raises(ModelError, match=r"The model has no layer 'featurs'; did you mean features\?"):
        ActivationTap(hand_classifier().module, "featurs")
    with pytest.raises(ModelError, match=r"no layer 'xyzzy'; choose one from the list of layers"):
        ActivationTap(hand_classifier().module, "xyzzy")
    with pytest.raises(ModelError, match="no layer ''"):
        ActivationTap(hand_classifier().module, "")


def state(module: nn.Module) -> list[object]:
    """Everything about a module that looking at it might disturb."""
    return [
        [child.training for child in module.modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in module.parameters()],
        [t.clone() for t in module.state_dict().values()],
    ]


def same_state(one: list[object], other: list[object]) -> bool:
    (modes, grads, tensors), (modes_now, grads_now, tensors_now) = one, other
    return (
        modes == modes_now
        and all(
            a == b and (g is h or (g is not None and h is not None and torch.equal(g, h)))
            for (a, g), (b, h) in zip(grads, grads_now, strict=True)
        )
        and all(torch.equal(a, b) for a, b in zip(tensors, tensors_now, strict=True))
    )


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_making_a_map_leaves_no_hook_and_everything_as_it_was(method):
    classifier = small_gap()
    module = classifier.module
    classifier.head  # noqa: B018 - finding it is part of making a map
    # A state that is not the usual one, so that a reset to the usual would show.
    module.features[0][1].train()
    first = next(module.parameters())
    first.requires_grad_(True)
    first.grad = torch.full_like(first, 7.0)
    before = state(module)
    grad_enabled = torch.is_grad_enabled()
    get_method(method)(classifier, torch.rand(2, 1, 16, 16))
    # Batch norm in training mode counts its batches by itself; everything else must be as before.
    module.features[0][1].load_state_dict(dict(zip(module.features[0][1].state_dict(), before[2][1:6], strict=True)))
    assert same_state(before, state(module))
    assert hooks(module) == 0
    assert torch.is_grad_enabled() == grad_enabled


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_a_map_that_fails_leaves_no_hook_and_everything_as_it_was(method):
    classifier = small_gap()
    classifier.head  # noqa: B018 - so that cam gets as far as the images
    first = next(classifier.module.parameters())
    first.grad = torch.full_like(first, 7.0)
    before = state(classifier.module)
    with pytest.raises(RuntimeError):
        get_method(method)(classifier, torch.rand(2, 3, 16, 16))  # three channels instead of one
    assert same_state(before, state(classifier.module))
    assert hooks(classifier.module) == 0
    assert torch.is_grad_enabled()
    # And it works again at once.
    assert get_method(method)(classifier, torch.rand(1, 1, 16, 16)).maps.shape == (1, 1, 4, 4)
