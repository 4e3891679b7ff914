"""Layouts of activations: told from shapes, brought to (N, F, h, w) and back, with the gradients of the places."""

from __future__ import annotations

import pytest

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models import ActivationTap
from napari_cam_feedback.models.layers.layouts import Layout, find_layout
from napari_cam_feedback.torch_loader import torch

nn = torch.nn

# (shape of the output, size of the input, layout)
KNOWN = [
    ((2, 512, 7, 7), (224, 224), Layout("maps", 512, 7, 7)),
    ((2, 7, 7, 768), (224, 224), Layout("channels_last", 768, 7, 7)),
    ((2, 4, 6, 96), (128, 192), Layout("channels_last", 96, 4, 6)),
    ((2, 96, 4, 6), (128, 192), Layout("maps", 96, 4, 6)),
    # Both pairs of axes have the image's aspect ratio, or neither: filters come first, as torch has them.
    ((2, 8, 8, 8), (64, 64), Layout("maps", 8, 8, 8)),
    ((2, 32, 8, 128), (64, 128), Layout("maps", 32, 8, 128)),
    # A map whose sides were rounded up on the way down.
    ((2, 10, 7, 64), (300, 200), Layout("channels_last", 64, 10, 7)),
    ((2, 197, 768), (224, 224), Layout("tokens", 768, 14, 14, 1)),
    ((2, 196, 768), (224, 224), Layout("tokens", 768, 14, 14, 0)),
    ((2, 198, 768), (224, 224), Layout("tokens", 768, 14, 14, 2)),
    # Four registers and a class token, patches of 14.
    ((2, 1374, 384), (518, 518), Layout("tokens", 384, 37, 37, 5)),
    ((2, 25, 16), (32, 48), Layout("tokens", 16, 4, 6, 1)),
]


@pytest.mark.parametrize(("shape", "size", "layout"), KNOWN)
def test_the_layout_is_told_from_the_shape_and_the_image_s_size(shape, size, layout):
    assert find_layout(shape, size) == layout


def test_a_grid_that_the_user_set_goes_before_the_patches():
    assert find_layout((1, 13, 5), (64, 64), (3, 4)) == Layout("tokens", 5, 3, 4, 1)
    # Maps have rows and columns of their own.
    assert find_layout((1, 5, 8, 8), (64, 64), (3, 4)) == Layout("maps", 5, 8, 8)


def test_tokens_that_fit_no_grid_give_a_sentence_with_grids_that_would_do():
    with pytest.raises(
        ModelError,
        match=r"^puts out 31 tokens, and no grid of patches of 64x64 images has as many; choose another layer, or set "
        r"their rows and columns \(such as 5 5 or 5 6 or 6 5\)\.$",
    ) as caught:
        find_layout((1, 31, 8), (64, 64))
    assert caught.value.fields == ("grid",)
    with pytest.raises(
        ModelError,
        match=r"^puts out 197 tokens, which do not fit a grid of 7x7; choose another layer, or set another "
        r"grid \(such as 14 14 or",
    ):
        find_layout((1, 197, 8), (224, 224), (7, 7))
    with pytest.raises(ModelError, match=r"^puts out 197 tokens, which do not fit a grid of 15x15; choose another layer"):
        find_layout((1, 197, 8), (224, 224), (15, 15))
    with pytest.raises(
        ModelError,
        match=r"^puts out neither \(N, F, h, w\) maps nor \(N, T, F\) tokens nor \(N, F\) features; choose another",
    ):
        find_layout((197,), (224, 224))


def test_features_have_one_place_that_is_none():
    layout = find_layout((5, 197), (224, 224))
    assert layout == Layout("vector", 197, 1, 1)
    assert not layout.has_places
    # A grid is for tokens and does not matter here.
    assert find_layout((5, 197), (224, 224), (14, 14)) == layout


LAYOUTS = [
    Layout("maps", 3, 2, 4),
    Layout("channels_last", 3, 2, 4),
    Layout("tokens", 3, 2, 4, 0),
    Layout("tokens", 3, 2, 4, 2),
    Layout("vector", 3, 1, 1),
]


def sample(layout: Layout) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = (2, layout.prefix + 8, 3)
    shapes = {"maps": (2, 3, 2, 4), "channels_last": (2, 2, 4, 3), "tokens": tokens, "vector": (2, 3)}
    return torch.randn(shapes[layout.kind], generator=generator)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_maps_and_back_is_what_the_layer_put_out_bit_for_bit(layout):
    output = sample(layout)
    maps = layout.to_maps(output)
    assert maps.shape == (2, *layout.shape)
    assert torch.equal(layout.from_maps(maps, output), output)


def test_a_place_of_the_maps_is_the_token_of_that_row_and_column():
    output = torch.arange(2 + 8.0).reshape(1, 10, 1)  # two class tokens, then 2 rows of 4
    assert Layout("tokens", 1, 2, 4, 2).to_maps(output)[0, 0].tolist() == [[2, 3, 4, 5], [6, 7, 8, 9]]


class Layered(nn.Module):
    """A layer that puts out what it is given, changed in place by what follows, as an in-place ReLU would."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.layer(x * 1.0).mul_(x).flatten(1) ** 2).sum(1, keepdim=True)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cut", [True, False])
def test_a_tap_gives_maps_and_their_gradients_and_leaves_the_logits(layout, cut):
    module, x = Layered(), sample(layout).requires_grad_(True)
    # Of images of 4x8 pixels, so that places are patches of 2x2.
    with ActivationTap(module, "layer", cut=cut, size=(4, 8)) as tap:
        logits = module(x)
        maps = tap.take()
    assert torch.equal(logits, module(x))
    assert torch.equal(maps, layout.to_maps(x))
    # The logit is the sum of (a x)^2, so its gradient is 2 a x^2 = 2 x^3.
    (gradient,) = torch.autograd.grad(logits.sum(), maps, retain_graph=True, allow_unused=not cut)
    if cut:
        assert maps.is_leaf
        assert torch.allclose(gradient, 2 * layout.to_maps(x) ** 3)
    else:
        maps.sum().backward()
        expected = torch.ones_like(x)
        if layout.prefix:
            expected[:, : layout.prefix] = 0
        assert torch.equal(x.grad, expected)


def test_a_cut_tap_lets_no_gradient_through_to_the_tokens_below():
    module, x = Layered(), sample(LAYOUTS[3]).requires_grad_(True)
    factor = x.detach()
    module.forward = lambda y: (module.layer(y) * factor).sum((1, 2))
    with ActivationTap(module, "layer", cut=True, size=(4, 8)) as tap:
        logits = module(x)
        leaf = tap.take()
    logits.sum().backward()
    assert leaf.grad is not None
    assert x.grad is None


def test_a_tap_on_tokens_that_fit_no_grid_names_its_layer():
    with (
        ActivationTap(Layered(), "layer", size=(64, 64), grid=(9, 9)) as tap,
        pytest.raises(
            ModelError, match=r"^Layer 'layer' puts out 17 tokens, which do not fit a grid of 9x9; choose another layer"
        ),
    ):
        tap._target(torch.zeros(1, 17, 3))
