"""Views of a raw signed map, for the eye: positive part, stretched to 0..1, at the image's size."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Maps are smooth, so a contour needs no more than this many pixels along the longer side.
_CONTOUR_LONGEST = 512


def has_evidence(raw: np.ndarray) -> bool:
    """Tell whether a signed map has any positive part; if not, nothing in the image speaks for the class."""
    return bool(np.max(raw, initial=0.0) > 0)


def unit_range(values: np.ndarray) -> np.ndarray:
    """Stretch values to 0..1 (float32); constant values become zeros."""
    values = np.asarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    if high - low <= np.finfo(np.float32).tiny:
        return np.zeros_like(values)
    found = values - low
    found /= np.float32(high - low)
    return found


def cam_display(signed: np.ndarray) -> np.ndarray:
    """Turn a signed map (H, W) into what is shown: ReLU, then stretched to 0..1 float32.

    A map with no positive part becomes zeros, not noise stretched to full contrast.
    """
    shown = np.maximum(np.asarray(signed, np.float32), 0)
    low, high = float(shown.min()), float(shown.max())
    if high - low <= np.finfo(np.float32).tiny:
        return np.zeros_like(shown)
    # In place: of a large image each further array would take as long as all of the reckoning.
    shown -= np.float32(low)
    shown /= np.float32(high - low)
    return shown


def common_display(signed: np.ndarray) -> np.ndarray:
    """Turn several signed maps (T, H, W) into what is shown side by side: positive parts over the largest value of all.

    Returns
    -------
    ndarray
        (T, H, W) float32 in 0..1; a map of little evidence stays faint beside one of much.
    """
    positive = np.maximum(np.asarray(signed, np.float32), 0)
    largest = float(positive.max(initial=0.0))
    return positive / np.float32(largest) if largest > np.finfo(np.float32).tiny else np.zeros_like(positive)


def contour_segments(shown: np.ndarray, level: float) -> np.ndarray:
    """Return the line around where a map is at least `level`, as pieces.

    Parameters
    ----------
    shown : ndarray
        (H, W) float, for example of `cam_display`.
    level : float
        In the map's values, above 0.

    Returns
    -------
    ndarray
        (n, 2, 2) float32: for each piece where it starts and the way to its end, both (row, column) in pixels, whose
        centres are whole numbers. Lines are closed along the image's edge.
    """
    from skimage.measure import find_contours

    step = -(-max(shown.shape) // _CONTOUR_LONGEST)
    # Nothing lies outside the image, so a region that reaches its edge ends there.
    coarse = np.pad(np.asarray(shown, np.float32)[::step, ::step], 1)
    lines = [step * (line - 1) for line in find_contours(coarse, level)] if float(coarse.max()) >= level else []
    pieces = [np.stack([line[:-1], np.diff(line, axis=0)], axis=1) for line in lines]
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros((0, 2, 2), np.float32)


def mass_inside(signed: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of a map's positive mass that lies inside a mask (both (H, W)); None where there is no mass."""
    positive = np.maximum(np.asarray(signed, np.float64), 0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else None


def thumbnail(image: np.ndarray, size: int, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Return an image as RGB uint8 with its longer side at most `size` pixels; it is never made larger.

    Black and white are the value range's, else 0 and 255 of 8-bit images, 0 and 1 of float images that keep to it, and
    the image's own least and greatest value of others.
    """
    if image.dtype == np.uint8 and value_range is None:
        shown = image
    else:
        low, high = (float(image.min()), float(image.max())) if value_range is None else value_range
        if value_range is None and image.dtype.kind == "f" and low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        unit = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low if high > low else 1.0)
        shown = np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(shown).convert("RGB")
    longest = max(picture.size)
    if longest > size:
        width, height = (max(1, round(side * size / longest)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX if longest > 8 * size else Image.Resampling.BILINEAR)
    return np.array(picture)
