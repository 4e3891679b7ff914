"""Refilling the masked part of an image, so that what stood there tells nothing any more.

All fills work on network inputs (N, C, h, w) and masks (N, h, w); what they put in is drawn from a generator.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.evaluation.perturbations.biharmonic import inpaint_fill
from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional
Fill = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]

_RING = 3  # pixels around the mask from which `surround` takes its statistics


def _outside_or_all(masks: torch.Tensor) -> torch.Tensor:
    # A mask over the whole image leaves no outside to draw from; then the image itself serves.
    outside = ~masks
    return outside | ~outside.flatten(1).any(1)[:, None, None]


def _mean(inputs: torch.Tensor, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mean per image and channel over the pixels of `where`, and these as weights with their number."""
    weight = where[:, None].to(inputs.dtype)
    count = weight.sum((2, 3), keepdim=True).clamp_min(1)
    return (inputs * weight).sum((2, 3), keepdim=True) / count, weight, count


def _moments(inputs: torch.Tensor, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation per image and channel, (N, C, 1, 1) each, over the pixels of `where`."""
    mean, weight, count = _mean(inputs, where)
    variance = ((inputs - mean).square() * weight).sum((2, 3), keepdim=True) / count
    return mean, variance.sqrt()


def mean_fill(inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image's mean colour outside the mask."""
    return torch.where(masks[:, None], _mean(inputs, _outside_or_all(masks))[0], inputs)


def _ring(masks: torch.Tensor) -> torch.Tensor:
    """Return the pixels up to `_RING` away from each mask, bool (N, h, w); where there are none, those outside it."""
    if len(masks) > 1 and masks.stride(0) == 0:  # one mask for all
        return _ring(masks[:1]).expand_as(masks)
    size = 2 * _RING + 1
    # The largest of a square is that of its rows' largest, which costs a fraction.
    grown = functional.max_pool2d(masks[:, None].float(), (size, 1), 1, (_RING, 0))
    grown = functional.max_pool2d(grown, (1, size), 1, (0, _RING))[:, 0] > 0
    ring = grown & ~masks
    return torch.where(ring.flatten(1).any(1)[:, None, None], ring, _outside_or_all(masks))


def surround_fill(inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal noise with the mean and deviation of the ring of three pixels around the mask."""
    mean, deviation = _moments(inputs, _ring(masks))
    noise = torch.randn(inputs.shape, generator=generator).to(inputs)
    return torch.where(masks[:, None], mean + deviation * noise, inputs)


def shuffle_fill(inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pixels of the same image, drawn at random from outside the mask."""
    images, channels, height, width = inputs.shape
    weights = _outside_or_all(masks).flatten(1).float().cpu()
    picked = torch.multinomial(weights, height * width, replacement=True, generator=generator).to(inputs.device)
    drawn = inputs.flatten(2).gather(2, picked[:, None].expand(images, channels, -1)).view_as(inputs)
    return torch.where(masks[:, None], drawn, inputs)


def noise_fill(inputs: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Uniform noise between each image's least and greatest value of the channel."""
    low, high = inputs.amin((2, 3), keepdim=True), inputs.amax((2, 3), keepdim=True)
    noise = torch.rand(inputs.shape, generator=generator).to(inputs)
    return torch.where(masks[:, None], low + (high - low) * noise, inputs)


FILLS: dict[str, Fill] = {
    "mean": mean_fill,
    "surround": surround_fill,
    "shuffle": shuffle_fill,
    "noise": noise_fill,
    "inpaint": inpaint_fill,
}
#: The five refills behind the flip rate and the neutralised accuracy. Uniform noise is not among them: it is so
#: unlike any image that it changes predictions by itself.
MEASURING_FILLS = ("mean", "surround", "surround", "shuffle", "shuffle")


def get_fill(name: str) -> Fill:
    """Return the fill of that name; raises ConfigError, with the nearest names, if there is none."""
    if name not in FILLS:
        near = difflib.get_close_matches(name, FILLS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(FILLS)}."
        raise ConfigError(f"There is no fill {name!r}; {hint}")
    return FILLS[name]
