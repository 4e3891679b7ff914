"""Masks at the target layer's resolution."""

from __future__ import annotations

from napari_cam_feedback.torch_loader import torch


def masks_at_layer(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bring masks from input pixels down to a layer's size; a place counts if any of its pixels is masked.

    Parameters
    ----------
    masks : Tensor
        (N, H, W) bool.
    size : tuple of int
        (h, w) of the layer.

    Returns
    -------
    Tensor
        (N, h, w) bool.
    """
    return torch.nn.functional.adaptive_max_pool2d(masks[:, None].float(), size)[:, 0] > 0
