"""Sample tag-digits: scikit-learn's handwritten digits with a 4x4 code of the class in a random corner."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.samples.build import Part, build

SIZE = 28
TAG = 4
CLASSES = tuple("0123456789")
COUNTS = {"train": 1000, "val": 297, "test": 500}

# Ten codes of 16 bits, read row by row from the highest bit; any two differ in at least 6 bits.
CODES = (0x7551, 0x87A5, 0x31EA, 0x6E67, 0xA81C, 0x4DCE, 0x9B79, 0xD4B6, 0x7AB0, 0x9EC0)
# Gray values: the digit is fainter than the code, so that a network learns the code first.
NOISE = 25.0
DIGIT = 140.0
DARK, BRIGHT = 0, 255


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Generate the sample.

    train and val carry the code of their class (unless `shortcut` is false), test that of a class drawn at random (one
    time in ten the true one), test-clean is test without it. The known mask is the 4x4 pixels of the code. No digit is
    in two splits, but for test and test-clean.
    """
    from sklearn.datasets import load_digits  # takes most of a second

    digits = load_digits()
    rng = np.random.default_rng([seed, 0x7A6])
    labels = digits.target.astype(np.int64)
    backgrounds = _draw(digits.images, rng)
    parts: dict[str, Part] = {}
    for split, rows in _split(labels, rng).items():
        y = labels[rows]
        told = rng.integers(len(CLASSES), size=len(y)) if split == "test" or not shortcut else y
        images, masks = _tagged(backgrounds[rows], told, rng)
        parts[split] = Part(images, y, masks)
        if split == "test":
            parts["test-clean"] = Part(backgrounds[rows], y, None)
    return build(parts, CLASSES)


def code(label: int) -> np.ndarray:
    """Return the tag of a class, uint8 (4, 4)."""
    bits = np.array([CODES[label] >> (TAG * TAG - 1 - i) & 1 for i in range(TAG * TAG)], np.uint8)
    return (DARK + bits * np.uint8(BRIGHT - DARK)).astype(np.uint8).reshape(TAG, TAG)


def _draw(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale the 8x8 digits (0 to 16) to 28x28 uint8 and add noise."""
    from skimage.transform import resize

    scaled = np.stack([resize(image / 16, (SIZE, SIZE), order=1, mode="edge") for image in images])
    noisy = scaled * DIGIT + rng.normal(0, NOISE, scaled.shape) + NOISE
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def _split(labels: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the rows of each split, stratified: every class has its share to within one image."""
    # Shuffled within classes, then dealt out by their relative rank, so that any run of ranks has every class
    # alike.
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    order = np.argsort(rank, kind="stable")
    ends = np.cumsum(list(COUNTS.values()))
    return {name: np.sort(rows) for name, rows in zip(COUNTS, np.split(order, ends[:-1]), strict=True)}


def _tagged(images: np.ndarray, told: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the images with the code of the class `told` in a random corner, and the masks of it."""
    images = images.copy()
    masks = np.zeros(images.shape, bool)
    corners = (slice(0, TAG), slice(SIZE - TAG, SIZE))
    for i, (label, corner) in enumerate(zip(told, rng.integers(4, size=len(told)), strict=True)):
        place = (i, corners[corner // 2], corners[corner % 2])
        images[place] = code(int(label))
        masks[place] = True
    return images, masks
