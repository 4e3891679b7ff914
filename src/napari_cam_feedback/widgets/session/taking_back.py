"""Taking back masks that the program made: those that nobody has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING

import numpy as np

from napari_cam_feedback.monitor import Monitor

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import MaskStore


class PackedMasks(MutableMapping[str, np.ndarray]):
    """Masks by key, bool (H, W), that take an eighth of the memory."""

    def __init__(self, masks: Mapping[str, np.ndarray] | None = None) -> None:
        self._packed: dict[str, tuple[tuple[int, ...], np.ndarray]] = {}
        self.update(masks or {})

    def __setitem__(self, key: str, mask: np.ndarray) -> None:
        self._packed[key] = (mask.shape, np.packbits(mask))

    def __getitem__(self, key: str) -> np.ndarray:
        shape, packed = self._packed[key]
        return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)

    def __delitem__(self, key: str) -> None:
        del self._packed[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def unchanged(store: MaskStore, made: Mapping[str, np.ndarray], monitor: Monitor) -> Iterator[str]:
    """Yield the keys of masks on disk that are as they were made, bool (H, W); for a worker."""
    for number, (key, mask) in enumerate(made.items(), 1):
        if monitor.stopped:
            return
        monitor.progress(number, len(made))
        if key in store and np.array_equal(store[key], mask):
            yield key
