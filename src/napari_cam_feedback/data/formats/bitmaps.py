"""Datasets of `.npy` files, one for each class, as Quick, Draw! gives its bitmaps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import Dataset, number_classes
from napari_cam_feedback.data.formats.arrays import as_images
from napari_cam_feedback.data.pixels.images import to_supported
from napari_cam_feedback.data.splits import KNOWN_SPLITS, is_usual, split_name, stratified_splits
from napari_cam_feedback.errors import DataError, describe

SUFFIX = ".npy"


class BitmapDataset(Dataset):
    """A folder with a file ``<class>.npy`` for each class; or ``train/ val/ test/`` with such files in each.

    A file holds (N, D) images whose D pixels make a square (Quick, Draw!: uint8, N x 784), (N, H, W), or (N, H, W, C)
    with C = 1, 3 or 4 (alpha is dropped). Files stay on disk and an image is read when asked for. Keys are
    ``<class>/<number, six digits>``, with the split's folder before them where there is one.

    Parameters
    ----------
    root : str or Path
        The folder.
    seed : int
        Seeds the split that is made where there are no split folders.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs; without them the names of the files, sorted.

    Raises
    ------
    DataError
        There is no such file, or one is broken, of another shape, or holds Python objects.
    """

    def __init__(self, root: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        groups = _find(self.root)
        self._files = [path for _, path in groups]
        counts, self._shapes = [], []
        for path in self._files:
            array = _map(path)
            counts.append(len(array))
            self._shapes.append(_images(array, 0, 0, path).shape[1:])
        if not sum(counts):
            raise DataError(f"The {SUFFIX} files in {self.root} hold no images; check how they were made.")
        self._starts = np.cumsum([0, *counts])
        names, number = number_classes((path.stem for path in self._files), class_names, self.root)
        labels = np.repeat(np.array([number[path.stem] for path in self._files], np.int64), counts)
        made_split = all(split is None for split, _ in groups)
        if made_split:
            splits = stratified_splits(labels, seed)
        else:
            splits = np.repeat(np.array([split for split, _ in groups], dtype=str), counts)
        folders = [path.relative_to(self.root).with_suffix("").as_posix() for path in self._files]
        super().__init__(
            keys=(f"{folder}/{i:06d}" for folder, count in zip(folders, counts, strict=True) for i in range(count)),
            labels=labels,
            splits=splits,
            class_names=names,
            source=self.root,
            made_split=made_split,
        )

    def read(self, index: int) -> np.ndarray:
        """Read the image, and nothing of the others, from its class's file."""
        file, row = self._locate(index)
        path = self._files[file]
        # Opened anew each time: a map kept open would end the program if the file were cut meanwhile.
        image = _images(_map(path), row, row + 1, path)
        if image.shape != (1, *self._shapes[file]):
            raise DataError(f"{path} has changed since the dataset was opened; open the dataset again.")
        return to_supported(image[0], self.keys[index]).copy()

    def image_size(self, index: int) -> tuple[int, int]:
        """Return the image's (height, width) in pixels."""
        height, width = self._shapes[self._locate(index)[0]][:2]
        return int(height), int(width)

    def _locate(self, index: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return file, int(index - self._starts[file])


def has_bitmaps(folder: Path) -> bool:
    """Tell whether a folder, or a split folder in it, has `.npy` files."""
    return any(_bitmaps(place) for _, place in _places(folder))


def _places(root: Path) -> list[tuple[str | None, Path]]:
    """Return the folders in which files may lie, with the split each stands for; the root is first."""
    with _listing(root) as entries:
        found = [(split_name(e.name), root / e.name) for e in entries if is_usual(e.name) and e.is_dir()]
    return [(None, root), *sorted(found, key=lambda place: (KNOWN_SPLITS.index(place[0]), place[1]))]


def _bitmaps(folder: Path) -> list[Path]:
    with _listing(folder) as entries:
        return sorted(
            folder / e.name for e in entries if e.name.lower().endswith(SUFFIX) and e.name[0] != "." and e.is_file()
        )


@contextmanager
def _listing(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error


def _find(root: Path) -> list[tuple[str | None, Path]]:
    """Return the files, ordered by split and name, each with its split."""
    (_, _), *places = _places(root)
    whole = _bitmaps(root)
    split = [(name, path) for name, place in places for path in _bitmaps(place)]
    if whole and split:
        raise DataError(
            f"{root} has {whole[0].name} beside the folder {split[0][1].parent.name}, which has {SUFFIX} files too; "
            f"keep either the folders or the files."
        )
    if not whole and not split:
        raise DataError(f"{root} has no {SUFFIX} files; put one for each class into it, named after the class.")
    return split or [(None, path) for path in whole]


def _map(path: Path) -> np.ndarray:
    """Map a file into memory; no pixel is read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; put the file back.") from None
    except OSError as error:
        raise DataError(f"Could not read {path}: {describe(error)}") from error
    except Exception as error:  # a broken header fails in many ways
        if "Python objects" in str(error):
            raise DataError(
                f"{path} holds Python objects, which are not loaded for safety; save it as one array of numbers."
            ) from error
        if "empty" in str(error):  # a file without images cannot be mapped, and need not be
            return np.load(path, allow_pickle=False)
        raise DataError(f"{path} is not an {SUFFIX} file or is broken; save it again with numpy.save.") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} is an .npz file by another name; call it .npz and open it as a file.")
    if array.ndim not in (2, 3, 4) or (array.ndim == 3 and array.shape[-1] in (3, 4)):
        raise DataError(
            f"{path} has the shape {array.shape}, which is not that of many images; save all images of a class together as "
            "(N, H, W) or (N, H, W, 3)."
        )
    return array


def _images(array: np.ndarray, start: int, stop: int, path: Path) -> np.ndarray:
    """Return some of a file's images as (n, H, W) or (n, H, W, 3)."""
    if array.ndim > 2:
        return as_images(array, f"The images in {path}")[start:stop]
    side = math.isqrt(array.shape[1])
    if side * side != array.shape[1]:
        raise DataError(
            f"The images in {path} have {array.shape[1]} pixels each, which make no square; save them as (N, H, W)."
        )
    # Cut before the shape is changed, since that copies an array in Fortran's order.
    some = array[start:stop]
    return as_images(some.reshape(len(some), side, side), f"The images in {path}")
