"""Images with a patch that is known to be irrelevant."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data import ArrayDataset

PATCH = np.zeros((8, 8), bool)
PATCH[:3, :3] = True


def patches(outside: int = 0, count: int = 4) -> ArrayDataset:
    """8x8 images of an even gray with a white 3x3 patch in a corner, of the class bright; the patch is the mask."""
    images = np.full((count, 8, 8), outside, np.uint8)
    images[:, :3, :3] = 255
    return ArrayDataset({"test": images}, {"test": [1] * count}, ("dark", "bright"), {"test": np.stack([PATCH] * count)})
