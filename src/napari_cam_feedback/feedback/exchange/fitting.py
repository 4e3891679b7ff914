"""Those masks of somebody's set that fit the images of a dataset; reading a set of ours, with what is known of each mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, MaskError, StorageError
from napari_cam_feedback.feedback.exchange.importing import FoundMasks
from napari_cam_feedback.feedback.masks.matching import keys_of
from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor


class FittingMasks(Mapping[str, np.ndarray]):
    """Some masks of a `MaskStore` under the keys of their images, bool (H, W) of the image's size; read when asked.

    Parameters
    ----------
    store : MaskStore
        Where they are.
    names : mapping
        The image's key to the mask's in the store, which may leave out the image's ending.
    sizes : mapping, optional
        The image's key to the (H, W) that a mask of another size is brought to.
    """

    def __init__(
        self, store: MaskStore, names: Mapping[str, str], sizes: Mapping[str, tuple[int, int]] | None = None
    ) -> None:
        self._store, self._names, self._sizes = store, dict(names), dict(sizes or {})

    def __getitem__(self, key: str) -> np.ndarray:
        mask = self._store[self._names[key]]
        return resized(mask, self._sizes[key]) if key in self._sizes else mask

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def info(self, key: str) -> dict[str, Any]:
        """Return what the store's index says of a mask; empty where it says nothing."""
        return self._store.info(self._names[key])

    def file(self, key: str) -> Path | None:
        """Return the file that holds a mask."""
        return self._store.file(self._names[key])


@takes_monitor
def fitting_masks(store: MaskStore, dataset: Dataset, *, resize: bool = False, monitor: Monitor = QUIET) -> FoundMasks:
    """Find out which masks of a set fit the images of a dataset, from the headers of their files.

    Parameters
    ----------
    store : MaskStore
        Somebody's masks.
    dataset : Dataset
        Where the images are.
    resize : bool
        Bring a mask of another size to its image's, each pixel from the nearest place; else it is refused.
    monitor : Monitor, optional
        Told of masks looked at, and masks in all.
        Asked between masks whether to stop; those looked at so far are returned.

    Returns
    -------
    FoundMasks
        Its masks are `FittingMasks`.
    """
    keys = keys_of(dataset, store)
    names: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    found, total = FoundMasks(), len(store)
    for done, name in enumerate(store, 1):
        if monitor.stopped:
            break
        if name not in keys:
            found.unmatched[name] = "no image is called so"
        # The image's own name goes before the one without its ending.
        elif keys[name] == name or keys[name] not in keys:
            try:
                size, wanted = store.size(name), dataset.image_size(dataset.index_of(keys[name]))
            except (MaskError, DataError, StorageError) as error:
                found.refused[name] = str(error).rstrip(".")
            else:
                if size == tuple(wanted) or resize:
                    names[keys[name]] = name
                    if size != tuple(wanted):
                        sizes[keys[name]] = wanted
                else:
                    found.refuse_size(name, size, wanted)
        monitor.progress(done, total)
    found.masks = FittingMasks(store, names, sizes)
    return found
