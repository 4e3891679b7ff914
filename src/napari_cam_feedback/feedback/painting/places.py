"""What every tool asks first: whether a place is in the image, and how its colours are compared."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.errors import ConfigError


def check_place(place: tuple[int, int], size: tuple[int, int]) -> None:
    """Raise ConfigError unless a place (row, column) lies in an image of (height, width)."""
    if not (0 <= place[0] < size[0] and 0 <= place[1] < size[1]):
        raise ConfigError("This place is outside the image; click inside it.")


def unit_colours(image: np.ndarray) -> np.ndarray:
    """Return an image with its own darkest value at 0 and its brightest at 1.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C); integers or floats. 8-bit images keep their scale, so that noise in a dark one stays noise.

    Returns
    -------
    ndarray
        The same shape, float32; what is not finite becomes 0.
    """
    values = np.nan_to_num(np.asarray(image, np.float32), posinf=0.0, neginf=0.0)
    if image.dtype == np.uint8:
        return values / np.float32(255)
    low, high = float(values.min()), float(values.max())
    if image.dtype.kind == "f" and low >= 0 and high <= 1:
        return values
    return (values - np.float32(low)) / np.float32(high - low if high > low else 1)
