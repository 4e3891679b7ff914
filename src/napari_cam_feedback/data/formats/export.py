"""Writing arrays, such as layers of a viewer, as a dataset of image files that opens again anywhere."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_cam_feedback.data.formats.file_dataset import MASKS
from napari_cam_feedback.data.pixels.images import to_supported
from napari_cam_feedback.errors import DataError, StorageError, describe
from napari_cam_feedback.files import csv_text

LABELS_NAME = "labels.csv"
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 100


def save_images(
    folder: str | Path,
    images: Sequence[Any] | Any,
    labels: Sequence[str | int | None] | None = None,
    splits: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """Write images as lossless TIFF files and ``labels.csv``, which `open_dataset` opens with the folder.

    Either the whole folder is written or nothing. Images are taken and written one at a time.

    Parameters
    ----------
    folder : str or Path
        The folder to make; its parents are made too.
    images : array or sequence of array
        (H, W) or (H, W, 3 or 4) each; or one array, also a lazy one, of these shapes or with all images along its
        first axis. An array of three axes whose last is 3 or 4 long is one image in colour. uint8, uint16 and
        float32 stay as they are; others are converted by `images.to_supported`. Alpha is dropped.
    labels : sequence of str, int or None, optional
        The class of each image; None, or a number below 0, where it is not known.
    splits : sequence of str, optional
        The split of each image; without it a seeded split is made when the folder is opened.
    names : sequence of str, optional
        Names for the files, by which masks are called later; a slash makes a folder. Characters that file
        systems refuse become ``_``, and a name that is there already gets a number. Without them ``00000`` and so on.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        The arguments do not fit each other, or something is no image.
    StorageError
        The folder exists, or could not be written.
    """
    folder = Path(folder)
    images = _as_sequence(images)
    count = len(images)
    for what, values in (("labels", labels), ("splits", splits), ("names", names)):
        if values is not None and len(values) != count:
            raise DataError(f"There are {count} images but {len(values)} {what}; give one for each image.")
    if not count:
        raise DataError("There are no images to write; give at least one.")
    paths = list(safe_names(names if names is not None else [f"{i:05d}" for i in range(count)]))
    labels = [None] * count if labels is None else labels
    splits = [""] * count if splits is None else splits
    if any(splits) and not all(splits):
        raise DataError("Some images have a split and some do not; give every image one, or none.")
    table = csv_text(("path", "label", "split"), zip(paths, map(_text_of, labels), splits, strict=True))
    if folder.exists() or folder.is_symlink():
        raise StorageError(f"{folder} exists already; choose another folder, so that nothing in it is overwritten.")
    # Not by `tempfile`, whose folders only their owner may open.
    temporary = folder.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        for i, path in enumerate(paths):
            _write(temporary / path, _image(images, i, names[i] if names is not None else f"number {i}"))
        (temporary / LABELS_NAME).write_bytes(table.encode())
        _sync(temporary / LABELS_NAME)
        temporary.rename(folder)
    except OSError as error:
        raise StorageError(f"Could not write {folder}: {describe(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _text_of(label: Any) -> str:
    unknown = label is None or (isinstance(label, int | np.integer) and label < 0)
    return "" if unknown else str(label)


def safe_names(names: Sequence[str]) -> Iterator[str]:
    """Yield a relative path ending in .tif for each name: allowed on every system, and each only once."""
    used: set[str] = set()
    for name in names:
        *parents, last = [part for part in str(name).replace("\\", "/").split("/") if part.strip(" .")] or ["image"]
        stem = re.sub(r"\.tiff?$", "", last, flags=re.IGNORECASE)
        # Folders have no dot, so that none is called like a file.
        path = "/".join([*(_safe(part).replace(".", "_") for part in parents), _safe(stem)])
        if path.split("/")[0].lower() == MASKS:
            path = f"_{path}"
        free, number = path, 1
        while free.casefold() in used:
            number += 1
            free = f"{path}-{number}"
        used.add(free.casefold())
        yield f"{free}.tif"


def _safe(part: str) -> str:
    part = re.sub(r'[<>:"|?*\x00-\x1f\x7f\ud800-\udfff]', "_", unicodedata.normalize("NFC", part))
    # Names that begin with a dot are hidden, and Windows drops dots and spaces at the end.
    part = part.encode()[:_LONGEST].decode(errors="ignore").strip(" .") or "image"
    return f"_{part}" if _RESERVED.fullmatch(part) else part


def _as_sequence(images: Any) -> Any:
    dimensions = getattr(images, "ndim", None)
    if dimensions == 2 or (dimensions == 3 and images.shape[-1] in (3, 4)):
        return [images]
    return images


def _image(images: Any, index: int, name: str) -> np.ndarray:
    try:
        array = np.asarray(images[index])
    except OSError as error:
        raise DataError(f"The image {name} cannot be read: {describe(error)}") from error
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4):
        array = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    elif array.ndim != 2:
        raise DataError(f"The image {name} has the shape {array.shape}; it must be (H, W) or (H, W, 3).")
    if not array.size:
        raise DataError(f"The image {name} has no pixels; leave it out.")
    return to_supported(array, f"The image {name}")


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack", metadata=None)
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
