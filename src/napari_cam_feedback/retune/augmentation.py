"""Classic augmentation that moves an image, its mask, and its inpainted copy together."""

from __future__ import annotations

import math
from dataclasses import replace

from napari_cam_feedback.retune.methods.base import Batch
from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional

#: Largest turn in radians, shift as a share of the side, zoom, and change of contrast and brightness.
TURN, SHIFT, ZOOM, CONTRAST, BRIGHTNESS = math.radians(10), 0.08, 0.1, 0.2, 0.2


def augment(batch: Batch, generator: torch.Generator, *, mirror: bool = False) -> Batch:
    """Return a batch whose images are each turned, shifted, zoomed and brightened by amounts of their own.

    Parameters
    ----------
    batch : Batch
        The step's images.
    generator : torch.Generator
        The amounts are drawn from it.
    mirror : bool
        Flip every other image left to right as well.
    """
    grid = _grid(batch.inputs, generator, mirror)
    inputs = _shade(_move(batch.inputs, grid), generator)
    painted = batch.painted
    grid = _grid(painted.inputs, generator, mirror)
    together = [painted.inputs] if painted.inpainted is None else [painted.inputs, painted.inpainted]
    channels = painted.inputs.shape[1]
    # One draw of light for both, so that they differ under the mask only.
    moved = _shade(_move(torch.cat(together, 1), grid), generator, channels)
    masks = _move(painted.masks[:, None].float(), grid, mode="nearest", padding="zeros")[:, 0] > 0.5
    changed = replace(
        painted,
        inputs=moved[:, :channels],
        inpainted=None if painted.inpainted is None else moved[:, channels:],
        masks=masks,
    )
    return Batch(inputs, batch.labels, changed)


def _grid(images: torch.Tensor, generator: torch.Generator, mirror: bool) -> torch.Tensor:
    """Return where each pixel comes from, (N, h, w, 2), one random affine map per image."""
    count, _, height, width = images.shape

    def draw(most: float) -> torch.Tensor:
        return (2 * torch.rand(count, generator=generator) - 1) * most

    angle, zoom = draw(TURN), 1 + draw(ZOOM)
    flip = torch.ones(count)
    if mirror:
        flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    # In coordinates from -1 to 1 a turn must know the aspect ratio, or it shears.
    aspect = width / height
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    theta = torch.stack(
        [
            torch.stack([cos * flip, -sin / aspect, draw(2 * SHIFT)], 1),
            torch.stack([sin * aspect * flip, cos, draw(2 * SHIFT)], 1),
        ],
        1,
    )
    return functional.affine_grid(theta, [count, 1, height, width], align_corners=False)


def _move(images: torch.Tensor, grid: torch.Tensor, mode: str = "bilinear", padding: str = "border") -> torch.Tensor:
    return functional.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


def _shade(images: torch.Tensor, generator: torch.Generator, channels: int | None = None) -> torch.Tensor:
    """Change contrast around each image's mean, and brightness by a share of its deviation."""
    reference = images if channels is None else images[:, :channels]
    mean = reference.mean((1, 2, 3), keepdim=True)
    deviation = reference.std((1, 2, 3), keepdim=True)
    amounts = 2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1
    return mean + (images - mean) * (1 + CONTRAST * amounts[0]) + deviation * BRIGHTNESS * amounts[1]
