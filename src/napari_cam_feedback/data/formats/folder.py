"""Datasets that are a folder with a folder per class, with or without splits above them."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import number_classes
from napari_cam_feedback.data.formats.file_dataset import MASKS, FileDataset, page_key
from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.data.patients import numbered, patient_notes, usual_labels
from napari_cam_feedback.data.pixels import images
from napari_cam_feedback.data.splits import is_usual, split_name, stratified_splits
from napari_cam_feedback.errors import DataError, describe

_TIFF = (".tif", ".tiff")
# How many TIFFs are opened to see whether they have several pages: each takes about a millisecond.
_COUNT_ALL = 2000
_SAMPLE = 200
# How many are looked at to see whether they have channels that are not read.
_LOOKED_AT = 5
# What lies beside images and is meant to be none: labels, notes, and what systems and programs leave behind.
_NO_IMAGES = {
    ".txt", ".md", ".rst", ".json", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini", ".db", ".log", ".html", ".htm",
    ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".py", ".ipynb", ".sh", ".lnk", ".bak", ".tmp", ".part", ".lock",
    ".safetensors", ".pt", ".pth", ".pkl",
}  # fmt: skip
_MOST_NAMES = 5
# Of archives of macOS, Synology's and QNAP's stores, Windows, Linux and Python.
_OF_SYSTEMS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__")
)


class FolderDataset(FileDataset):
    """A folder ``train/ val/ test/``, each with a folder per class; or class folders without splits.

    Folders named otherwise are splits too where all folders in them are named like classes (``test-clean``).
    Hidden files, the known masks in ``masks`` and files that are no images are left out; what a user might miss is said
    in `notes`. Classes are the class folders that hold an image in any split, sorted by name as torchvision's ImageFolder
    does; their images may lie in folders of their own (one a patient), which a split that is made keeps together where all
    do. Images straight in a split folder that has no class folders have no label. A folder ``masks`` that has images and no
    folders, beside class folders without splits, is a class. Each page of a TIFF that has several is an item; among more
    than 2,000 TIFFs that is found out only if it is so in some of a sample.

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
        scan = _Scan(self.root, self._fence)
        groups = scan.groups
        self._masks_are_a_class = any(group.folder == MASKS for group in groups)
        names, number = number_classes((g.label for g in groups if g.label is not None), class_names, self.root)
        pages = _find_pages(self.root, groups, self._fence)
        counts = [sum(_pages_of(group, pages)) for group in groups]
        labels = np.repeat(np.array([-1 if g.label is None else number[g.label] for g in groups], np.int64), counts)
        files = None
        if pages:
            per_file = [pages.get(name, 0) for name in _file_keys(groups)]
            self.pages = np.concatenate([np.arange(n, dtype=np.int32) if n else np.array([-1], np.int32) for n in per_file])
            self.pages.setflags(write=False)
            files = np.repeat(np.arange(len(per_file)), np.maximum(1, per_file))
        folders, folder_of = _folders_in_classes(groups)
        patients = np.repeat(folder_of, [n for group in groups for n in _pages_of(group, pages)])
        made_split = all(group.split is None for group in groups)
        if made_split and scan.deeper:
            splits = stratified_splits(usual_labels(labels, patients), seed, files=numbered(patients))
        elif made_split:
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
        self.notes = (*scan.notes(), *images.channel_notes(self.path(i) for i in self._some_tiffs(groups)))
        self.notes += tuple(patient_notes(self.splits, patients, folders, "of one folder within a class"))

    @property
    def has_known_masks(self) -> bool:
        """Whether there is any mask in the folder ``masks`` beside the images."""
        return not self._masks_are_a_class and super().has_known_masks

    def _some_tiffs(self, groups: list[_Group]) -> list[int]:
        """Return the indices of a few TIFFs."""
        if not any(name.lower().endswith(_TIFF) for group in groups for name in group.names[:1]):
            return []
        few = np.unique(np.linspace(0, len(self) - 1, min(_LOOKED_AT, len(self))).astype(int)).tolist()
        return [index for index in few if self._file_key(index).lower().endswith(_TIFF)]


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


def _pages_of(group: _Group, pages: dict[str, int]) -> list[int]:
    """Return how many items each file of a group is."""
    return [pages.get(f"{group.folder}/{name}", 1) for name in group.names] if pages else [1] * len(group.names)


