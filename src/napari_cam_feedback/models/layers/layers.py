"""Which layers a network has to look at, and what they put out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.layers.cuts import Edge, edge_of, find_cuts
from napari_cam_feedback.models.layers.hooks import copy_module, hooked
from napari_cam_feedback.models.layers.layouts import Grid, Layout, find_layout, has_aspect, puts_channels_first
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.models.layers.taps import get_layer
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
#: Two images, so that layers that cut images into windows are told from those that put out one row for each image.
BATCH = 2
#: Token layers after the last maps from which on a network counts as a transformer: fewer are a flattening or two.
MIN_TOKEN_LAYERS = 4
#: What the network as a whole is called among its layers.
_WHOLE = ""


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer that puts out activations.

    Attributes
    ----------
    name : str
        Dotted name in the module.
    shape : tuple of int
        (F, h, w) for one image of the model's input size; h and w are 1 of features that have no place.
    layout : Layout
        How the layer itself lays them out.
    runs : int
        How often it runs in one forward pass. What is looked at is what it put out last.
    whole : bool
        Whether all that the logits know of the image passes through what it puts out: not so of one branch of several.
        True where that cannot be told.
    """

    name: str
    shape: tuple[int, int, int]
    layout: Layout
    runs: int = 1
    whole: bool = True

    @property
    def kind(self) -> str:
        """``maps``, ``channels_last``, ``tokens`` or ``vector``."""
        return self.layout.kind


def list_layers(module: nn.Module, channels: int, size: tuple[int, int], grid: Grid | None = None) -> list[LayerInfo]:
    """List the layers with activations of more than one place, and those with features, in the order in which they finish.

    Features (N, F) are listed up to the last linear layer, which makes the logits of them. A layer that runs several times
    and puts out other shapes each time, as one activation function that serves the whole network, is left out.

    One forward pass of a copy on the ``meta`` device tells the shapes, without arithmetic or memory. Networks that
    cannot run there (exported programs, for one) are run once with black images.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    channels : int
        Channels of its input.
    size : tuple of int
        Height and width of its input.
    grid : tuple of int, optional
        (rows, columns) of tokens, where the user has set it; layers that it does not fit are read by patches.

    Raises
    ------
    ModelError
        The network cannot take such an input.
    """
    outputs = outputs_of(module, channels, size)
    logits = _logit_layers(module, {name: output.shape for name, output in outputs.items()})
    layers = []
    for name, output in outputs.items():
        first = puts_channels_first(module.get_submodule(name))
        layout = None if output.varies else _layout(output.shape, size, grid, channels_first=first)
        if layout is not None and name not in logits and (layout.has_places or layout.kind == "vector"):
            layers.append(LayerInfo(name, layout.shape, layout, output.runs, output.whole))
    tokens = [info.layout.prefix + math.prod(info.layout.grid) for info in layers if info.kind == "tokens"]
    if len(tokens) < MIN_TOKEN_LAYERS:
        return layers
    flat = ("tokens", "vector")
    return [info for info in layers if info.kind in flat or not _is_attention(info.layout, set(tokens), size)]


def _logit_layers(module: nn.Module, outputs: dict[str, tuple[int, ...]]) -> set[str]:
    """The last linear layer and what finishes after it: they put out logits, or what is made of logits, and no features.

    Where that layer is of another kind, it is what finishes last and is as wide as the network's output.
    """
    names = [name for name, shape in outputs.items() if len(shape) == 2]
    classes = outputs.get(_WHOLE, ())[1:]
    first = len(names)
    for place in reversed(range(len(names))):
        as_wide = outputs[names[place]][1:] == classes
        # By its weight, since a layer of an exported program is no `torch.nn.Linear`.
        weight = None if names[place] == _WHOLE else getattr(get_layer(module, names[place]), "weight", None)
        if as_wide and isinstance(weight, torch.Tensor) and weight.ndim == 2:
            return {_WHOLE, *names[place:]}
        if as_wide and first == place + 1:
            first = place
    return {_WHOLE, *names[first:]}


