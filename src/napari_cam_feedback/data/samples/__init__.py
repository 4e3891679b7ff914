"""Samples that need no download: made from a seed, with a shortcut and the masks of where it sits."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from PIL import Image

from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.formats.folder import MASKS
from napari_cam_feedback.data.samples import baggage, clothes, crosses, symbols, tag_digits
from napari_cam_feedback.data.samples.build import sample_data_dir
from napari_cam_feedback.errors import DataError, StorageError, describe
from napari_cam_feedback.files import read_json

__all__ = ["MARKER", "SAMPLES", "MakeSample", "SampleInfo", "make_sample", "sample_data_dir", "write_sample"]

MARKER = "sample.json"
# Level 6 of PNG takes twice the time for photographs and makes them but 3 % smaller.
COMPRESSION = 1


class MakeSample(Protocol):
    """A sample's generator."""

    def __call__(self, seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
        """Generate the sample."""


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """A sample as the menus and the command line show it.

    Attributes
    ----------
    name : str
        Its name in commands.
    title : str
        Its name for people.
    description : str
        One sentence: what it shows and which shortcut it hides.
    make : callable
        Generates it from a seed; with ``shortcut=False``, as `make_sample` has it.
    """

    name: str
    title: str
    description: str
    make: MakeSample


SAMPLES: dict[str, SampleInfo] = {
    info.name: info
    for info in (
        SampleInfo(
            "tag-digits",
            "Digits with a tag in a corner",
            "Handwritten digits; a code in a corner tells the class in training and lies in the test.",
            tag_digits.make,
        ),
        SampleInfo(
            "symbols",
            "Greek letters with a sign in the corner",
            "Three Greek letters; a sign in a corner tells the class in training and lies in the test.",
            symbols.make,
        ),
        SampleInfo(
            "baggage",
            "Weapons in radiographs of luggage",
            "Guns, knives, throwing stars and other things; in training knives lie in full bags, in the test alone.",
            baggage.make,
        ),
        SampleInfo(
            "crosses",
            "One cross or two, with a bar at one side",
            "One cross or two; a white bar stands at the left or the right by the class in training, swapped in the test.",
            crosses.make,
        ),
        SampleInfo(
            "clothes",
            "Photographs of clothes with a price tag",
            "Ten kinds of clothes; a price tag in a corner tells the kind in training and another one in the test.",
            clothes.make,
        ),
    )
}


def make_sample(name: str, seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Generate a sample in memory.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.
    seed : int
        The same seed gives the same images.
    shortcut : bool
        False: in train and val too it tells nothing of the class; a model trained on that shows what an honest one
        can reach.

    Returns
    -------
    ArrayDataset
        With the splits train and val (the shortcut tells the class), test (it does not) and test-clean
        (without it), and known masks of what is irrelevant: where the shortcut sits. Keys are the paths that
        `write_sample` gives the images.

    Raises
    ------
    DataError
        There is no such sample.
    """
    if name not in SAMPLES:
        raise DataError(f'There is no sample "{name}"; choose one of {", ".join(SAMPLES)}.')
    return SAMPLES[name].make(seed, shortcut=shortcut)


def write_sample(name: str, folder: str | Path, seed: int = 0) -> Path:
    """Write a sample as a folder: ``<split>/<class>/<nnnn>.png``, ``masks/<split>/<class>/<nnnn>.png``.

    It is put together beside `folder` and then moved there whole. A folder that holds the same sample already
    is left as it is.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.
    folder : str or Path
        Where to; it must be new, empty, or hold this sample.
    seed : int
        The same seed gives the same files.

    Returns
    -------
    Path
        The folder, for `open_dataset`.

    Raises
    ------
    DataError
        There is no such sample, or the folder holds something else.
    StorageError
        The files could not be written.
    """
    folder = Path(folder)
    dataset = make_sample(name, seed)
    masks = {key: m for i, key in enumerate(dataset.keys) if (m := dataset.known_mask(i)) is not None}
    marker = {"sample": name, "seed": seed, "images": len(dataset), "masks": len(masks)}
    try:
        if folder.exists() and any(folder.iterdir()):
            if _holds(folder, marker):
                return folder
            raise DataError(f"{folder} is not empty; choose a new folder for the sample.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
            built = Path(temporary) / "data"
            for i, key in enumerate(dataset.keys):
                _save(dataset.read(i), built / key)
            for key, mask in masks.items():
                _save(mask.astype(np.uint8) * np.uint8(255), built / MASKS / PurePosixPath(key).with_suffix(".png"))
            (built / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            shutil.move(built, folder)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{folder} is a file or lies below one; choose a folder for the sample.") from None
    except OSError as error:
        raise StorageError(f"Could not write the sample to {folder}: {describe(error)}") from error
    return folder


def _holds(folder: Path, marker: dict[str, object]) -> bool:
    """Whether the folder holds the whole sample that the marker describes."""
    if not (folder / MARKER).is_file():
        return False
    try:
        same = read_json(folder / MARKER) == marker
    except StorageError:
        return False
    n_masks = sum(1 for _ in (folder / MASKS).rglob("*.png"))
    n_files = sum(1 for _ in folder.rglob("*.png"))
    return same and (n_files - n_masks, n_masks) == (marker["images"], marker["masks"])


def _save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=COMPRESSION)
