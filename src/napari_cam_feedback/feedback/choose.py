"""Choosing some of many masks, spread over the classes; also the expert simulated by masks known beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import MaskError


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
    rng = np.random.default_rng(seed)
    candidates = np.arange(len(dataset)) if indices is None else indices
    by_class: dict[int, list[int]] = {}
    for index in rng.permutation(candidates):
        if dataset.keys[int(index)] in masks:
            by_class.setdefault(int(dataset.labels[index]), []).append(int(index))
    queues = [by_class[label] for label in sorted(by_class)]
    found: dict[str, np.ndarray] = {}
    while any(queues) and (count is None or len(found) < count):
        # Taking turns keeps the classes balanced.
        for queue in queues:
            if queue and (count is None or len(found) < count):
                key = dataset.keys[queue.pop()]
                mask = masks[key]
                if mask.any():
                    found[key] = mask
    return found


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

    def __getitem__(self, key: str) -> np.ndarray:
        mask = self._dataset.known_mask(self._dataset.index_of(key)) if key in self._dataset.keys else None
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
        return (key for key in self._dataset.keys if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
