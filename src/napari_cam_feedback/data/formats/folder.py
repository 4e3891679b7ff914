"""Datasets that are a folder with a folder per class, with or without splits above them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import number_classes
from napari_cam_feedback.data.formats.file_dataset import MASKS, FileDataset, page_key
from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.data.splits import stratified_splits
from napari_cam_feedback.errors import DataError, describe

_TIFF = (".tif", ".tiff")
# How many TIFFs are opened to see whether they have several pages: each takes about a millisecond.
_COUNT_ALL = 2000
_SAMPLE = 200
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class FolderDataset(FileDataset):
    """A folder ``train/ val/ test/``, each with a folder per class; or class folders without splits.

    Folders named otherwise are splits too where all folders in them are named like classes (``test-clean``).
    Hidden files, ``masks`` and files that are no images are left out. Classes are the class folders that hold
    an image in any split, sorted by name as torchvision's ImageFolder does. Images straight in a split folder
    that has no class folders have no label. Each page of a TIFF that has several is an item; among more than
    2,000 TIFFs that is found out only if it is so in some of a sample.

    Parameters
    ----------
    root : str or Path
        The folder.
    seed : int
        Seeds the split that is made where there is none; where a class has three files or more, the pages of a
        file stay together.
    class_names : sequence of str, optional
        The classes in the order of the model's outputs. Class folders that are all called by whole numbers
        (``0``, ``1``, ``02``), while none of the names is, count as indices into the names.

    Raises
    ------
    DataError
        The folder is missing, unreadable, or has no class folders or images; or a class or split folder is a
        link that leads out of it.
    """

    def __init__(self, root: str | Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        groups = _scan(self.root, self._fence)
        names, number = number_classes((g.label for g in groups if g.label is not None), class_names, self.root)
        pages = _find_pages(self.root, groups, self._fence)
        counts = [sum(pages.get(f"{g.folder}/{name}", 1) for name in g.names) if pages else len(g.names) for g in groups]
        labels = np.repeat(np.array([-1 if g.label is None else number[g.label] for g in groups], np.int64), counts)
        files = None
        if pages:
            per_file = [pages.get(name, 0) for name in _file_keys(groups)]
            self.pages = np.concatenate([np.arange(n, dtype=np.int32) if n else np.array([-1], np.int32) for n in per_file])
            self.pages.setflags(write=False)
            files = np.repeat(np.arange(len(per_file)), np.maximum(1, per_file))
        made_split = all(group.split is None for group in groups)
        if made_split:
            splits = stratified_splits(labels, seed, files=files)
        else:
            splits = np.repeat(np.array([group.split for group in groups], dtype=str), counts)
        try:
            super().__init__(
                keys=_item_keys(groups, pages),
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


def _file_keys(groups: list[_Group]) -> Iterator[str]:
    return (f"{group.folder}/{name}" for group in groups for name in group.names)


def _item_keys(groups: list[_Group], pages: dict[str, int]) -> Iterator[str]:
    for key in _file_keys(groups):
        if key in pages:
            yield from (page_key(key, page) for page in range(pages[key]))
        else:
            yield key


def _find_pages(root: Path, groups: list[_Group], fence: Fence) -> dict[str, int]:
    """Return the number of pages of those TIFFs that have several, by the file's key."""
    tiffs = [key for key in _file_keys(groups) if key.lower().endswith(_TIFF)]

    def count(key: str) -> int:
        path = root / key
        try:
            return 1 if fence.leak(path) else images.count_pages(path)
        except DataError:
            return 1  # to be told of when it is read

    if len(tiffs) > _COUNT_ALL:
        sample = [tiffs[i * len(tiffs) // _SAMPLE] for i in range(_SAMPLE)]
        if all(count(key) == 1 for key in sample):
            return {}
    return {key: pages for key in tiffs if (pages := count(key)) > 1}


def _scan(root: Path, fence: Fence) -> list[_Group]:
    """List the images, ordered by split, class and name."""
    folders = _subfolders(root, root, fence)
    folders = [name for name in folders if name != MASKS]
    children = {name: _subfolders(root / name, root, fence) for name in folders}
    if any(name.lower() in SPLIT_FOLDERS and children[name] for name in folders):
        groups = list(_scan_splits(root, folders, children, fence))
    else:
        groups = [_Group(name, None, name, _images_in(name, root, fence)) for name in folders]
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


def _scan_splits(root: Path, folders: list[str], children: dict[str, list[str]], fence: Fence) -> Iterator[_Group]:
    usual = [name for name in folders if name.lower() in SPLIT_FOLDERS]
    classes: set[str] = set()
    for name in usual:
        split = SPLIT_FOLDERS[name.lower()]
        for label in children[name]:
            group = _Group(f"{name}/{label}", split, label, _images_in(f"{name}/{label}", root, fence))
            if group.names:
                classes.add(label)
                yield group
        if not children[name]:
            yield _Group(name, split, None, _images_in(name, root, fence))
    for name in folders:
        # Other folders are splits only if they look it; beside a dataset there may lie figures, results or
        # old copies.
        if name not in usual and classes.issuperset(children[name]):
            for label in children[name]:
                yield _Group(f"{name}/{label}", name, label, _images_in(f"{name}/{label}", root, fence))


def _subfolders(folder: Path, root: Path, fence: Fence) -> list[str]:
    if fence.leak(folder) is not None:
        return []  # an error only if its images would be the dataset's, see `_images_in`
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith((".", "__MACOSX")) and e.is_dir())
    except FileNotFoundError:
        raise DataError(f"{root} does not exist; check the path.") from None
    except NotADirectoryError:
        raise DataError(f"{root} is a file, not a folder; name the folder that holds the classes.") from None
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error


def _images_in(folder: str, root: Path, fence: Fence) -> list[str]:
    """Return the paths of the images in a class or split folder, relative to it; refuse a link out of the root."""
    leak = fence.leak(root / folder)
    if leak is not None:
        raise DataError(leak)
    return list(_image_names(root / folder, root))


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
