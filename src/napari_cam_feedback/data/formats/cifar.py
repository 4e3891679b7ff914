"""CIFAR-10 and CIFAR-100 as their authors give them for Python, read without running what pickles may run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset, number_classes
from napari_cam_feedback.errors import DataError, describe
from napari_cam_feedback.safe_pickle import read_pickle

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_AGAIN = "unpack the archive again"


class _Kind:
    """How one of the two is laid out: its files by split, and where its labels and their names stand."""

    def __init__(self, files: dict[str, str], labels: str, meta: str, names: str) -> None:
        self.files, self.labels, self.meta, self.names = files, labels, meta, names


_KINDS = (
    _Kind(
        {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"},
        labels="labels",
        meta="batches.meta",
        names="label_names",
    ),
    _Kind({"train": "train", "test": "test"}, labels="fine_labels", meta="meta", names="fine_label_names"),
)
BATCH_FILES = frozenset(name for kind in _KINDS for name in (*kind.files, kind.meta))


class CifarDataset(Dataset):
    """The folder ``cifar-10-batches-py`` or ``cifar-100-python``, held in memory (at most 180 MB).

    The splits are the data's own, train and test; there is none for validation, as in any dataset that brings
    only these two (a retune then keeps back a fifth of train). Of CIFAR-100 the fine labels are used. Keys are
    ``<file>/<number, five digits>``: ``data_batch_1/00042``, ``test_batch/00042``; CIFAR-100 ``train/00042``.

    The files are Python pickles, which can hold any program; they are read by `safe_pickle`, which runs nothing.

    Parameters
    ----------
    root : str or Path
        The folder.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs; without them those of the meta file, in its order.

    Raises
    ------
    DataError
        A file is missing, broken, of another form, or asks to run code.
    """

    def __init__(self, root: str | Path, *, class_names: Sequence[str] | None = None) -> None:
        root = Path(root)
        kind = next((kind for kind in _KINDS if _is_of_kind(root, kind)), None)
        if kind is None:
            raise DataError(f"{root} has none of CIFAR's batch files; {_AGAIN}.")
        names, number = _class_names(root / kind.meta, kind, class_names)
        files = [name for name in kind.files if (root / name).is_file()]
        batches = [_read_batch(root / name, kind) for name in files]
        self._images = [images for images, _ in batches]
        counts = [len(images) for images in self._images]
        self._starts = np.cumsum([0, *counts])
        labels = np.concatenate([labels for _, labels in batches])
        if labels.max(initial=-1) >= len(number):
            raise DataError(f"{root} has the label {labels.max()}, but the class names end at {len(number) - 1}; {_AGAIN}.")
        super().__init__(
            keys=(f"{name}/{i:05d}" for name, count in zip(files, counts, strict=True) for i in range(count)),
            labels=number[labels],
            splits=np.repeat(np.array([kind.files[name] for name in files]), counts),
            class_names=names,
            source=root,
        )

    def read(self, index: int) -> np.ndarray:
        """Return a copy of the image, uint8 (32, 32, 3)."""
        batch = int(np.searchsorted(self._starts, index, side="right")) - 1
        planes = self._images[batch][int(index - self._starts[batch])]
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))

    def image_size(self, index: int) -> tuple[int, int]:
        """Return the image's (height, width) in pixels."""
        return _SIDE, _SIDE


def cifar_folder(path: Path) -> Path | None:
    """Return the folder of CIFAR's batches that `path` is, has in it, or lies in; None if there is none.

    Raises
    ------
    DataError
        It has several, or is of the version for other languages.
    """
    if not path.is_dir():
        return path.parent if path.name in BATCH_FILES and _is_cifar(path.parent) else None
    if _is_cifar(path):
        return path
    try:
        with os.scandir(path) as entries:
            # Only folders called as the archives call them: looking into thousands of class folders takes long.
            below = sorted(path / e.name for e in entries if e.name.lower().startswith("cifar") and e.is_dir())
    except OSError as error:
        raise DataError(f"Could not read the folder {path}: {describe(error)}") from error
    for folder in (path, *below):
        if (folder / "data_batch_1.bin").is_file() or (folder / "data_batch_1.mat").is_file():
            raise DataError(f"{folder} is not CIFAR's version for Python; download that one and open its folder.")
    found = [folder for folder in below if _is_cifar(folder)]
    if len(found) > 1:
        raise DataError(f"{path} has several datasets, {' and '.join(p.name for p in found)}; open one of these folders.")
    return found[0] if found else None


def _is_cifar(folder: Path) -> bool:
    return any(_is_of_kind(folder, kind) for kind in _KINDS)


def _is_of_kind(folder: Path, kind: _Kind) -> bool:
    # Names as plain as "train" are CIFAR's only beside its meta file.
    plain = kind.meta == "meta"
    return (not plain or (folder / kind.meta).is_file()) and any((folder / name).is_file() for name in kind.files)


def _class_names(path: Path, kind: _Kind, given: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and for each label of the files its index into them."""
    if not path.is_file():
        if given is None:
            raise DataError(f"{path}, which names the classes, is missing; {_AGAIN}.")
        return tuple(given), np.arange(len(given))
    names = _load(path).get(kind.names)
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise DataError(f"{path} names no classes; {_AGAIN}.")
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names]
    if given is None:
        return tuple(names), np.arange(len(names))
    ordered, number = number_classes(names, given, path.parent)
    return ordered, np.array([number[name] for name in names])


def _read_batch(path: Path, kind: _Kind) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 (N, 3, 32, 32), and the labels, int64 (N,)."""
    content = _load(path)
    data, labels = content.get("data"), content.get(kind.labels)
    if not isinstance(data, np.ndarray) or labels is None:
        raise DataError(f'{path} has no "data" and "{kind.labels}"; {_AGAIN}.')
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS or not data.flags.c_contiguous:
        raise DataError(f"{path} does not hold 8-bit images of {_SIDE}x{_SIDE} pixels in RGB; {_AGAIN}.")
    images = data.reshape(-1, 3, _SIDE, _SIDE)
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(label) is int and 0 <= label < 1000 for label in labels)
    ):
        raise DataError(f"{path} has no label for each of its {len(images)} images; {_AGAIN}.")
    return images, np.array(labels, np.int64)


def _load(path: Path) -> dict[str, Any]:
    """Read one pickle of CIFAR's; its keys become text."""
    broken = f"is none of CIFAR's files or is broken; {_AGAIN}"
    content = read_pickle(path, DataError, broken, "use CIFAR's original files")
    if not isinstance(content, dict):
        raise DataError(f"{path} {broken}.")
    return {str(key): value for key, value in content.items()}
