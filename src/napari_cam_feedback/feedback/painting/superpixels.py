"""Superpixels: pieces of like colour into which an image is cut, painted by a click each (SLIC, Achanta et al. 2012)."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.painting.places import check_place, unit_colours

#: Larger images are cut at so many pixels along their longer side: half a second instead of a minute.
MAX_SIDE = 512
#: Colour against distance, in CIELAB; the larger, the squarer the pieces. Marks are square more often than not: at 25 pieces
#: fitted known masks of the samples better than at 10 (mean overlap 0.49 for 0.42, 0.66 for 0.63, 0.72 for 0.70).
COMPACTNESS = 25.0
MIN_PIECE = 2


def default_piece(size: tuple[int, int]) -> int:
    """Return a sensible side of a piece, in pixels, for an image of (height, width)."""
    return max(MIN_PIECE, round(min(size) / 7))


def superpixels(image: np.ndarray, piece: int | None = None) -> np.ndarray:
    """Cut an image into superpixels.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 3).
    piece : int, optional
        About how many pixels a piece has along a side; `default_piece` else.

    Returns
    -------
    ndarray
        (H, W) uint16 or uint32: the number of each pixel's piece, from 0.

    Raises
    ------
    ConfigError
        The pieces would be of less than `MIN_PIECE` pixels a side.
    """
    from skimage.segmentation import slic
    from skimage.transform import resize

    size = (int(image.shape[0]), int(image.shape[1]))
    piece = default_piece(size) if piece is None else piece
    if piece < MIN_PIECE:
        raise ConfigError(f"A superpixel cannot be {piece} pixels wide; choose {MIN_PIECE} or more.")
    shrunk = max(1.0, max(size) / MAX_SIDE)
    # Of very large images only some rows and columns are looked at, since smoothing all would take many seconds.
    step = max(1, int(shrunk // 2))
    colours = unit_colours(image[::step, ::step])
    if colours.ndim == 2:
        colours = np.repeat(colours[..., None], 3, axis=2)
    if shrunk > 1:
        small = tuple(max(1, round(side / shrunk)) for side in size)
        colours = resize(colours, (*small, colours.shape[2]), order=1, anti_aliasing=True)
    pieces = max(1, round(size[0] * size[1] / piece**2))
    numbers = slic(
        colours, n_segments=pieces, compactness=COMPACTNESS, start_label=0, channel_axis=2, enforce_connectivity=True
    )
    numbers = numbers.astype(np.uint16 if int(numbers.max()) < 2**16 else np.uint32)
    return resized(numbers, size) if shrunk > 1 else numbers


def superpixel_at(numbers: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Return the superpixel at a place.

    Parameters
    ----------
    numbers : ndarray
        (H, W) as of `superpixels`.
    place : tuple of int
        Row and column.

    Returns
    -------
    ndarray
        (H, W) bool.

    Raises
    ------
    ConfigError
        The place is outside the image.
    """
    check_place(place, numbers.shape[:2])
    return numbers == numbers[place]