def _folders_in_classes(groups: list[_Group]) -> tuple[list[str], np.ndarray]:
    """Return the names of the folders within those of the classes, one a patient, and which each image is in.

    The latter is int64 (N,), -1 for an image in none and where a class has but one such folder, which is no patient.
    """
    numbers: dict[str, int] = {}
    inner = [[name.partition("/")[0] if "/" in name else "" for name in group.names] for group in groups]
    several: dict[str | None, set[str]] = {}
    for group, found in zip(groups, inner, strict=True):
        several.setdefault(group.label, set()).update(found)
    of = [
        numbers.setdefault(name, len(numbers)) if name and len(several[group.label]) > 1 else -1
        for group, found in zip(groups, inner, strict=True)
        for name in found
    ]
    return list(numbers), np.array(of, np.int64)


class _Scan:
    """The images of a folder, and what was left out of it.

    Attributes
    ----------
    groups : list of _Group
        Ordered by split, class and name; none is empty.
    deeper : bool
        Whether the images of all classes lie in folders of their own.
    """

    def __init__(self, root: Path, fence: Fence) -> None:
        self._root, self._fence = root, fence
        self.deeper = False
        #: By class: files that are not read, by ending; of classes without a single image too.
        self._unread: dict[str, Counter[str]] = {}
        #: Folders that are no splits, and why.
        self._ignored: list[str] = []
        self._masks_are_a_class = False
        folders = _subfolders(root, root, fence)
        children = {name: _subfolders(root / name, root, fence) for name in folders}
        has_splits = any(is_usual(name) and children[name] for name in folders if name != MASKS)
        self._masks_are_a_class = not has_splits and MASKS in folders and not children[MASKS] and self._has_images(MASKS)
        if not self._masks_are_a_class:
            folders = [name for name in folders if name != MASKS]
        groups = list(self._of_splits(folders, children)) if has_splits else [self._group(None, n, n) for n in folders]
        if not has_splits and not any("/" not in name for group in groups for name in group.names):
            # Images only deeper down: folders in the classes' own, or this is the folder above a dataset.
            self.deeper = len(folders) > 1 and not any(is_usual(c) for found in children.values() for c in found)
            groups = groups if self.deeper else []
        self.groups = [group for group in groups if group.names]
        if not self.groups:
            raise DataError(self._nothing_found(folders, children))
        order = {"train": 0, "val": 1, "test": 2}
        self.groups.sort(key=lambda g: (order.get(g.split or "", 3), g.split or "", g.label or "", g.folder))
        for group in self.groups:
            group.names.sort()

    def notes(self) -> Iterator[str]:
        """Say what a user should know of what was found, a sentence each."""
        if self.deeper:
            group = self.groups[0]
            names = ", ".join(sorted({g.label or "" for g in self.groups})[:_MOST_NAMES])
            yield (
                f"The images lie in folders within those of the classes ({group.folder}/{group.names[0]}), so the outer "
                f"ones are taken for the classes ({names}); if the inner ones are, open one of the outer ones."
            )
        if self._masks_are_a_class:
            yield (
                f"The folder {MASKS} is taken for a class, since it has images and no folders; masks known beforehand would "
                f"lie in {MASKS}/CLASS/."
            )
        with_images = {group.label for group in self.groups}
        empty = {label: kinds for label, kinds in self._unread.items() if label and label not in with_images}
        if empty:
            told = ", ".join(f"{label} ({_kinds(kinds) or 'empty'})" for label, kinds in list(empty.items())[:_MOST_NAMES])
            more = f" and {len(empty) - _MOST_NAMES} more" if len(empty) > _MOST_NAMES else ""
            so = "they are no classes" if len(empty) > 1 else "it is no class"
            yield f"No image that can be read is in {told}{more}, so {so}."
        unread: Counter[str] = sum(self._unread.values(), Counter())
        if unread:
            files = "1 file is" if unread.total() == 1 else f"{unread.total()} files are"
            yield f"{files} left out, since such files are not read ({_kinds(unread)}); save them as PNG or TIFF."
        yield from self._ignored[:_MOST_NAMES]

    def _group(self, split: str | None, folder: str, label: str | None) -> _Group:
        unread = self._unread.setdefault(label or "", Counter())
        return _Group(folder, split, label, _images_in(folder, self._root, self._fence, unread))

    def _of_splits(self, folders: list[str], children: dict[str, list[str]]) -> Iterator[_Group]:
        usual = [name for name in folders if is_usual(name)]
        classes: set[str] = set()
        for name in usual:
            for label in children[name]:
                group = self._group(split_name(name), f"{name}/{label}", label)
                if group.names:
                    classes.add(label)
                    yield group
            if not children[name]:
                yield self._group(split_name(name), name, None)
            else:
                self._note_beside(name)
        self._note_beside("")
        for name in folders:
            # Other folders are splits only if they look it; beside a dataset there may lie figures, results or
            # old copies.
            if name in usual:
                continue
            if children[name] and classes.issuperset(children[name]):
                for label in children[name]:
                    yield self._group(name, f"{name}/{label}", label)
            elif self._has_images(name):
                other = next((child for child in children[name] if child not in classes), None)
                why = f"{other} in it is no class" if other else "it has no class folders"
                self._ignored.append(f"The folder {name} is left out, since it is not named as a split and {why}.")

    def _note_beside(self, folder: str) -> None:
        """Note the images that lie beside the class folders, which have no class."""
        beside = [name for name in _files_in(self._root / folder) if _is_image(name)]
        if beside:
            where = f"beside the class folders of {folder}" if folder else "beside the folders of the splits"
            count = "1 image is" if len(beside) == 1 else f"{len(beside)} images are"
            self._ignored.append(f"{count} {where}, without a class, and left out (such as {beside[0]}).")

    def _has_images(self, folder: str) -> bool:
        if self._fence.leak(self._root / folder) is not None:
            return False
        return next(_image_names(self._root / folder, Counter()), None) is not None

    def _nothing_found(self, folders: list[str], children: dict[str, list[str]]) -> str:
        root = self._root
        below = next((name for name in folders if any(is_usual(c) for c in children[name])), None)
        if below is not None:
            return f"{root} is the folder above a dataset; open {root / below} instead."
        if len(folders) == 1 and self._has_images(folders[0]) and children[folders[0]]:
            return f"{root} has one folder only, which may be the dataset itself; open {root / folders[0]} instead."
        if not folders:
            return f"{root} has no class folders; put the images of each class into a folder named after the class."
        unread: Counter[str] = sum(self._unread.values(), Counter())
        other = f" but {_kinds(unread)}, which is not read" if unread else ""
        return (
            f"The folders in {root} hold no images ({', '.join(sorted(images.SUFFIXES))}){other}; "
            "put the images of each class into a folder named after the class."
        )


