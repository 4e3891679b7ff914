"""Networks whose own way from maps to classes was replaced by global average pooling and a linear head.

Their name is ``gap:PART:ARCHITECTURE``: the part of the architecture that makes maps of the image, and after it ours.
"""

from __future__ import annotations

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.layers.layers import list_layers
from napari_cam_feedback.models.layers.layouts import find_layout, puts_channels_first
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.models.layers.target import default_layer
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
GAP = "gap:"
#: What the parts are called in the new network.
FEATURES, HEAD = "features", "head"


class GapNetwork(nn.Module):
    """Maps, their global average, and a linear head, so that CAM explains it exactly (Zhou 2016).

    Parameters
    ----------
    features : torch.nn.Module
        Makes maps (N, F, h, w) of images.
    filters : int
        F.
    num_classes : int
        Number of outputs.
    """

    def __init__(self, features: nn.Module, filters: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(filters, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes) of images (N, channels, H, W)."""
        return self.head(self.pool(self.features(x)).flatten(1))


def build_gap(
    arch: str, num_classes: int, channels: int, size: tuple[int, int] | None = None, *, trust: bool = False
) -> nn.Module:
    """Make such a network with random weights; see `build_module`.

    Raises
    ------
    ModelError
        The name is not of this form, or the architecture has no such part that makes maps.
    """
    from napari_cam_feedback.models.networks.architectures import build_module

    named = Architecture.of(arch)
    part = named.name
    if not part or named.inner is None:
        raise ModelError(f"{arch} names no network; write it as {GAP}PART:ARCHITECTURE, as {GAP}features:torchvision:vgg16.")
    inner = named.inner.text
    whole = build_module(inner, num_classes, channels, size, trust=trust)
    filters = count_filters(whole, part, channels, size or (224, 224))
    if filters is None:
        raise ModelError(f"The part {part!r} of {inner} does not make maps of the image; name another part.")
    return GapNetwork(whole.get_submodule(part), filters, num_classes)


def find_maps_part(module: nn.Module, channels: int, size: tuple[int, int], head: str | None = None) -> str | None:
    """Return the direct part that makes the last maps before the head, of the image and by itself; None if none does.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    channels : int
        Channels of its input.
    size : tuple of int
        Height and width of its input.
    head : str, optional
        Its last layer, which may make maps too, one a class.
    """
    last_part = (head or "").partition(".")[0]
    layers = [info for info in list_layers(module, channels, size) if info.name.partition(".")[0] != last_part]
    if not layers:
        return None
    part = default_layer(layers).partition(".")[0]
    return part if count_filters(module, part, channels, size) is not None else None


def count_filters(module: nn.Module, part: str, channels: int, size: tuple[int, int]) -> int | None:
    """Return how many maps a direct part makes of an image; None where it is no such part."""
    child = dict(module.named_children()).get(part)
    if child is None:
        return None
    device = next((weight.device for weight in child.parameters()), torch.device("cpu"))
    training = child.training
    try:
        with torch.no_grad():
            maps = in_evaluation(child)(torch.zeros(2, channels, *size, device=device))
    except Exception:  # whatever keeps it from taking an image, it is not what we look for
        return None
    finally:
        child.train(training)
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or maps.shape[0] != 2:
        return None
    layout = find_layout(tuple(maps.shape), size, channels_first=puts_channels_first(child))
    return layout.filters if layout.kind == "maps" and layout.has_places else None
