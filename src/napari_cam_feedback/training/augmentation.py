"""Images turned, shifted, zoomed and brightened a little, each by amounts of its own."""

from __future__ import annotations

import math

from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional

#: Largest turn in radians, shift as a share of the side, zoom, and change of contrast and brightness.
TURN, SHIFT, ZOOM, CONTRAST, BRIGHTNESS = math.radians(10), 0.08, 0.1, 0.2, 0.2


def augment(inputs: torch.Tensor, generator: torch.Generator, *, mirror: bool = False) -> torch.Tensor:
    """Return inputs (N, C, h, w), each moved and shaded.

    Parameters
    ----------
    inputs : Tensor
        (N, C, h, w) float.
    generator : torch.Generator
        The amounts are drawn from it.
    mirror : bool
        Flip about every other image left to right as well.
    """
    return shade(move(inputs, draw_moves(inputs, generator, mirror=mirror)), generator)


def draw_moves(images: torch.Tensor, generator: torch.Generator, *, mirror: bool = False) -> torch.Tensor:
    """Return where each pixel comes from, (N, h, w, 2) for `move`, by one random affine map per image."""
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


def move(images: torch.Tensor, grid: torch.Tensor, mode: str = "bilinear", padding: str = "border") -> torch.Tensor:
    """Return images (N, C, h, w) with each pixel from where a grid says."""
    return functional.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


def shade(images: torch.Tensor, generator: torch.Generator, channels: int | None = None) -> torch.Tensor:
    """Change contrast around each image's mean, and brightness by a share of its deviation.

    Mean and deviation are of the first so many channels, or of all.
    """
    reference = images if channels is None else images[:, :channels]
    mean = reference.mean((1, 2, 3), keepdim=True)
    deviation = reference.std((1, 2, 3), keepdim=True)
    amounts = 2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1
    return mean + (images - mean) * (1 + CONTRAST * amounts[0]) + deviation * BRIGHTNESS * amounts[1]
