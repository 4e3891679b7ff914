"""Random places of the same size and form as a mask: the mask, or an image, shifted around its edges."""

from __future__ import annotations

from napari_cam_feedback.torch_loader import torch

#: Random shifts among which that with the least overlap is kept.
TRIES = 8


def shifted(images: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Return images (N, ..., h, w), each moved down and right by its own whole numbers of pixels, around the edges.

    Parameters
    ----------
    images : Tensor
        (N, h, w) or (N, C, h, w), any dtype.
    shifts : Tensor
        (N, 2) int64: rows and columns.
    """
    height, width = images.shape[-2:]
    shifts = shifts.to(images.device)
    rows = (torch.arange(height, device=images.device) - shifts[:, :1]) % height
    columns = (torch.arange(width, device=images.device) - shifts[:, 1:]) % width
    at = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    flat = images.flatten(-2)
    between = (1,) * (flat.ndim - 2)
    return flat.gather(-1, at.view(len(at), *between, -1).expand_as(flat)).view_as(images)


def choose_shifts(masks: torch.Tensor, onto: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw, for each mask, random shifts, and return that after which it covers the fewest pixels of another mask.

    Parameters
    ----------
    masks, onto : Tensor
        (N, h, w) bool.
    generator : torch.Generator
        Of the shifts.

    Returns
    -------
    Tensor
        (N, 2) int64, rows and columns; never both zero unless the image is one pixel.
    """
    count, height, width = masks.shape
    best = torch.zeros(count, 2, dtype=torch.int64)
    least = torch.full((count,), height * width + 1, dtype=torch.int64)
    for _ in range(TRIES):
        # All places of the image but that where it is, each as likely as another.
        step = torch.randint(1, max(height * width, 2), (count,), generator=generator)
        drawn = torch.stack([step // width, step % width], 1)
        overlap = (shifted(masks, drawn) & onto).flatten(1).sum(1).cpu()
        better = overlap < least
        best = torch.where(better[:, None], drawn, best)
        least = torch.where(better, overlap, least)
    return best
