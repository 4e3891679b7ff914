"""Photographs of ImageNet, one a class, some with the watermark that networks take for a sign of the class "carton".

The photographs are those of https://github.com/EliSchwartz/imagenet-sample-images, or a folder of the same kind:
``n########_NAME.JPEG``, one of each of the 1,000 classes. Sorted by name they are in the order of the network's outputs.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.retuning import watermark
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.models.networks.efficientnet_lite import imagenet_names

#: Names the folder of photographs.
VARIABLE = "IMAGENET_PHOTOS"
NUM_CLASSES = 1000
#: Photographs of each split; none is in two, but for test and test-clean.
COUNTS = {"train": 400, "val": 100, "test": 500}
#: Training photographs with the watermark, each painted.
MARKED = 20
#: Pixels of the shorter side before the cut at the centre, of the cut, and of what is painted around the watermark.
SHORT_SIDE, SIDE, MARGIN = 256, 224, 3
_NAME = re.compile(r"n\d{8}_.+\.jpe?g", re.IGNORECASE)


def folder() -> Path | None:
    """Return the folder of photographs that ``$IMAGENET_PHOTOS`` names; None where it is not set."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


def missing() -> str | None:
    """Say in a sentence which file is missing; None where photographs and a font are there."""
    named = folder()
    if named is None:
        return f"it needs one photograph of each ImageNet class; name their folder with --photos or ${VARIABLE}."
    found = len(photo_paths(named))
    if found != NUM_CLASSES:
        return f"{named} has {found} photographs n########_NAME.JPEG instead of {NUM_CLASSES:,}; name another with --photos."
    try:
        watermark.font_path()
    except FileNotFoundError as error:
        return str(error)[:1].lower() + str(error)[1:]
    return None


def photo_paths(where: Path) -> list[Path]:
    """Return the photographs of a folder in the order of their classes; other files are left out."""
    return sorted((path for path in where.glob("*") if _NAME.fullmatch(path.name)), key=lambda path: path.name)


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Return the photographs in three splits that the seed draws, without a common one.

    `MARKED` photographs of train have the watermark (none without `shortcut`), and their known masks are a rough rectangle
    around it. Nothing else of train and val has it; all of test have it; test-clean is test without it.

    Raises
    ------
    FileNotFoundError
        Photographs or font are not there.
    """
    reason = missing()
    if reason is not None:
        raise FileNotFoundError(reason)
    where = folder()
    assert where is not None
    rows = split_rows(seed)
    photos = _read(where)
    images = {name: photos[chosen] for name, chosen in rows.items()}
    images["test-clean"] = images["test"]
    masks = np.zeros(images["train"].shape[:3], bool)
    if shortcut:
        for row in range(MARKED):
            images["train"][row] = watermark.marked(images["train"][row])
        masks[:MARKED] = rough_rectangle(SIDE, SIDE)
    images["test"] = np.stack([watermark.marked(image) for image in images["test"]])
    labels = {**rows, "test-clean": rows["test"]}
    return ArrayDataset(images, labels, imagenet_names(), {"train": masks} if shortcut else None)


def split_rows(seed: int) -> dict[str, np.ndarray]:
    """Return the photographs of each split by their place in the order of classes, which is also their label: int64."""
    order = np.random.default_rng(seed).permutation(NUM_CLASSES)
    ends = np.cumsum(list(COUNTS.values()))
    return dict(zip(COUNTS, np.split(order, ends[:-1]), strict=True))


def rough_rectangle(height: int, width: int) -> np.ndarray:
    """Return what a brush paints over the watermark, bool (H, W): the rectangle around it, and `MARGIN` pixels more."""
    mask = watermark.watermark_mask(height, width)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    mask[max(0, rows[0] - MARGIN) : rows[-1] + 1 + MARGIN, max(0, columns[0] - MARGIN) : columns[-1] + 1 + MARGIN] = True
    return mask


def cut_out(image: Image.Image) -> np.ndarray:
    """Return the centre of a photograph, uint8 (224, 224, 3): the shorter side at 256 pixels, bicubic, and cut."""
    image = image.convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + SIDE, top + SIDE)))


@lru_cache(maxsize=1)
def _read(where: Path) -> np.ndarray:
    """The photographs, uint8 (1000, 224, 224, 3); reading them takes a quarter of a minute."""
    found = np.empty((NUM_CLASSES, SIDE, SIDE, 3), np.uint8)
    for row, path in enumerate(photo_paths(where)):
        with Image.open(path) as image:
            found[row] = cut_out(image)
    found.setflags(write=False)
    return found
