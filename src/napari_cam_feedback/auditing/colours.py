"""Brightness and colour of an image as a whole: what they are, and how an image looks with those of another.

Median and quartiles of each channel in the surroundings. What an image shows may be brighter in one class than in another,
and a mark in a corner is bright, too; half of the surroundings tell of neither.
"""

from __future__ import annotations

from napari_cam_feedback.auditing.cues import surroundings
from napari_cam_feedback.torch_loader import torch

_QUARTERS = (0.25, 0.5, 0.75)


def colours_of(inputs: torch.Tensor) -> torch.Tensor:
    """Return the colours (3, N, C) of images (N, C, h, w): quartiles and median of each channel in the surroundings."""
    around = torch.from_numpy(surroundings(*inputs.shape[2:])).to(inputs.device)
    return inputs[..., around].quantile(torch.tensor(_QUARTERS, device=inputs.device), dim=2)


def with_colours(inputs: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """Return images (N, C, h, w) with the colours (3, N, C) of others, each channel stretched and shifted."""
    (low, middle, high), (their_low, their_middle, their_high) = (
        each[..., None, None] for each in (colours_of(inputs), colours)
    )
    stretch = (their_high - their_low).clamp_min(1e-3) / (high - low).clamp_min(1e-3)
    return (inputs - middle) * stretch + their_middle
