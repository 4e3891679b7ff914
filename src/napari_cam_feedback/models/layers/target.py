"""The layer that is explained: the one that the user names, or the one that is taken when nobody chose."""

from __future__ import annotations

import math
from typing import Any

from napari_cam_feedback.errors import ModelError, SharedLayer
from napari_cam_feedback.models.layers.hooks import hooked
from napari_cam_feedback.models.layers.layers import (
    BATCH,
    MIN_TOKEN_LAYERS,
    LayerInfo,
    LayerOutput,
    device_of,
    evaluating,
    list_layers,
    outputs_of,
)
from napari_cam_feedback.models.layers.layouts import Grid, Layout, find_layout
from napari_cam_feedback.models.layers.taps import get_layer
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
#: Token layers that are asked first, from the last on, whether what they say of places reaches the logits.
_FIRST_ASKED = 24


def choose_layer(
    module: nn.Module, channels: int, size: tuple[int, int], *, layer: str | None = None, grid: Grid | None = None
) -> LayerInfo:
    """Return the layer of that name, or the one to explain when nobody chose.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    channels : int
        Channels of its input.
    size : tuple of int
        Height and width of its input.
    layer : str, optional
        Dotted name.
    grid : tuple of int, optional
        (rows, columns) of the layer's tokens, where the user has set it.

    Raises
    ------
    ModelError
        The network cannot take such an input; there is no such layer, or none to explain; the layer does not put out
        activations; its tokens do not fit the grid.
    SharedLayer
        It runs several times for one image, each time on other maps.
    """
    layers = list_layers(module, channels, size, grid)
    if layer is None:
        layer = default_layer(layers, module, channels, size)
    found = next((info for info in layers if info.name == layer), None)
    if found is None:
        described = type(get_layer(module, layer)).__name__
        # Tokens that fit no grid are left out of the list; whoever names their layer is told which grids would do.
        output = outputs_of(module, channels, size).get(layer, LayerOutput())
        shape = output.shape
        if output.varies:
            other = f", such as {default_layer(layers, module, channels, size)!r}" if layers else ""
            raise SharedLayer(
                f"Layer {layer!r} ({described}) runs {output.runs} times for one image and puts out other maps each time, "
                f"so there are no activations of it to look at; choose a layer that runs once{other}.",
                field="layer",
            )
        if len(shape) == 3:
            _find_named(layer, shape, size, grid)
        if len(shape) == 2:
            raise ModelError(
                f"Layer {layer!r} ({described}) puts out the logits themselves; choose a layer before it.", field="layer"
            )
        raise ModelError(
            f"Layer {layer!r} ({described}) puts out neither maps nor features; choose one of the listed layers.",
            field="layer",
        )
    if grid is not None and found.kind == "tokens" and found.layout.grid != tuple(grid):
        tokens = found.layout.prefix + math.prod(found.layout.grid)
        _find_named(layer, (BATCH, tokens, found.layout.filters), size, grid)
    return found


def _find_named(name: str, shape: tuple[int, ...], size: tuple[int, int], grid: Grid | None) -> Layout:
    try:
        return find_layout(shape, size, grid)
    except ModelError as error:
        raise ModelError(f"Layer {name!r} {error}", field=error.fields) from error


def default_layer(
    layers: list[LayerInfo], module: nn.Module | None = None, channels: int = 3, size: tuple[int, int] | None = None
) -> str:
    """Return the layer to explain: the last to finish with maps; of transformers the last whose patches still matter.

    Of layers with maps it is the last that runs once and through which all passes that the logits know of the image: not one
    of several parallel branches, and not an activation function that serves the whole network. Where none is so, the
    last that runs once.

    Of networks in which nothing has places, as multilayer perceptrons, it is the last to finish with features: what the
    last linear layer makes the logits of.

    After the last attention of a vision transformer only the class token goes on, and what the patches' tokens hold
    there reaches no logit; the layer before that attention is the last to explain.

    Parameters
    ----------
    layers : list of LayerInfo
        From `list_layers`.
    module : torch.nn.Module, optional
        The network; without it the last layer with tokens is taken for a transformer.
    channels : int
        Channels of its input.
    size : tuple of int, optional
        Height and width of its input.

    Raises
    ------
    ModelError
        There is no layer with activations of places, and none with features.
    """
    if not layers:
        raise ModelError(
            "The model has no layer that could be looked at (none puts out maps, tokens on a grid, or features before the "
            "logits); give it layers of their own, as nn.Flatten() in place of x.flatten(1), name a layer, or set the rows "
            "and columns of its tokens.",
            field=("layer", "grid"),
        )
    features, layers = layers, [info for info in layers if info.layout.has_places]
    if not layers:
        return features[-1].name
    last_maps = max((n for n, info in enumerate(layers) if info.kind != "tokens"), default=-1)
    fallback = _last_whole([info for info in layers if info.kind != "tokens"] or layers).name
    # Layers of one layout that come again and again are the blocks; others are the insides of blocks, or the head.
    after = [info.layout for info in layers[last_maps + 1 :]]
    layout = next((each for each in reversed(after) if after.count(each) >= MIN_TOKEN_LAYERS), None)
    if layout is None:
        return fallback
    stack = [info for info in layers if info.layout == layout]
    if module is None or size is None:
        return stack[-1].name
    for asked in (stack[-_FIRST_ASKED:], stack[:-_FIRST_ASKED]):
        mattering = _reaching_logits(module, asked, channels, size) if asked else []
        if mattering:
            return mattering[-1]
    return fallback


def _last_whole(layers: list[LayerInfo]) -> LayerInfo:
    """The last layer that runs once and that all passes through, as far as there is one."""
    once = [info for info in layers if info.runs == 1] or layers
    return ([info for info in once if info.whole] or once)[-1]


def _reaching_logits(module: nn.Module, layers: list[LayerInfo], channels: int, size: tuple[int, int]) -> list[str]:
    """Names of the layers, in their order, whose activations of places have an influence on the logits.

    Told by one backward pass that starts with NaN: unlike a number, NaN is not lost in a weight of zero, as the heads of
    untrained networks have, but a place that is not looked at still gets an exact zero.
    """
    outputs: dict[str, torch.Tensor] = {}
    names = {get_layer(module, info.name): info.name for info in layers}

    def keep(child: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not output.requires_grad:
            # The graph is needed from the first of these layers on.
            output = output.detach().requires_grad_(True)
        outputs[names[child]] = output
        # What follows may change its input in place.
        return output.clone()

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, channels, *size, generator=generator).to(device_of(module))
    required = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        module.requires_grad_(False)
        with hooked(names, keep), torch.inference_mode(False), torch.enable_grad(), evaluating(module):
            logits = module(image)
            if not isinstance(logits, torch.Tensor) or not logits.requires_grad:
                return []
            seeds = torch.full_like(logits, math.nan)
            gradients = torch.autograd.grad(logits, list(outputs.values()), seeds, allow_unused=True)
    finally:
        for parameter in required:
            parameter.requires_grad_(True)
    reach = set()
    layouts = {info.name: info.layout for info in layers}
    for name, gradient in zip(outputs, gradients, strict=True):
        if gradient is not None and bool(layouts[name].to_maps(gradient).ne(0).any()):
            reach.add(name)
    return [info.name for info in layers if info.name in reach]
