"""Opening a dataset by its path, whatever its form."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.formats import bitmaps, cifar, stacks
from napari_cam_feedback.data.formats.arrays import open_npz
from napari_cam_feedback.data.formats.export import LABELS_NAME
from napari_cam_feedback.data.formats.folder import FolderDataset
from napari_cam_feedback.data.formats.table import CsvDataset
from napari_cam_feedback.data.pixels.images import SUFFIXES
from napari_cam_feedback.data.splits import KNOWN_SPLITS, is_test
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.files import folded

_FORMS = (
    "a folder, a .csv file or an .npz file, or a TIFF file with several pages; a folder has in it a folder of images for "
    "each class, or an .npy file for each class, or CIFAR's batches"
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def open_dataset(path: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    path : str or Path
        One of

        - a folder with a folder per class, with or without ``train/ val/ test/`` above them (`FolderDataset`);
        - a .csv or .tsv file with the columns ``path``, ``label`` and, if you like, ``split``; or a folder that has
          such a file called ``labels.csv`` (`CsvDataset`);
        - a .tif file with several pages, whose labels are in a .csv file of the same name beside it
          (`StackDataset`); naming that .csv file does as well;
        - an .npz file with ``x_<split>`` and ``y_<split>`` (`arrays.open_npz`);
        - a folder with a file ``<class>.npy`` for each class, as Quick, Draw! gives them, or ``train/ val/ test/``
          with such files (`BitmapDataset`);
        - the folder of CIFAR-10's or CIFAR-100's batches for Python, the folder above it, or one of its files
          (`CifarDataset`).
    seed : int
        Seeds the split that is made where the dataset has none.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs, where that is not the order of their names.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        There is no such dataset, or it has the wrong form; the sentence says how to mend it.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist; check the path.")
    if not path.is_file() and not path.is_dir():
        # A pipe would be waited for without an end.
        raise DataError(f"{path} is neither a file nor a folder, so it is no dataset that can be opened; choose {_FORMS}.")
    dataset = _open(path, seed, class_names)
    if dataset.made_split:
        dataset.split_seed = seed
    classes = [dataset.class_names[k] for k in np.unique(dataset.labels) if k >= 0]
    dataset.notes = (*dataset.notes, *_alike(classes), *_unusual(dataset.split_names))
    return dataset


def _alike(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for classes whose names differ in case or Unicode form only, and are probably one."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(folded(name), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            yield (
                f"The classes {' and '.join(group)} are spelt alike, but for case or Unicode form, and are "
                f"{len(group)} classes; if they are one, give them one name."
            )


def _unusual(splits: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for splits whose names do not tell whether they are for testing."""
    names = [name for name in splits if name not in KNOWN_SPLITS and not is_test(name)]
    if names:
        which = f"splits {', '.join(names)} are" if len(names) > 1 else f"split {names[0]} is"
        yield (
            f"The {which} none of train, val and test, so that painted images there are learnt from; name it test if "
            "nothing of it may be."
        )


def _open(path: Path, seed: int, class_names: Sequence[str] | None) -> Dataset:
    batches = cifar.cifar_folder(path)
    if batches is not None:
        return cifar.CifarDataset(batches, class_names=class_names)
    if path.is_dir():
        if _lists_images(path / LABELS_NAME):
            return CsvDataset(path / LABELS_NAME, seed=seed, class_names=class_names)
        try:
            return FolderDataset(path, seed=seed, class_names=class_names)
        except DataError:
            # Beside folders of images, .npy files may be anything.
            if not bitmaps.has_bitmaps(path):
                raise
        return bitmaps.BitmapDataset(path, seed=seed, class_names=class_names)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        stack = stacks.stack_of(path)
        if stack is not None:
            return stacks.StackDataset(stack, seed=seed, class_names=class_names)
        return CsvDataset(path, seed=seed, class_names=class_names)
    if suffix == ".npz":
        return open_npz(path, seed=seed, class_names=class_names)
    if suffix in stacks.SUFFIXES:
        return stacks.StackDataset(path, seed=seed, class_names=class_names)
    raise DataError(_why_not(path, suffix))


def _lists_images(path: Path) -> bool:
    """Tell whether a folder's ``labels.csv`` is a list of images, and not something else of that name."""
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = {name.strip().lower() for name in next(csv.reader([file.readline(10_000)]), [])}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {"path", "label"} <= header


def _why_not(path: Path, suffix: str) -> str:
    if suffix == bitmaps.SUFFIX:
        return f"{path} is the file of one class; open its folder {path.parent}, which has one for each class."
    if suffix in SUFFIXES:
        return f"{path} is a single image; open the folder that has a folder of images for each class."
    if suffix in _ARCHIVES:
        return f"{path} is an archive; unpack it and open the folder that comes out of it."
    return f"{path} is no dataset that can be opened; choose {_FORMS}."
