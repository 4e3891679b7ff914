"""Datasets of image files: what they share, and folders with a folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from napari_cam_feedback.data import images
from napari_cam_feedback.data.dataset import Dataset, check_class_names
from napari_cam_feedback.data.splits import stratified_splits
from napari_cam_feedback.errors import DataError, describe

MASKS = "masks"
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class FileDataset(Dataset):
    """Image files under a root folder; an item's key is its path relative to the root.

    The known mask of ``train/3/0001.jpg`` is ``masks/train/3/0001.png`` (or .tif) under the root, or
    ``masks/train/3/0001.jpg.png`` as painted masks are saved.

    Attributes
    ----------
    root : Path
        The folder that the keys are relative to.
    """

    root: Path

    def path(self, index: int) -> Path:
        """Return the path of the image's file."""
        return self.root / self.keys[index]

    def read(self, index: int) -> np.ndarray:
        """Read the image's file; see `images.read_image`."""
        return images.read_image(self.path(index))

    def image_size(self, index: int) -> tuple[int, int]:
        """Return the image's (height, width) from its file's header."""
        return images.image_size(self.path(index))

    def known_mask(self, index: int) -> np.ndarray | None:
        """Read the mask that came with the image; None where there is none or it is empty."""
        if not self.has_known_masks:
            return None
        place = self.root / MASKS / self.keys[index]
        for name in (f"{place.name}.png", *(place.stem + suffix for suffix in (".png", ".tif", ".tiff"))):
            path = place.with_name(name)
            if path.is_file():
                mask = images.read_mask(path, self.image_size(index))
                return mask if mask.any() else None
        return None

    @cached_property
    def _any_mask(self) -> bool:
        return any(
            Path(name).suffix.lower() in images.SUFFIXES for _, _, names in os.walk(self.root / MASKS) for name in names
        )

    @property
    def has_known_masks(self) -> bool:
        """Whether there is any mask in the folder ``masks`` beside the images."""
        return self._any_mask


class FolderDataset(FileDataset):
    """A folder ``train/ val/ test/``, each with a folder per class; or class folders without splits.

    Folders named otherwise are splits too where all folders in them are named like classes (``test-clean``).
    Hidden files, ``masks`` and files that are no images are left out. Classes are the class folders that hold
    an image in any split, sorted by name as torchvision's ImageFolder does. Images straight in a split folder
    that has no class folders have no label.

    Parameters
    ----------
    root : str or Path
        The folder.
    seed : int
        Seeds the split that is made where there is none.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs.

    Raises
    ------
    DataError
        The folder is missing, unreadable, or has no class folders or images.
    """

    def __init__(self, root: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        groups = _scan(self.root)
        names = check_class_names((g.label for g in groups if g.label is not None), class_names, self.root)
        number = {name: i for i, name in enumerate(names)}
        counts = [len(group.names) for group in groups]
        labels = np.repeat(np.array([-1 if g.label is None else number[g.label] for g in groups], np.int64), counts)
        made_split = all(group.split is None for group in groups)
        if made_split:
            splits = stratified_splits(labels, seed)
        else:
            splits = np.repeat(np.array([group.split for group in groups], dtype=str), counts)
        try:
            super().__init__(
                keys=(f"{group.folder}/{name}" for group in groups for name in group.names),
                labels=labels,
                splits=splits,
                class_names=names,
                source=self.root,
                made_split=made_split,
            )
        except UnicodeEncodeError as error:
            bad = error.object.encode("utf-8", "backslashreplace").decode()
            raise DataError(f'The file name "{bad}" in {self.root} is not valid text; rename the file.') from error


class _Group:
    """The images of one class in one split; `folder` is relative to the root, `names` are relative to it."""

    def __init__(self, folder: str, split: str | None, label: str | None, names: list[str]) -> None:
        self.folder, self.split, self.label, self.names = folder, split, label, names


def _scan(root: Path) -> list[_Group]:
    """List the images, ordered by split, class and name."""
    folders = _subfolders(root, root)
    folders = [name for name in folders if name != MASKS]
    children = {name: _subfolders(root / name, root) for name in folders}
    if any(name.lower() in SPLIT_FOLDERS and children[name] for name in folders):
        groups = list(_scan_splits(root, folders, children))
    else:
        groups = [_Group(name, None, name, list(_image_names(root / name, root))) for name in folders]
        # Images only deeper down mean that this is not the folder of the classes, but one above it.
        if not any("/" not in name for group in groups for name in group.names):
            groups = []
    groups = [group for group in groups if group.names]
    if not groups:
        raise DataError(_nothing_found(root, folders, children))
    order = {"train": 0, "val": 1, "test": 2}
    groups.sort(key=lambda g: (order.get(g.split or "", 3), g.split or "", g.label or "", g.folder))
    for group in groups:
        group.names.sort()
    return groups


def _scan_splits(root: Path, folders: list[str], children: dict[str, list[str]]) -> Iterator[_Group]:
    usual = [name for name in folders if name.lower() in SPLIT_FOLDERS]
    classes: set[str] = set()
    for name in usual:
        split = SPLIT_FOLDERS[name.lower()]
        for label in children[name]:
            group = _Group(f"{name}/{label}", split, label, list(_image_names(root / name / label, root)))
            if group.names:
                classes.add(label)
                yield group
        if not children[name]:
            yield _Group(name, split, None, list(_image_names(root / name, root)))
    for name in folders:
        # Other folders are splits only if they look it; beside a dataset there may lie figures, results or
        # old copies.
        if name not in usual and classes.issuperset(children[name]):
            for label in children[name]:
                yield _Group(f"{name}/{label}", name, label, list(_image_names(root / name / label, root)))


def _subfolders(folder: Path, root: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith((".", "__MACOSX")) and e.is_dir())
    except FileNotFoundError:
        raise DataError(f"{root} does not exist; check the path.") from None
    except NotADirectoryError:
        raise DataError(f"{root} is a file, not a folder; name the folder that holds the classes.") from None
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error


def _image_names(folder: Path, root: Path, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the images in a class folder and the folders in it, relative to it."""
    deeper: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                dot = name.rfind(".")
                if dot > 0 and name[dot:].lower() in images.SUFFIXES and entry.is_file():
                    yield prefix + name
                elif entry.is_dir(follow_symlinks=False):
                    deeper.append(name)
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error
    for name in deeper:
        yield from _image_names(folder / name, root, f"{prefix}{name}/")


def _nothing_found(root: Path, folders: list[str], children: dict[str, list[str]]) -> str:
    below = next((name for name in folders if any(c.lower() in SPLIT_FOLDERS for c in children[name])), None)
    if below is not None:
        return f"{root} is the folder above a dataset; open {root / below} instead."
    if not folders:
        return f"{root} has no class folders; put the images of each class into a folder named after the class."
    return (
        f"The folders in {root} hold no images ({', '.join(sorted(images.SUFFIXES))}); "
        "put the images of each class into a folder named after the class."
    )
