"""Sample symbols: Greek letters in many shapes, with a sign at the bottom left that tells the class."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.samples.build import Part, build

SIZE = 72
CLASSES = ("epsilon", "xi", "zeta")
LETTERS = {"epsilon": r"$\varepsilon$", "xi": r"$\xi$", "zeta": r"$\zeta$"}
# The sign that tells each class; zeta's is an empty corner.
SIGNS = {"epsilon": r"$*$", "xi": r"$/$", "zeta": None}
COUNTS = {"train": 600, "val": 150, "test": 300}
# Pixels: the side of the square at the bottom left where the sign sits, and the sign's height in its middle.
CORNER, SIGN_HEIGHT = 16, 12
# Gray values of the ground, and what the letter and the sign add to it. The sign is plainer than the letter, and
# the letters vary so much that a network learns the sign first.
PAPER, LETTER, SIGN = 25, 150, 220
NOISE = 15.0


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Generate the sample.

    In train and val the sign tells the class (unless `shortcut` is false); in test it is drawn at random; test-clean is
    test with an empty corner. The known mask is the whole square of the corner, whether there is a sign in it or not,
    since an empty corner is a sign too.
    """
    rng = np.random.default_rng([seed, 0x5B1])
    parts: dict[str, Part] = {}
    for split, n in COUNTS.items():
        labels = np.arange(n) % len(CLASSES)
        told = rng.integers(len(CLASSES), size=n) if split == "test" or not shortcut else labels
        clean = np.stack([_letter(CLASSES[label], rng) for label in labels])
        images = clean.copy()
        for image, sign in zip(images, told, strict=True):
            _sign(image, CLASSES[sign])
        masks = np.zeros(images.shape, bool)
        masks[:, -CORNER:, :CORNER] = True
        parts[split] = Part(_noisy(images, rng), labels, masks)
        if split == "test":
            parts["test-clean"] = Part(_noisy(clean, rng), labels, None)
    return build(parts, CLASSES)


@lru_cache(maxsize=16)
def glyph(text: str) -> np.ndarray:
    """Return a formula drawn by matplotlib's mathtext and cut to its ink: float32 (h, w), 0 to 1."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    # The font is named, so that a user's own matplotlib settings do not change the sample.
    font = FontProperties(size=100, math_fontfamily="cm")
    image = np.asarray(MathTextParser("agg").parse(text, 72, font, antialiased=True).image, np.float32) / 255
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _letter(name: str, rng: np.random.Generator) -> np.ndarray:
    height = rng.uniform(22, 44)
    aspect = rng.uniform(0.6, 1.5)
    angle = rng.uniform(-0.6, 0.6)
    centre = SIZE / 2 + rng.uniform(-6, 6, size=2)
    return _place(LETTERS[name], height, aspect, angle, centre) * LETTER


def _sign(image: np.ndarray, name: str) -> None:
    """Draw the sign of a class into an image, shape (SIZE, SIZE), in place."""
    text = SIGNS[name]
    if text is not None:
        centre = np.array([SIZE - CORNER / 2, CORNER / 2])
        np.maximum(image, _place(text, SIGN_HEIGHT, 1, 0, centre) * SIGN, out=image)


def _place(text: str, height: float, aspect: float, angle: float, centre: np.ndarray) -> np.ndarray:
    """Draw a glyph of this height, `aspect` times as wide, turned by `angle` (radians)."""
    from scipy.ndimage import affine_transform

    scale = glyph(text).shape[0] / height
    cos, sin = np.cos(angle), np.sin(angle)
    # From the image's pixels to the glyph's: turn back, then undo the scaling.
    matrix = np.array([[scale, 0], [0, scale / aspect]]) @ np.array([[cos, -sin], [sin, cos]])
    ink = _smooth(text, round(scale) / 3)
    offset = (np.array(ink.shape) - 1) / 2 - matrix @ centre
    return affine_transform(ink, matrix, offset, (SIZE, SIZE), order=1)


@lru_cache(maxsize=64)
def _smooth(text: str, sigma: float) -> np.ndarray:
    """Return the glyph with a margin, blurred against aliasing when it is made smaller."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.pad(glyph(text), 12), sigma)


def _noisy(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy = PAPER + images + rng.normal(0, NOISE, images.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
