"""Sample crosses: one cross or two, with a bar at the left or the right that tells the class (after Viviano et al. 2021)."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.samples.build import Part, build

SIZE = 32
CLASSES = ("one", "two")
COUNTS = {"train": 500, "val": 150, "test": 400}
# Pixels: the bar's height and width, how far it stands from the image's edge, and the columns on either side that the
# crosses leave free for it.
BAR = (3, 2)
EDGE = 1
STRIP = 5
# Pixels from a cross's middle to the ends of its arms.
ARMS = (2, 3)
# Gray values of the ground, what a cross adds to it, and the bar's: it is the brightest thing, so that a network learns it
# first. Size and brightness of the crosses vary, so that the sum of all pixels does not count them.
GROUND = 40
CROSS = (110, 150)
WHITE = 255
NOISE = 10.0


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Generate the sample.

    In train and val the bar stands at the left where there is one cross and at the right where there are two (without
    `shortcut` at either side by chance); in test the other way round; test-clean is test without the bar. The known
    mask is the bar with a margin of one pixel, as a brush would paint it.
    """
    rng = np.random.default_rng([seed, 0xC05])
    parts: dict[str, Part] = {}
    for split, n in COUNTS.items():
        labels = np.arange(n) % len(CLASSES)
        told = 1 - labels if split == "test" else labels if shortcut else rng.integers(len(CLASSES), size=n)
        clean = np.stack([_noisy(_crosses(int(label) + 1, rng), rng) for label in labels])
        images, masks = clean.copy(), np.zeros(clean.shape, bool)
        for image, mask, side in zip(images, masks, told, strict=True):
            place = bar_place(int(side), int(rng.integers(EDGE, SIZE - BAR[0] - EDGE + 1)))
            image[place] = WHITE
            mask[tuple(slice(part.start - 1, part.stop + 1) for part in place)] = True
        parts[split] = Part(images, labels, masks)
        if split == "test":
            parts["test-clean"] = Part(clean, labels, None)
    return build(parts, CLASSES)


def bar_place(side: int, top: int) -> tuple[slice, slice]:
    """Return rows and columns of the bar at the left (0) or the right (1), from the row `top` on."""
    left = EDGE if side == 0 else SIZE - EDGE - BAR[1]
    return slice(top, top + BAR[0]), slice(left, left + BAR[1])


def _crosses(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw so many crosses apart from each other: float (SIZE, SIZE)."""
    image = np.full((SIZE, SIZE), float(GROUND))
    taken = np.zeros((SIZE, SIZE), bool)
    while count:
        arm = int(rng.integers(ARMS[0], ARMS[1] + 1))
        y = int(rng.integers(arm, SIZE - arm))
        x = int(rng.integers(STRIP + arm, SIZE - STRIP - arm))
        box = slice(y - arm, y + arm + 1), slice(x - arm, x + arm + 1)
        if taken[box].any():
            continue
        # One pixel stays free between two crosses.
        taken[max(y - arm - 1, 0) : y + arm + 2, x - arm - 1 : x + arm + 2] = True
        brightness = rng.uniform(*CROSS)
        image[box[0], x] = image[y, box[1]] = GROUND + brightness
        count -= 1
    return image


def _noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.round(image + rng.normal(0, NOISE, image.shape)), 0, 255).astype(np.uint8)
