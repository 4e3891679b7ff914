"""The wand: the pixels that hang together with a place and have a colour like it."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.feedback.painting.places import check_place, unit_colours

#: Largest difference of a colour, as a share of the range from black to white.
DEFAULT_TOLERANCE = 0.15


def wand(image: np.ndarray, place: tuple[int, int], tolerance: float = DEFAULT_TOLERANCE) -> np.ndarray:
    """Return the pixels of like colour that hang together with a place, over edges and corners.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 3).
    place : tuple of int
        Row and column.
    tolerance : float
        0 to 1: how far a pixel's value, in each of its colours, may be from the place's, where 1 is black to white.

    Returns
    -------
    ndarray
        (H, W) bool; the place itself is always in it.

    Raises
    ------
    ConfigError
        The place is outside the image, or the tolerance outside 0 to 1.
    """
    from skimage.segmentation import flood

    check_place(place, image.shape[:2])
    if not 0 <= tolerance <= 1:
        raise ConfigError(f"The tolerance cannot be {tolerance:g}; choose one from 0 to 1.")
    colours = unit_colours(image)
    if colours.ndim == 2:
        colours = colours[..., None]
    # Rounding must not leave out a pixel that is exactly as far as it may be.
    alike = np.abs(colours - colours[place]).max(axis=2) <= tolerance + 1e-6
    return np.asarray(flood(alike, place, connectivity=2))
