"""The size of a mask: whether it is that of its image, and bringing it to another one."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import MaskError


def check_mask(dataset: Dataset, index: int, mask: np.ndarray) -> None:
    """Raise MaskError unless the mask has its image's size."""
    size = dataset.image_size(index)
    if tuple(mask.shape) != tuple(size):
        raise MaskError(
            f"The mask of {dataset.keys[index]} is {'x'.join(map(str, mask.shape))} pixels and its image "
            f"{size[0]}x{size[1]}; paint it on its own image."
        )


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask (H, W) at another size; each pixel is that of the nearest place."""
    rows = (np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]
    return mask[rows.astype(int)[:, None], columns.astype(int)[None]]


def painted_of(key: str, mask: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return where a mask is painted, bool (H, W); raises MaskError unless it is of that size, or any where it is None."""
    painted = np.asarray(mask) != 0
    if painted.ndim != 2 or (size is not None and painted.shape != tuple(size)):
        expected = f"{size[0]}x{size[1]}" if size else "two-dimensional"
        shape = "x".join(str(n) for n in painted.shape)
        raise MaskError(f"The mask of {key} is {shape} pixels and its image {expected}; paint it on its own image.")
    return painted
