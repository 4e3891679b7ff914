"""Classic augmentation that moves an image, its mask, and its inpainted copy together."""

from __future__ import annotations

from dataclasses import replace

from napari_cam_feedback.retuning.images.batch import Batch
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training.augmentation import draw_moves, move, shade


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
    grid = draw_moves(batch.inputs, generator, mirror=mirror)
    inputs = shade(move(batch.inputs, grid), generator)
    painted = batch.painted
    grid = draw_moves(painted.inputs, generator, mirror=mirror)
    together = [painted.inputs] if painted.inpainted is None else [painted.inputs, painted.inpainted]
    channels = painted.inputs.shape[1]
    # One draw of light for both, so that they differ under the mask only.
    moved = shade(move(torch.cat(together, 1), grid), generator, channels)
    masks = move(painted.masks[:, None].float(), grid, mode="nearest", padding="zeros")[:, 0] > 0.5
    changed = replace(
        painted,
        inputs=moved[:, :channels],
        inpainted=None if painted.inpainted is None else moved[:, channels:],
        masks=masks,
        overlay=None,  # it is where the mark was before the images were moved
    )
    return replace(batch, inputs=inputs, painted=changed)
