"""Whether a mask has the size of its image."""

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