def _layout(shape: tuple[int, ...], size: tuple[int, int], grid: Grid | None, *, channels_first: bool) -> Layout | None:
    for tried in dict.fromkeys((grid, None)):
        try:
            return find_layout(shape, size, tried, channels_first=channels_first)
        except ModelError:
            continue
    return None


def _is_attention(layout: Layout, tokens: set[int], size: tuple[int, int]) -> bool:
    """Whether it is the inside of an attention: (N, heads, T, T) or (N, heads, T, F/heads), four axes but no maps."""
    return not has_aspect(*layout.grid, size) or (layout.rows in tokens and size[0] % layout.rows > 0)


@dataclass
class LayerOutput:
    """What a layer put out in a forward pass: the last shape, and how often it ran."""

    shape: tuple[int, ...] = ()
    runs: int = 0
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    edge: Edge | None = None
    whole: bool = True

    @property
    def varies(self) -> bool:
        """Whether it put out other shapes when it ran again."""
        return len(self.shapes) > 1


def outputs_of(module: nn.Module, channels: int, size: tuple[int, int]) -> dict[str, LayerOutput]:
    """What the layers, and at last the network, put out for a batch, in the order in which they finish."""
    shape = (BATCH, channels, *size)
    try:
        ghost = in_evaluation(copy_module(module, "meta"))
        # Networks may make tensors as they run; those are to have no memory either.
        with torch.device("meta"):
            return _watch(ghost, torch.empty(shape, device="meta"), graph=_has_one_way(ghost))
    except Exception:  # whatever keeps a network from running without memory, it may run with some
        pass
    zeros = torch.zeros(shape, device=device_of(module))
    try:
        with evaluating(module):
            return _watch(module, zeros, graph=False)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The model cannot take images of {channels} channels and {size[0]}x{size[1]} pixels ({reason}); "
            "check its size and channels."
        ) from error


def _has_one_way(module: nn.Module) -> bool:
    """Whether a network runs the same layers with gradients as without them: torch's own transformers have a shorter way."""
    return not any(isinstance(child, nn.TransformerEncoderLayer) for child in module.modules())


def _watch(module: nn.Module, images: torch.Tensor, *, graph: bool) -> dict[str, LayerOutput]:
    """Run a network and note what its layers put out.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    images : Tensor
        (N, C, H, W).
    graph : bool
        Also tell through which layers everything passes. It takes memory on other devices than ``meta``.
    """
    found: dict[str, LayerOutput] = {}
    # What computes a weight from others runs too, and puts out no activations.
    names = {
        child: name
        for name, child in module.named_modules()
        if not isinstance(child, torch.jit.ScriptModule) and "parametrizations" not in name.split(".")
    }

    def note(child: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor) or isinstance(child, _POOLS):
            return
        if output.ndim in (2, 3, 4) and output.shape[0] == BATCH and output.is_floating_point():
            # A module that runs twice counts where it finished last.
            noted = found.pop(names[child], None) or LayerOutput()
            noted.shape, noted.edge = tuple(output.shape), edge_of(output)
            noted.runs += 1
            noted.shapes.add(noted.shape)
            found[names[child]] = noted

    with hooked(names, note), torch.set_grad_enabled(graph):
        logits = module(images.requires_grad_(graph))
    cuts = find_cuts(logits, images) if graph and isinstance(logits, torch.Tensor) else None
    if cuts is not None:
        for noted in found.values():
            noted.whole = noted.edge in cuts
    return found


def device_of(module: nn.Module) -> torch.device:
    first = next(iter([*module.parameters(), *module.buffers()]), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """While entered, the network is in evaluation mode."""
    training = [child for child in module.modules() if child.training]
    if training:
        module.eval()
    try:
        yield
    finally:
        for child in training:
            child.training = True
