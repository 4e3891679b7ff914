"""Preprocessed images kept in memory within a bound, shared by everything that looks at the same dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Lock

import numpy as np
from cachetools import LRUCache

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.torch_loader import torch


class InputCache:
    """The network's inputs for a dataset's images; those used last stay in memory.

    Safe to use from several threads.

    Parameters
    ----------
    dataset : Dataset
        Where the images come from.
    preprocessing : Preprocessing
        Makes an input of an image.
    max_bytes : int
        The memory that the inputs kept may take.

    Attributes
    ----------
    skipped : dict of str to str
        The images that could not be read: key and sentence. One that can be read again leaves it.
    """

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, max_bytes: int = 512 << 20) -> None:
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.skipped: dict[str, str] = {}
        self._inputs: LRUCache[int, torch.Tensor] = LRUCache(max_bytes, getsizeof=lambda row: row.nbytes)
        self._lock = Lock()

    def inputs(self, indices: Iterable[int]) -> torch.Tensor:
        """Return the inputs of some items, float32 (N, C, h, w) on the CPU; a copy.

        Raises
        ------
        DataError
            An image cannot be read.
        """
        rows = [self._input(int(index)) for index in indices]
        if rows:
            return torch.stack(rows)
        return torch.zeros(0, self.preprocessing.channels, *self.preprocessing.size)

    def batches(self, indices: Iterable[int], size: int = 64) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield (indices, inputs) of up to `size` items at a time, without those that cannot be read.

        `skipped` tells which those are.

        Yields
        ------
        indices : ndarray of int64, shape (n,)
        inputs : Tensor, float32 (n, C, h, w)
        """
        read: list[int] = []
        rows: list[torch.Tensor] = []
        for index in indices:
            try:
                rows.append(self._input(int(index)))
            except DataError:
                continue
            read.append(int(index))
            if len(rows) == size:
                yield np.array(read, np.int64), torch.stack(rows)
                read, rows = [], []
        if rows:
            yield np.array(read, np.int64), torch.stack(rows)

    def clear(self) -> None:
        """Forget everything kept."""
        with self._lock:
            self._inputs.clear()
            self.skipped.clear()

    def _input(self, index: int) -> torch.Tensor:
        with self._lock:
            kept = self._inputs.get(index)
        if kept is not None:
            return kept
        # Reading happens outside the lock, so that threads do not wait for each other's disk.
        key = self.dataset.keys[index]
        try:
            row = self.preprocessing.input(self.dataset.read(index))
        except DataError as error:
            self.skipped[key] = str(error)
            raise
        self.skipped.pop(key, None)
        with self._lock, suppress(ValueError):  # larger than all that may be kept
            self._inputs[index] = row
        return row
