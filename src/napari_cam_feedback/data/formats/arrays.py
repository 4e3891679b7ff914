"""Datasets whose images are arrays in memory, from Python or from an .npz file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_cam_feedback.data.dataset import Dataset, check_class_names, order_splits
from napari_cam_feedback.data.formats.npz import Npz, NpzError
from napari_cam_feedback.data.pixels.images import to_supported
from napari_cam_feedback.data.splits import split_name, stratified_splits
from napari_cam_feedback.errors import DataError, MaskError, describe

# The arrays of an .npz file that are read; it may hold others.
_WHOLE = ("x", "y", "masks", "classes")
_PREFIXES = ("x_", "y_", "masks_")
# A label above it is none.
_MAX_CLASSES = 100_000


class ArrayDataset(Dataset):
    """Images held in memory, one array for each split.

    Parameters
    ----------
    images : mapping of str to array
        For each split (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4 (a fourth channel, alpha, is
        dropped). uint8, uint16 and float32 stay; other types are converted by `images.to_supported`.
    labels : mapping of str to array of int, or None
        For each split (N,), or (N, 1); -1 where not known. A split left out has no labels.
    class_names : sequence of str
        The classes.
    masks : mapping of str to array, optional
        For each split that has some (N, H, W): non-zero where irrelevant. An image's mask may be empty.
    keys : mapping of str to sequence of str, optional
        The items' keys; without them ``<split>/<number, five digits>``.
    groups : mapping of str to sequence of str, optional
        For each split that has some (N,) names of groups, as of hospitals; empty where not known.
    source : Path, optional
        The file they were read from.
    made_split : bool
        The split is ours, not the dataset's own.

    Raises
    ------
    DataError
        The arrays do not fit each other.
    MaskError
        The masks are not of the images' number or size.
    """

    def __init__(
        self,
        images: Mapping[str, ArrayLike],
        labels: Mapping[str, ArrayLike] | None,
        class_names: Sequence[str],
        masks: Mapping[str, ArrayLike] | None = None,
        source: Path | None = None,
        *,
        keys: Mapping[str, Sequence[str]] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        made_split: bool = False,
    ) -> None:
        images, labels, masks, keys, groups, named = _usual_names(images, labels, masks, keys, groups)
        names = order_splits(images)
        self._images = {name: as_images(np.asarray(images[name]), f'The images of split "{name}"') for name in names}
        counts = [len(self._images[name]) for name in names]
        four = any(4 in np.shape(images[name])[-1:] and np.ndim(images[name]) == 4 for name in names)
        if not sum(counts):
            raise DataError(f"{source or 'The dataset'} has no images; add some to at least one split.")
        all_labels = [
            _as_labels((labels or {}).get(name), n, name, len(class_names)) for name, n in zip(names, counts, strict=True)
        ]
        all_keys: list[str] = []
        for name, n in zip(names, counts, strict=True):
            own = [f"{named[name]}/{i:05d}" for i in range(n)] if keys is None else list(keys[name])
            if len(own) != n:
                raise DataError(f'Split "{name}" has {n} images but {len(own)} keys; give one key for each image.')
            all_keys += own
        super().__init__(
            keys=all_keys,
            labels=np.concatenate(all_labels),
            splits=np.repeat(np.array(names), counts),
            class_names=class_names,
            source=source,
            made_split=made_split,
        )
        if groups:
            self._set_groups(groups, dict(zip(names, counts, strict=True)))
        if four:
            self.notes = ("Of the four channels of the images the last, which is taken for alpha, is left out.",)
        self._starts = dict(zip(names, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        self._masks = {name: _as_masks(np.asarray(m), self._images, name) for name, m in (masks or {}).items()}

    def _set_groups(self, groups: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> None:
        texts = np.concatenate([np.asarray(groups.get(name, [""] * n), str) for name, n in counts.items()])
        if len(texts) != len(self):
            raise DataError(f"There are {len(texts)} names of groups for {len(self)} images; give one for each image.")
        found, numbers = np.unique(texts, return_inverse=True)
        self.group_names = tuple(name for name in found.tolist() if name)
        self.groups = numbers.astype(np.int64) - int("" in found)

    def read(self, index: int) -> np.ndarray:
        """Return a copy of the image."""
        split, i = self._locate(index)
        image = to_supported(self._images[split][i], self.keys[index])
        return image.copy()

    def image_size(self, index: int) -> tuple[int, int]:
        """Return the image's (height, width) in pixels."""
        height, width = self._images[str(self.splits[index])].shape[1:3]
        return int(height), int(width)

    def known_mask(self, index: int) -> np.ndarray | None:
        """Return a copy of the mask that came with the image; None where there is none or it is empty."""
        split, i = self._locate(index)
        if split not in self._masks or not self._masks[split][i].any():
            return None
        return self._masks[split][i].copy()

    @property
    def has_known_masks(self) -> bool:
        """Whether any irrelevance masks came with the dataset."""
        return any(masks.any() for masks in self._masks.values())

    def may_have_mask(self) -> np.ndarray:
        """Return which items have a mask with a masked pixel; bool (N,)."""
        return np.concatenate(
            [
                self._masks[name].any((1, 2)) if name in self._masks else np.zeros(len(images), bool)
                for name, images in self._images.items()
            ]
        )

    def _locate(self, index: int) -> tuple[str, int]:
        split = str(self.splits[index])
        return split, int(index) - self._starts[split]


def _usual_names(*given: Any) -> tuple[Any, ...]:
    """Return mappings by split with the splits called as here, and what each was called; keys keep that."""
    named: dict[str, str] = {}
    for name in given[0]:
        if split_name(name) in named:
            raise DataError(f'The splits "{named[split_name(name)]}" and "{name}" are the same; put them together.')
        named[split_name(name)] = name
    renamed = [each if each is None else {split_name(name): value for name, value in each.items()} for each in given]
    return (*renamed, named)


def open_npz(path: Path, *, seed: int = 0, class_names: Sequence[str] | None = None) -> ArrayDataset:
    """Open an .npz file with ``x_<split>``, ``y_<split>`` and optional ``classes`` and ``masks_<split>``.

    A file with plain ``x``, ``y`` and ``masks`` gets a seeded split (`splits.stratified_splits`). Labels are
    indices into the classes, or class names. Nothing in the file is unpickled.

    Raises
    ------
    DataError
        The file is broken, has other arrays, or holds Python objects.
    """
    arrays = _load(path)
    splits = [name.removeprefix("x_") for name in arrays if name.startswith("x_")]
    whole = not splits and "x" in arrays
    if whole:
        arrays = {f"{name}_all" if name in ("x", "y", "masks") else name: a for name, a in arrays.items()}
        splits = ["all"]
    if not splits:
        raise DataError(f"{path} has no images; it must hold arrays named x_train, y_train, x_test, y_test and so on.")
    for name in splits:
        # Splits are part of the keys, and those become paths of masks and pictures.
        if not name or name in (".", "..") or not set(name).isdisjoint("/\\:\0"):
            raise DataError(f'The array "x_{name}" in {path} names no split; call it x_train, x_val, x_test or the like.')
    # What is no images is said before anything is made for each of them.
    images = {name: as_images(arrays[f"x_{name}"], f'The images of split "{name}"') for name in splits}
    labels = _with_prefix(arrays, "y_", splits, path)
    masks = _with_prefix(arrays, "masks_", splits, path)
    names, labels = _names_and_labels(labels, arrays.get("classes"), class_names, path)
    if whole:
        images_all, n = images["all"], len(images["all"])
        labels_all = _as_labels(labels.get("all"), n, "all", len(names))
        made = stratified_splits(labels_all, seed)
        parts = {split: np.flatnonzero(made == split) for split in order_splits(made.tolist())}
        keys = {split: [f"all/{i:05d}" for i in rows] for split, rows in parts.items()}
        images = {split: images_all[rows] for split, rows in parts.items()}
        labels = {split: labels_all[rows] for split, rows in parts.items()}
        masks = {split: m[rows] for m in masks.values() for split, rows in parts.items()}
        return ArrayDataset(images, labels, names, masks, path, keys=keys, made_split=True)
    return ArrayDataset(images, labels, names, masks, path)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with Npz(path) as file:
            return file.read_all(name for name in file.names if name in _WHOLE or name.startswith(_PREFIXES))
    except NpzError as error:
        if error.fault == "memory":
            raise DataError(
                f"{path} does not fit into the memory; save the images as files in a folder for each class, which are read "
                "one at a time."
            ) from error
        if error.fault == "objects":
            raise DataError(
                f'"{error.name}" in {path} holds Python objects, which are not loaded for safety; '
                "save it as an array of numbers or of text."
            ) from error
        raise DataError(_why_broken(path)) from error
    except OSError as error:
        raise DataError(f"Could not read {path}: {describe(error)}") from error


def _why_broken(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return f"{path} is a single array; save x_train, y_train and so on with numpy.savez."
    return f"{path} is not an .npz file or is broken; save it again with numpy.savez."


def _with_prefix(arrays: Mapping[str, np.ndarray], prefix: str, splits: Sequence[str], path: Path) -> dict[str, np.ndarray]:
    """Return the arrays ``<prefix><split>`` by split; one without images is an error, most often in the spelling."""
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    for split in found:
        if split not in splits:
            raise DataError(f"{path} has {prefix}{split} but no images x_{split}; name them alike.")
    return found


def _names_and_labels(
    labels: dict[str, np.ndarray], classes: np.ndarray | None, given: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the class names, and the labels as indices into them."""
    try:
        if given is None and classes is not None:
            given = [name.decode() if isinstance(name, bytes) else str(name) for name in classes.ravel().tolist()]
        text = {split: y.astype(str).ravel() for split, y in labels.items() if y.dtype.kind in "US"}
        _ = [name.encode() for names in (given or (), *text.values()) for name in names]
    except ValueError as error:
        raise DataError(f"{path} has class names that are no text; save them as an array of text.") from error
    if text:
        if len(text) < len(labels):
            raise DataError(f"{path} has labels that are numbers and others that are names; save them alike.")
        names = check_class_names(np.unique(np.concatenate(list(text.values()))).tolist(), given, path)
        number = {name: i for i, name in enumerate(names)}
        return names, {split: np.array([number[t] for t in y.tolist()], np.int64) for split, y in text.items()}
    if given is None:
        highest = max((_highest(y, split) for split, y in labels.items()), default=-1)
        if highest >= _MAX_CLASSES:
            raise DataError(f"{path} has the label {highest}, which is no class; give class indices from 0.")
        given = [str(i) for i in range(highest + 1)]
    return check_class_names([], given, path), labels


def as_images(x: np.ndarray, what: str) -> np.ndarray:
    """Return the images as (N, H, W) or (N, H, W, 3), a view.

    Parameters
    ----------
    x : ndarray
        (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4, of numbers.
    what : str
        Begins the sentence of an error and names what the array holds, in the plural.

    Raises
    ------
    DataError
        The array has another shape or holds no numbers.
    """
    if x.dtype.kind not in "buif":
        raise DataError(f"{what} are not numbers; save them as uint8, uint16 or float32.")
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4) and x.shape[1] in (1, 3, 4):
        x = np.moveaxis(x, 1, -1)
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4):
        x = x[..., 0] if x.shape[-1] == 1 else x[..., :3]
    elif x.ndim != 3:
        raise DataError(f"{what} have the shape {x.shape}; it must be (N, H, W) or (N, H, W, 3).")
    if not all(x.shape[1:3]):
        raise DataError(f"{what} have no pixels; check how the file was made.")
    return x


def _as_labels(y: ArrayLike | None, n: int, split: str, num_classes: int) -> np.ndarray:
    if y is None:
        return np.full(n, -1, np.int64)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n,):
        raise DataError(f'Split "{split}" has {n} images but labels of shape {y.shape}; give one label for each image.')
    if n and _highest(y, split) >= num_classes:
        raise DataError(
            f'Split "{split}" has the label {int(y.max())}, but there are only {num_classes} class names; '
            "add the missing names."
        )
    return np.maximum(y.astype(np.int64), -1)


def _highest(y: np.ndarray, split: str) -> int:
    """Return the greatest label, -1 without any; refuse what are no whole numbers."""
    whole = y.dtype.kind in "iu" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()) and np.array_equal(y, np.round(y)))
    if not whole:
        raise DataError(f'The labels of split "{split}" are not whole numbers; give class indices from 0.')
    return int(y.max(initial=0)) if y.size else -1


def _as_masks(masks: np.ndarray, images: Mapping[str, np.ndarray], split: str) -> np.ndarray:
    if split not in images:
        raise MaskError(f'There are masks for the split "{split}" but no images; name them like the images.')
    if masks.ndim == 4 and masks.shape[-1] == 1:
        masks = masks[..., 0]
    if masks.shape != images[split].shape[:3]:
        raise MaskError(
            f'The masks of split "{split}" have the shape {masks.shape}, its images '
            f"{images[split].shape[:3]}; give one mask of the image's size for each image."
        )
    return masks if masks.dtype == bool else masks != 0
