"""Some of the masks of a project, read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import MaskStore


class MaskSubset(Mapping[str, np.ndarray]):
    """Some of the masks of a project, read when asked for: all at once they may not fit into memory."""

    def __init__(self, store: MaskStore, keys: Sequence[str]) -> None:
        self._store = store
        self._keys = [key for key in keys if key in store]

    def __getitem__(self, key: str) -> np.ndarray:
        return self._store[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
