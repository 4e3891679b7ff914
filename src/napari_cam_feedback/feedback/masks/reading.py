"""Reading one mask image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.pixels.images import open_image
from napari_cam_feedback.errors import MaskError, StorageError


def size_of_mask_file(path: Path) -> tuple[int, int]:
    """Return a mask image's (H, W) from its header alone; raises MaskError where it is broken."""
    with _reading(path), open_image(path) as image:
        return image.height, image.width


def read_mask_file(path: Path) -> np.ndarray:
    """Read a mask image as (H, W) bool, true where any channel but alpha is not zero.

    Raises
    ------
    MaskError
        The file is broken.
    """
    with _reading(path), open_image(path) as image:
        if image.mode not in {"1", "L", "F"} and not image.mode.startswith("I"):
            # Not to gray, which rounds faint colours away; alpha goes.
            return (np.asarray(image.convert("RGB")) != 0).any(axis=2)
        return np.asarray(image) != 0


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (MaskError, StorageError):
        raise
    except Exception as error:  # Pillow raises errors of any kind for broken files
        raise MaskError(f"The mask {path} cannot be read; restore it, or remove it and paint again.") from error
