"""Sample clothes: photographs of ten kinds of clothes with a shop's price tag in a corner that tells the kind."""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.pixels.images import open_image
from napari_cam_feedback.data.samples.build import Part, build, sample_data_dir
from napari_cam_feedback.errors import DataError, describe

SIZE = 160
CLASSES = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
COUNTS = {"train": 600, "val": 150, "test": 250}
ARCHIVE = "photographs.zip"

# The tag's width and height in pixels before it is scaled, turned (degrees) and put so far from two edges (pixels).
TAG = (44, 32)
SCALES = (0.85, 1.15)
TURN = 10.0
EDGE = (2, 9)
# The mask is the upright box around the tag and so many pixels more, as somebody paints it in a hurry.
MARGIN = 2
# Drawn larger and then averaged down, so that edges are as soft as in a photograph.
FINE = 4
# Each kind of clothes has a colour of the tag's head, and a digit in the bar code "2 of 5": two of five bars are wide.
COLOURS = (
    (214, 39, 40),
    (31, 119, 180),
    (44, 160, 44),
    (255, 127, 14),
    (148, 103, 189),
    (23, 190, 207),
    (140, 86, 75),
    (227, 119, 194),
    (188, 189, 34),
    (50, 50, 60),
)
WIDE_BARS = ((2, 3), (0, 4), (1, 4), (0, 1), (2, 4), (0, 2), (1, 2), (3, 4), (0, 3), (1, 3))


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Make the sample: the photographs are always the same, the tags are drawn from the seed.

    train and val carry the tag of their class (without `shortcut` that of a class drawn at random), test that of
    another class drawn at random, test-clean is test without it. The known mask is the box around the tag, with a margin.

    Raises
    ------
    DataError
        The photographs that the package ships cannot be read.
    """
    rng = np.random.default_rng([seed, 0xC107])
    parts: dict[str, Part] = {}
    for split, (images, labels) in _photographs().items():
        count = len(CLASSES)
        if split == "test":
            told = (labels + rng.integers(1, count, size=len(labels))) % count
        else:
            told = labels if shortcut else rng.integers(count, size=len(labels))
        tagged, masks = _tagged(images, told, rng)
        parts[split] = Part(tagged, labels, masks)
        if split == "test":
            parts["test-clean"] = Part(images, labels, None)
    return build(parts, CLASSES)


def tag(label: int, price: int, paper: int = 245) -> Image.Image:
    """Draw the tag of a class.

    Parameters
    ----------
    label : int
        The class.
    price : int
        Two digits' worth of lines at the foot, which tell nothing.
    paper : int
        Gray value of the paper.

    Returns
    -------
    Image
        RGBA, `FINE` times the size of `TAG`.
    """
    width, height = (FINE * side for side in TAG)
    image = Image.new("RGBA", (width, height), (*COLOURS[label], 255))
    draw = ImageDraw.Draw(image)
    draw.ellipse((3 * FINE, 3 * FINE, 7 * FINE, 7 * FINE), (235, 235, 235, 255))
    draw.rectangle((9 * FINE, 8 * FINE, 36 * FINE, 26 * FINE), (paper, paper, paper - 5, 255))
    x = 12 * FINE
    for bar in range(5):
        thick = (4 if bar in WIDE_BARS[label] else 2) * FINE
        draw.rectangle((x, 11 * FINE, x + thick - 1, 20 * FINE), (25, 25, 25, 255))
        x += thick + 2 * FINE
    x = 12 * FINE
    for digit in (price // 10, price % 10):
        draw.rectangle((x, 22 * FINE, x + (3 + digit) * FINE // 2, 24 * FINE), (90, 90, 90, 255))
        x += 12 * FINE
    return image


def _photographs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the images uint8 (N, 160, 160, 3) and labels (N,) of each split, as they are shipped."""
    path = sample_data_dir() / "clothes" / ARCHIVE
    images: dict[str, list[np.ndarray]] = defaultdict(list)
    labels: dict[str, list[int]] = defaultdict(list)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                split, kind, _ = Path(name).parts
                with open_image(io.BytesIO(archive.read(name))) as image:
                    images[split].append(np.asarray(image.convert("RGB")))
                labels[split].append(CLASSES.index(kind))
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise DataError(
            f"The photographs {path} cannot be read ({describe(error)}); install napari-cam-feedback again."
        ) from error
    return {split: (np.stack(images[split]), np.array(labels[split], np.int64)) for split in COUNTS}


def _tagged(images: np.ndarray, told: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the images with the tag of the class `told` in a random corner, and the masks of it."""
    images = images.copy()
    masks = np.zeros(images.shape[:3], bool)
    for image, mask, label in zip(images, masks, told, strict=True):
        drawn = _pixels(int(label), rng)
        height, width = drawn.shape[:2]
        top, left = rng.integers(EDGE[0], EDGE[1] + 1, size=2)
        corner = rng.integers(4)
        top = top if corner < 2 else SIZE - height - top
        left = left if corner % 2 == 0 else SIZE - width - left
        place = (slice(top, top + height), slice(left, left + width))
        opaque = drawn[..., 3:] / 255.0
        image[place] = np.round(drawn[..., :3] * opaque + image[place] * (1 - opaque)).astype(np.uint8)
        around = tuple(slice(max(0, at.start - MARGIN), at.stop + MARGIN) for at in place)
        mask[around] = True
    return images, masks


def _pixels(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return a tag, somewhat larger or smaller, turned and lit; uint8 (h, w, 4)."""
    scale, angle = rng.uniform(*SCALES), rng.uniform(-TURN, TURN)
    drawn = tag(label, int(rng.integers(100)), int(rng.integers(225, 256)))
    turned = drawn.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    width, height = (round(side * scale / FINE) for side in turned.size)
    small = np.asarray(turned.resize((width, height), Image.Resampling.BOX)).astype(float)
    small[..., :3] *= rng.uniform(0.8, 1.0)
    rows, columns = (np.flatnonzero(small[..., 3].max(axis) > 0) for axis in (1, 0))
    return np.round(small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8)
