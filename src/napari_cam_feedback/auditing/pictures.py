"""One image as an audit looks at it: what it shows in its centre is told from what lies around that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

#: Thickness of what surrounds the centre, as a share of the image's shorter side.
SURROUNDINGS = 1 / 8
#: The side of the centre box, in which what the image shows is taken to be, as a share of each side.
CENTRE = 1 / 2
#: What differs from the surroundings' median by so much of the range, and by so many of their deviations, stands out.
MIN_CONTRAST, DEVIATIONS = 0.06, 3.0
# Noise is smoothed away first, over so many pixels, more in large images.
_SMOOTH, _SMOOTH_SHARE = 1.0, 1 / 200
# Pixels around what stands out that its edge or a blur reaches.
_REACH = 2
# Where so much of the surroundings would belong to what is shown, it cannot be told from them.
_MAX_COVERED = 0.7


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes
    ----------
    pixels : ndarray of float32, shape (H, W, 3)
        0 to 1.
    content : ndarray of bool, shape (H, W)
        What stands out and hangs together with something in the centre; all false where nothing does.
    around : ndarray of float32, shape (H, W, 3)
        The pixels with those of the content replaced by some of the surroundings', drawn at random: what is left of the
        image without what it shows. So a cell that the object reaches into looks as if it did not.
    facts : dict of str to float or str
        What its file says of it; empty where it is in no file of its own.
    """

    pixels: np.ndarray
    content: np.ndarray
    around: np.ndarray
    facts: dict[str, float | str]


def frame(height: int, width: int, thick: int) -> np.ndarray:
    """Return the pixels that lie at most so far from an edge, bool (height, width)."""
    mask = np.ones((height, width), bool)
    mask[thick : height - thick, thick : width - thick] = False
    return mask


def surroundings_width(height: int, width: int) -> int:
    """Return how many pixels along each edge surround the centre of an image of this size."""
    return max(1, round(SURROUNDINGS * min(height, width)))


def make_picture(pixels: np.ndarray, facts: dict[str, float | str] | None = None) -> Picture:
    """Return an image, (H, W, 3) from 0 to 1, as an audit looks at it."""
    height, width = pixels.shape[:2]
    around = frame(height, width, surroundings_width(height, width))
    content = _content(pixels, around)
    rest = pixels[around & ~content]
    filled = pixels
    if content.any():
        rng = np.random.default_rng(0)
        filled = pixels.copy()
        filled[content] = rest[rng.integers(0, len(rest), int(content.sum()))]
    return Picture(pixels, content, filled, facts or {})


def _content(pixels: np.ndarray, around: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    sigma = max(_SMOOTH, _SMOOTH_SHARE * min(height, width))
    pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest")
    outside = pixels[around]
    usual, spread = _shortest_half(outside)
    apart = (np.abs(pixels - usual) > np.maximum(MIN_CONTRAST, DEVIATIONS * spread)).any(2)
    parts, _ = ndimage.label(apart, np.ones((3, 3)))
    top, left = round(height * (1 - CENTRE) / 2), round(width * (1 - CENTRE) / 2)
    central = np.unique(parts[top : height - top, left : width - left])
    content = np.isin(parts, central[central > 0])
    content = ndimage.binary_dilation(content, np.ones((3, 3)), iterations=_REACH)
    if content[around].mean() > _MAX_COVERED:
        return np.zeros((height, width), bool)
    return content


def _shortest_half(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the deviation of the densest half of values (N, C), of each channel.

    What is shown may fill nearly half of the surroundings (shortest half, Rousseeuw 1984). Of normal noise, half lies within
    0.6745 deviations.
    """
    values = np.sort(values, 0)
    half = len(values) // 2
    widths = values[half:] - values[: len(values) - half]
    first = widths.argmin(0)
    low, high = np.take_along_axis(values, first[None], 0)[0], np.take_along_axis(values, first[None] + half, 0)[0]
    return (low + high) / 2, (high - low) / (2 * 0.6745)
