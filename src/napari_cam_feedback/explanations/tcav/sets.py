"""What a user means by a concept: images of it in a folder, or places painted on images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.formats.folder import FileDataset, page_key
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.errors import DataError, describe


@dataclass(frozen=True)
class ConceptSet:
    """Images that show a concept, or random ones that show anything.

    Attributes
    ----------
    name : str
        The concept.
    dataset : Dataset
        Where the images are.
    indices : ndarray
        (N,) int64, which of them.
    masks : mapping of str to ndarray, optional
        By key, (H, W) bool: where on each image the concept is. Everything else is then blotted out, in the random images
        too (see `concepts`). Without masks the whole image is the concept.
    """

    name: str
    dataset: Dataset
    indices: np.ndarray
    masks: Mapping[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.indices)


class ImageFolder(FileDataset):
    """All images in a folder and the folders in it, without classes, in the order of their names.

    Each page of a TIFF that has several is an item. Hidden files and files that are no images are left out; nothing outside
    of the folder is read, also where links lead there.

    Raises
    ------
    DataError
        The folder is missing, unreadable, or holds no images.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        keys: list[str] = []
        pages: list[int] = []
        for key in self._files():
            count = self._count(key)
            keys += [key] if count == 1 else [page_key(key, page) for page in range(count)]
            pages += [-1] if count == 1 else range(count)
        if not keys:
            raise DataError(f"{self.root} holds no images ({', '.join(sorted(images.SUFFIXES))}); put some there.")
        if max(pages) >= 0:
            self.pages = np.array(pages, np.int32)
        super().__init__(
            keys=keys,
            labels=np.full(len(keys), -1, np.int64),
            splits=np.full(len(keys), "all"),
            class_names=(),
            source=self.root,
        )

    def _files(self) -> list[str]:
        found = []
        for folder, folders, names in os.walk(_folder(self.root), onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            here = Path(folder).relative_to(self.root)
            found += [(here / n).as_posix() for n in names if _is_image(n)]
        return sorted(found)

    def _count(self, key: str) -> int:
        path = self.root / key
        try:
            return 1 if self._fence.leak(path) else images.count_pages(path)
        except DataError:
            return 1  # to be told of when it is read


def read_concept(folder: str | Path, name: str | None = None) -> ConceptSet:
    """Return all images of a folder as a concept (or as random images) that is called like the folder.

    Raises
    ------
    DataError
        The folder is missing, unreadable, or holds no images.
    """
    dataset = ImageFolder(folder)
    return ConceptSet(name or Path(folder).resolve().name, dataset, dataset.indices())


def read_concepts(folder: str | Path) -> list[ConceptSet]:
    """Return the concepts of a folder that has a folder of images for each, ordered by name.

    Raises
    ------
    DataError
        The folder is missing or unreadable, has no folders, or one of them holds no images.
    """
    root = _folder(Path(folder))
    try:
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"Could not read the folder {root}: {describe(error)}") from error
    if not names:
        raise DataError(f"{root} has no folders; put the images of each concept into a folder named after the concept.")
    return [read_concept(root / name) for name in names]


def painted_concept(name: str, dataset: Dataset, masks: Mapping[str, np.ndarray]) -> ConceptSet:
    """Return what is painted on a dataset's images as a concept.

    Parameters
    ----------
    name : str
        What the painted places show.
    dataset : Dataset
        The images.
    masks : mapping of str to ndarray
        By key, (H, W), non-zero where painted, such as a `MaskStore`; keys that the dataset does not have are left out.

    Raises
    ------
    DataError
        None of the dataset's images is painted.
    """
    indices = [index for index, key in enumerate(dataset.keys) if key in masks]
    if not indices:
        raise DataError(f'Nothing is painted for the concept "{name}"; paint where it is on some images first.')
    return ConceptSet(name, dataset, np.array(indices, np.int64), masks)


def _folder(root: Path) -> Path:
    if not root.exists():
        raise DataError(f"{root} does not exist; check the path.")
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder; name the folder that holds the images.")
    return root


def _raise(error: OSError) -> None:
    raise DataError(f"Could not read the folder {error.filename}: {describe(error)}") from error


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in images.SUFFIXES
