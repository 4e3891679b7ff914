"""What every dataset offers: items with keys, labels and splits, whose images are read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.keys import Keys
from napari_cam_feedback.data.splits import KNOWN_SPLITS, is_test, split_name
from napari_cam_feedback.errors import DataError


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a dataset, without its pixels.

    Attributes
    ----------
    index : int
        Its place in the dataset.
    key : str
        Its stable name: the POSIX path relative to the dataset's root.
    label : int or None
        Index into the dataset's class names; None where it is not known.
    split : str
        The split that it belongs to.
    """

    index: int
    key: str
    label: int | None
    split: str

    @property
    def learnable(self) -> bool:
        """Whether a network may learn from it: its label is known, and its split is none for testing."""
        return self.label is not None and not is_test(self.split)


class Dataset(ABC):
    """Items in a fixed order; a subclass says how one image and its known mask are read.

    Attributes
    ----------
    source : Path or None
        The folder or file that it was read from; None if it lives in memory only.
    class_names : tuple of str
        The classes; a label is an index into them.
    keys : Keys
        The items' keys, a sequence of str without duplicates.
    labels : ndarray of int64, shape (N,)
        The items' labels, -1 where not known.
    splits : ndarray of str, shape (N,)
        The items' splits; the usual names of train, val and test are written so (`splits.split_name`).
    split_names : tuple of str
        The splits that there are: train, val, test, then others by name.
    made_split : bool
        True where the split is ours (`splits.stratified_splits`) and not the dataset's own.
    split_seed : int or None
        The seed of a split that is ours, so that it can be made again; set by `open_dataset`.
    notes : tuple of str
        What a user should know of how the data were read, a sentence each: what was left out and why, what was assumed.
    group_names : tuple of str
        The groups that the data name, as hospitals or scanners; empty where they name none.
    groups : ndarray of int64, shape (N,)
        The items' groups, indices into `group_names`; -1 where not known.
    """

    def __init__(
        self,
        *,
        keys: Iterable[str],
        labels: np.ndarray,
        splits: np.ndarray,
        class_names: Sequence[str],
        source: Path | None = None,
        made_split: bool = False,
    ) -> None:
        self.source = source
        self.class_names = tuple(class_names)
        self.keys = keys if isinstance(keys, Keys) else Keys(keys)
        self.labels = np.asarray(labels, np.int64)
        found, number = np.unique(np.asarray(splits), return_inverse=True)
        self.splits = np.array([split_name(name) for name in found.tolist()])[number] if len(found) else np.asarray(splits)
        self.made_split = made_split
        self.split_seed: int | None = None
        self.notes: tuple[str, ...] = ()
        self.group_names: tuple[str, ...] = ()
        self.groups = np.full(len(self.keys), -1, np.int64)
        self.split_names = order_splits(np.unique(self.splits).tolist())
        for array in (self.labels, self.splits):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.indices(name))} {name}" for name in self.split_names)
        where = self.source or "in memory"
        return f"{type(self).__name__}({where}: {counts}; {len(self.class_names)} classes)"

    def item(self, index: int) -> Item:
        """Return the item at `index` (0 to N - 1)."""
        label = int(self.labels[index])
        return Item(int(index), self.keys[index], label if label >= 0 else None, str(self.splits[index]))

    def index_of(self, key: str) -> int:
        """Return the index of the item with this key.

        Raises
        ------
        DataError
            There is no such item.
        """
        found = self.keys.find(key)
        if found is None:
            raise DataError(f'There is no image "{key}" in {self.source or "this dataset"}; check the name and the split.')
        return found

    def indices(self, split: str | None = None) -> np.ndarray:
        """Return the indices of the items of a split, of all items without one; int64, ascending.

        Raises
        ------
        DataError
            There is no such split; the sentence names those there are.
        """
        if split is None:
            return np.arange(len(self), dtype=np.int64)
        split = split if split in self.split_names else split_name(split)
        if split not in self.split_names:
            close = get_close_matches(split, self.split_names, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else "; choose one of these."
            raise DataError(f'There is no split "{split}", only {", ".join(self.split_names)}{hint}')
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def learnable(self) -> np.ndarray:
        """Return the indices of the items that a network may learn from (`Item.learnable`); int64, ascending."""
        taken = [name for name in self.split_names if not is_test(name)]
        return np.flatnonzero((self.labels >= 0) & np.isin(self.splits, taken)).astype(np.int64)

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Return the image, shape (H, W) or (H, W, 3), uint8, uint16 or float32.

        Raises
        ------
        DataError
            The image is missing or broken; the sentence names it.
        """

    @abstractmethod
    def image_size(self, index: int) -> tuple[int, int]:
        """Return the image's (height, width) in pixels, without decoding it where that can be avoided."""

    def known_mask(self, index: int) -> np.ndarray | None:
        """Return the irrelevance mask that came with the dataset, bool (H, W); None where there is none.

        Raises
        ------
        MaskError
            The mask is broken, or not of the image's size.
        """
        return None

    @property
    def has_known_masks(self) -> bool:
        """Whether any irrelevance masks came with the dataset."""
        return False

    def may_have_mask(self) -> np.ndarray:
        """Return which items may have a known mask, as far as can be told without decoding any; bool (N,)."""
        return np.full(len(self), self.has_known_masks)


def order_splits(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct split names: train, val, test first, then the others by name."""
    present = set(names)
    return (*(n for n in KNOWN_SPLITS if n in present), *sorted(present.difference(KNOWN_SPLITS)))


def check_class_names(found: Iterable[str], class_names: Sequence[str] | None, source: object) -> tuple[str, ...]:
    """Return the class names: those given, else those found, sorted as torchvision's ImageFolder does.

    Raises
    ------
    DataError
        A class found in the data is not among the names given, or a name is given twice.
    """
    found = sorted(set(found))
    if class_names is None:
        return tuple(found)
    names = tuple(str(name) for name in class_names)
    if len(set(names)) < len(names):
        raise DataError("A class name is given twice; name each class once.", field="class_names")
    extra = [name for name in found if name not in names]
    if extra:
        raise DataError(
            f'{source} has the class "{extra[0]}", which is no class of the model '
            f"({shorten(names)}); correct the data or the names.",
            field="class_names",
        )
    return names


def number_classes(
    found: Iterable[str], class_names: Sequence[str] | None, source: object
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names and the index that stands for each class found in the data.

    Classes found that are all whole numbers, while none of the names given is among them, are indices into those
    names: so are the folders and labels of many data sets called.

    Raises
    ------
    DataError
        As for `check_class_names`; or an index has no name.
    """
    found = sorted(set(found))
    if (
        class_names
        and found
        and all(is_whole(text) and text.isdecimal() for text in found)
        and not set(found) & set(class_names)
    ):
        names = check_class_names((), class_names, source)
        for text in found:
            if int(text) >= len(names):
                raise DataError(
                    f"{source} has the class number {text}, but the model is for {len(names)} classes ({shorten(names)}), "
                    f"numbered 0 to {len(names) - 1}; choose the model that was trained for this dataset, or correct the "
                    "data or the names.",
                    field="class_names",
                )
        return names, {text: int(text) for text in found}
    names = check_class_names(found, class_names, source)
    return names, {name: i for i, name in enumerate(names)}


def is_whole(text: str) -> bool:
    """Tell whether a label is a whole number, with or without a sign, and no longer than numbers of classes are."""
    return text.lstrip("+-").isdecimal() and len(text) < 20 and text.count("+") + text.count("-") < 2


def shorten(names: Sequence[str]) -> str:
    """Return the names joined by commas, with an ellipsis after the first few."""
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