def _kinds(unread: Counter[str]) -> str:
    """Name the commonest kinds of files with their numbers."""
    found = unread.most_common()
    more = f" and {sum(n for _, n in found[_MOST_NAMES:])} others" if len(found) > _MOST_NAMES else ""
    return ", ".join(f"{count} {kind or 'without an ending'}" for kind, count in found[:_MOST_NAMES]) + more


def _subfolders(folder: Path, root: Path, fence: Fence) -> list[str]:
    if fence.leak(folder) is not None:
        return []  # an error only if its images would be the dataset's, see `_images_in`
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not _is_of_a_system(e.name) and _is(e.is_dir))
    except FileNotFoundError:
        raise DataError(f"{root} does not exist; check the path.") from None
    except NotADirectoryError:
        raise DataError(f"{root} is a file, not a folder; name the folder that holds the classes.") from None
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error


def _images_in(folder: str, root: Path, fence: Fence, unread: Counter[str]) -> list[str]:
    """Return the paths of the images in a class or split folder, relative to it; refuse a link out of the root."""
    leak = fence.leak(root / folder)
    if leak is not None:
        raise DataError(leak)
    return list(_image_names(root / folder, unread))


def _is_of_a_system(folder: str) -> bool:
    """Tell whether a folder is hidden, or one that a system or a store on the network makes, with copies of images in it."""
    return folder.startswith(".") or folder in _OF_SYSTEMS


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in images.SUFFIXES


def _files_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and _is(e.is_file))
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error


def _image_names(folder: Path, unread: Counter[str], prefix: str = "") -> Iterator[str]:
    """Yield the paths of the images in a class folder and the folders in it, relative to it; count other files."""
    deeper: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                dot = name.rfind(".")
                if dot > 0 and name[dot:].lower() in images.SUFFIXES and _may_be_file(entry):
                    yield prefix + name
                elif entry.is_dir(follow_symlinks=False):
                    if not _is_of_a_system(name):
                        deeper.append(name)
                elif _is(entry.is_file) and _is_missed(name, dot):
                    unread[name[dot:].lower() if dot > 0 else ""] += 1
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error
    for name in deeper:
        yield from _image_names(folder / name, unread, f"{prefix}{name}/")


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    # A link that leads nowhere is told of when it is read, not left out.
    return _is(entry.is_file) or (entry.is_symlink() and not _is(entry.is_dir))


def _is(asked: Callable[[], bool]) -> bool:
    """Return what is asked of an entry of a folder; False where it is a link in a circle."""
    try:
        return asked()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _is_missed(name: str, dot: int) -> bool:
    """Tell whether a file that is not read might be an image: not one of those that lie beside images for other reasons."""
    if dot <= 0:
        return name not in ("README", "LICENSE", "Makefile")
    return name[dot:].lower() not in _NO_IMAGES
