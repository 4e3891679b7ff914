"""Masks from elsewhere, brought to the images of a dataset: found by name, of the right size, never over another mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, MaskError
from napari_cam_feedback.feedback.exchange.formats import read_named_masks
from napari_cam_feedback.feedback.masks.matching import NameMatcher
from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

_NAMED = 5
# A mask that covers more is questioned: a background or the image itself may be what is painted.
_MUCH = 0.5
_MOST = "covers more than half of its image; if what is black is irrelevant, import the masks inverted"
_WHOLE = (
    "covers the whole of its image, which leaves nothing to learn from; if another value than 0 stands for what is not "
    "painted, name it as the background (ilastik's is 1), and if what is black is irrelevant, import them inverted"
)


@dataclass
class FoundMasks:
    """Masks that were found in a folder or file, by the key of their image.

    Attributes
    ----------
    masks : mapping
        Key to (H, W) bool, of the image's size; several masks of one image are joined.
    unmatched : dict
        Names that fit no image, and why.
    refused : dict
        Names whose mask cannot be used, and why.
    other_size : list of str
        Those of them whose mask is of another size than its image, and could be resized.
    empty : list of str
        Keys of images whose mask has nothing painted.
    doubts : dict
        What is odd about some masks, with their names; they are used all the same.
    """

    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    other_size: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    doubts: dict[str, list[str]] = field(default_factory=dict)

    def doubt(self, name: str, why: str) -> None:
        """Note what is odd about a mask."""
        self.doubts.setdefault(why, []).append(name)

    def refuse_size(self, name: str, mask: tuple[int, ...], image: tuple[int, int]) -> None:
        """Refuse a mask of another size, both (H, W)."""
        self.other_size.append(name)
        self.refused[name] = (
            f"it is {mask[0]}x{mask[1]} pixels and its image {image[0]}x{image[1]}; "
            "make it the same size, or ask for it to be resized"
        )


@dataclass
class ImportedMasks:
    """What became of masks that were imported.

    Attributes
    ----------
    written : list of str
        Keys of images whose mask was written.
    same : list of str
        Keys of images that had the same mask already.
    kept : list of str
        Keys of images that have another mask, which was kept.
    found : FoundMasks
        What could not be used.
    """

    found: FoundMasks
    written: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """What a user must know: what was written, and what was not and why."""
        found = self.found
        lines = [f"{_count(len(self.written), 'mask')} written."]
        if self.same:
            lines.append(f"{_count(len(self.same), 'image')} had the same mask already.")
        if self.kept:
            lines.append(
                f"{_count(len(self.kept), 'image')} {'has' if len(self.kept) == 1 else 'have'} another mask, which was "
                f"kept: {_some(self.kept)}; import into a new folder and merge the two (masks merge) to choose."
            )
        if found.empty:
            lines.append(f"{_count(len(found.empty), 'mask')} {'has' if len(found.empty) == 1 else 'have'} nothing painted.")
        for why, odd in found.doubts.items():
            which = f"The mask {odd[0]}" if len(odd) == 1 else f"Each of {len(odd)} masks, such as {odd[0]},"
            lines.append(f"{which} {why}.")
        for title, names in (("fits no image of the dataset", found.unmatched), ("cannot be used", found.refused)):
            lines += [f"{name} {title}: {why}." for name, why in list(names.items())[:_NAMED]]
            if len(names) > _NAMED:
                lines.append(f"{len(names) - _NAMED} more: the same ({title}).")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "written": self.written,
            "same": self.same,
            "kept": self.kept,
            "empty": self.found.empty,
            "unmatched": self.found.unmatched,
            "refused": self.found.refused,
            "doubts": self.found.doubts,
        }


@takes_monitor
def find_masks(
    path: Path,
    dataset: Dataset,
    *,
    split: str | None = None,
    category: str | None = None,
    resize: bool = False,
    invert: bool = False,
    background: int | None = None,
    monitor: Monitor = QUIET,
) -> FoundMasks:
    """Read masks from a folder or file of any kind and find their images.

    Parameters
    ----------
    path : Path
        As of `read_named_masks`.
    dataset : Dataset
        Where the images are; a name means the image of that key, else the only one whose path ends so (`NameMatcher`).
    split : str, optional
        Only images of this split; masks that are numbered count them from 0.
    category : str, optional
        Of a COCO file, only what is of this category.
    resize : bool
        Bring a mask of another size to its image's, each pixel from the nearest place; else it is refused.
    invert : bool
        Irrelevant is what is black.
    background : int, optional
        Of images, the value of what is not painted; by default 0.
    monitor : Monitor, optional
        Told of masks read, and 0 since nobody knows how many there are.
        Asked between masks whether to stop; those read so far are returned.

    Raises
    ------
    MaskError, DataError
        There is nothing of the kind, or it cannot be read at all.
    """
    masks: dict[str, np.ndarray] = {}
    found, matcher = FoundMasks(masks), NameMatcher(dataset, split)
    named = read_named_masks(path, category=category, background=background, doubt=found.doubt)
    for done, (name, read) in enumerate(named, 1):
        if monitor.stopped:
            break
        try:
            index = matcher.find(name)
        except DataError as error:
            found.unmatched[str(name)] = str(error)
            continue
        key = dataset.keys[index]
        try:
            mask, size = read(), dataset.image_size(index)
        except (MaskError, DataError) as error:
            found.refused[str(name)] = str(error).rstrip(".")
            continue
        if mask.shape != tuple(size):
            if not resize:
                found.refuse_size(str(name), mask.shape, size)
                continue
            mask = resized(mask, size)
        if invert:
            mask = ~mask
        if mask.size and mask.mean() > _MUCH:
            found.doubt(str(name), _WHOLE if mask.all() else _MOST)
        masks[key] = mask | masks[key] if key in masks else mask
        monitor.progress(done, 0)
    found.empty = [key for key, mask in masks.items() if not mask.any()]
    for key in found.empty:
        del masks[key]
    return found


def import_masks(found: FoundMasks, store: MaskStore, *, author: str | None = None) -> ImportedMasks:
    """Put masks that were found into a folder of masks; a mask that is there already is never overwritten.

    Parameters
    ----------
    found : FoundMasks
        As of `find_masks`.
    store : MaskStore
        Where they go.
    author : str, optional
        Noted in the index.

    Raises
    ------
    MaskError
        A mask that is there cannot be read.
    StorageError
        One could not be written; those before it are.
    """
    result = ImportedMasks(found)
    if not found.masks:
        return result
    with store.batch():
        for key, mask in found.masks.items():
            # Another holder may be painting this image now.
            if store.add(key, mask, author=author):
                result.written.append(key)
            elif np.array_equal(store[key], mask):
                result.same.append(key)
            else:
                result.kept.append(key)
    return result


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
