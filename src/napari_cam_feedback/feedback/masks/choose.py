"""Choosing some of many masks, spread over the classes; also the expert simulated by masks known beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, MaskError


def choose_masks(
    masks: Mapping[str, np.ndarray],
    dataset: Dataset,
    count: int | None = None,
    *,
    indices: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return up to `count` masks, as evenly spread over the classes as they allow.

    Parameters
    ----------
    masks : mapping
        Key to (H, W) bool.
    dataset : Dataset
        Where the items are.
    count : int, optional
        How many; by default all.
    indices : ndarray, optional
        (N,) int64 items to choose from; by default all of the dataset.
    seed : int
        Which are taken.

    Returns
    -------
    dict
        Key to (H, W) bool; masks without a masked pixel are left out.
    """
    candidates = np.arange(len(dataset)) if indices is None else indices
    order = np.random.default_rng(seed).permutation(candidates)
    order = order[may_have_masks(masks, dataset, order)]
    labels = dataset.labels[order]
    queues = [order[labels == label].tolist() for label in np.unique(labels)]
    found: dict[str, np.ndarray] = {}
    while any(queues) and (count is None or len(found) < count):
        # Taking turns keeps the classes balanced. A mask is decoded when its turn comes, so that a few masks of many
        # cost little.
        for queue in queues:
            if count is None or len(found) < count:
                found.update(_next_mask(queue, masks, dataset))
    return found


def count_masks(masks: Mapping[str, np.ndarray], dataset: Dataset, indices: np.ndarray) -> int:
    """Return how many of the items have a mask, as far as can be told without decoding any."""
    return int(may_have_masks(masks, dataset, indices).sum())


def may_have_masks(masks: Mapping[str, np.ndarray], dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Return which of the items (N,) may have a mask, as far as can be told without decoding any; bool (N,)."""
    if isinstance(masks, KnownMasks):
        return masks.may_have[indices]
    return np.fromiter((dataset.keys[index] in masks for index in indices.tolist()), bool, len(indices))


def _next_mask(queue: list[int], masks: Mapping[str, np.ndarray], dataset: Dataset) -> dict[str, np.ndarray]:
    """Take items from the end of the queue up to the first that has a masked pixel; return its key and mask."""
    while queue:
        key = dataset.keys[queue.pop()]
        mask = masks.get(key)
        if mask is not None and mask.any():
            return {key: mask}
    return {}


def known_masks(dataset: Dataset, count: int | None = None, *, split: str = "train", seed: int = 0) -> dict[str, np.ndarray]:
    """Return masks that the dataset brings along, as if an expert had painted those images.

    Parameters and return value are as of `choose_masks`.

    Raises
    ------
    MaskError
        The split has no known masks.
    """
    found = choose_masks(KnownMasks(dataset), dataset, count, indices=dataset.indices(split), seed=seed)
    if not found:
        raise MaskError(f"The split {split} has no masks known beforehand; paint some in napari and name their folder.")
    return found


class KnownMasks(Mapping[str, np.ndarray]):
    """The masks that a dataset brings along, as a mapping by key that reads them when asked."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @cached_property
    def may_have(self) -> np.ndarray:
        """Which of the dataset's items may have a mask, as far as can be told without decoding; bool (N,)."""
        return self._dataset.may_have_mask()

    def __getitem__(self, key: str) -> np.ndarray:
        try:
            mask = self._dataset.known_mask(self._dataset.index_of(key)) if key in self._dataset.keys else None
        except DataError:
            # The image itself cannot be read; whoever reads it says so.
            raise KeyError(key) from None
        if mask is None or not mask.any():
            raise KeyError(key)
        return mask

    def __contains__(self, key: object) -> bool:
        if not self._dataset.has_known_masks:
            return False
        try:
            self[str(key)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return (key for key in map(self._dataset.keys.__getitem__, np.flatnonzero(self.may_have).tolist()) if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
