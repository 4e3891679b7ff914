"""Which layers a network has to look at, and which is taken when nobody chose."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer that puts out activations.

    Attributes
    ----------
    name : str
        Dotted name in the module.
    shape : tuple of int
        (F, h, w) for one image of the model's input size.
    """

    name: str
    shape: tuple[int, int, int]


def list_layers(module: nn.Module, channels: int, size: tuple[int, int]) -> list[LayerInfo]:
    """List the layers with (N, F, h, w) activations larger than 1x1, in the order in which they finish.

    One forward pass of a copy on the ``meta`` device tells the shapes, without arithmetic or memory.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    channels : int
        Channels of its input.
    size : tuple of int
        Height and width of its input.

    Raises
    ------
    ModelError
        The network cannot take such an input.
    """
    found: dict[str, LayerInfo] = {}
    ghost = copy.deepcopy(module).to("meta").eval()
    names = {child: name for name, child in ghost.named_modules() if name}

    def note(child: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and not isinstance(child, _POOLS):
            filters, height, width = output.shape[1:]
            if height * width > 1:
                name = names[child]
                # A module that runs twice counts where it finished last.
                found.pop(name, None)
                found[name] = LayerInfo(name, (filters, height, width))

    for child in names:
        child.register_forward_hook(note)
    try:
        with torch.inference_mode():
            ghost(torch.empty(1, channels, *size, device="meta"))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The model cannot take images of {channels} channels and {size[0]}x{size[1]} pixels ({reason}); "
            "check its size and channels."
        ) from error
    return list(found.values())


def default_layer(layers: list[LayerInfo]) -> str:
    """Return the layer to explain: the last to finish.

    Raises
    ------
    ModelError
        There is no layer with two-dimensional activations.
    """
    if not layers:
        raise ModelError(
            "The model has no convolutional layer whose activations could be shown; choose a convolutional network."
        )
    return layers[-1].name
