"""The mask of the current item: what is painted, given by the program, brought back, or cleared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.widgets.session.state import SessionState
from napari_cam_feedback.widgets.session.unfit_mask import put_stored_mask_aside
from napari_cam_feedback.widgets.viewer.layers import MASK


class MaskActions(SessionState):
    """What a session does to masks."""

    def current_mask(self) -> np.ndarray | None:
        """Return the current item's mask as painted now, bool (H, W), or None where nothing is painted."""
        key = self.key
        if key is None:
            return None
        try:
            return self.autosave.mask(key)
        except FeedbackError:
            return None

    def painted(self) -> set[str]:
        """Return the keys of all painted items, those on their way to disk included."""
        return self.autosave.painted()

    def put_mask(self, key: str, mask: np.ndarray, author: str | None = None) -> None:
        """Give an item another mask, bool (H, W), and note who or what made it; undoable where it is the current item."""
        layer = self._mask_layer() if key == self.key else None
        if layer is None:
            self.autosave.put(key, mask, author)
        else:
            self.autosave.collect()
            layer.data_setitem(np.nonzero(np.ones(mask.shape, bool)), mask.astype(np.uint8).ravel())
            self.autosave.collect(author)

    def fill_region(self, region: np.ndarray, *, erase: bool = False) -> int:
        """Paint a region of the current item's mask, or take it away, as one step of undo.

        Parameters
        ----------
        region : ndarray
            (H, W) bool, of the image's size.
        erase : bool
            Take it away.

        Returns
        -------
        int
            Pixels changed; 0 where there is no item to paint on, or the region was painted already.
        """
        layer = self._mask_layer()
        tall, wide = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        if layer is None or not len(tall):
            return 0
        # Of a large image only the part around the region is looked at.
        box = slice(tall[0], tall[-1] + 1), slice(wide[0], wide[-1] + 1)
        rows, columns = np.nonzero(region[box] & ((np.asarray(layer.data[box]) != 0) == erase))
        if len(rows):
            layer.visible = True
            layer.data_setitem((rows + tall[0], columns + wide[0]), 0 if erase else 1)
        return len(rows)

    def add_masks(self, masks: dict[str, np.ndarray], author: str, then: Callable[[list[str]], None]) -> None:
        """Write masks of items that have none; one that is there, also one that somebody else paints now, stays.

        Parameters
        ----------
        masks : dict
            Key to bool (H, W).
        author : str
            What made them.
        then : callable
            Takes the keys of those that were written, on the main thread.
        """

        def written(keys: list[str]) -> None:
            layer = self.layers.get(MASK)
            # The user went there meanwhile, where nothing was to be seen yet.
            if self.key in keys and layer is not None and not mask_any(layer):
                self.display.show_mask(self.key, (int(layer.data.shape[0]), int(layer.data.shape[1])))
            then(keys)

        painted = self.painted()
        self.autosave.add({key: mask for key, mask in masks.items() if key not in painted}, author, written)

    def reload_masks(self, painted: Iterable[str], changed: Iterable[str]) -> None:
        """Take over masks that were changed on disk, not by painting.

        Parameters
        ----------
        painted : iterable of str
            Keys of all items that have a mask now.
        changed : iterable of str
            Those whose mask is another, or gone.
        """
        layer = self.layers.get(MASK)
        self.autosave.open(self.masks, painted)
        if layer is not None and self.key is not None and self.item_error is None:
            self.display.show_mask(self.key, (int(layer.data.shape[0]), int(layer.data.shape[1])))
        for key in changed:
            self.mask_changed.emit(key)

    def paint(self) -> None:
        """Select the mask layer in its paint mode, ready for a stroke."""
        self.take_up("paint")

    def take_up(self, mode: str) -> Any:
        """Select the mask layer in one of napari's modes; return it, None where there is nothing to paint on."""
        layer = self._mask_layer()
        if layer is None:
            return None
        layer.visible = True
        layer.selected_label = 1
        self.viewer.layers.selection.active = layer
        layer.mode = mode
        return layer

    def clear_mask(self) -> None:
        """Remove the whole mask of the current item; undo brings it back.

        One on disk that cannot be shown, because it does not fit the image, is put aside.
        """
        layer = self._mask_layer()
        if layer is None:
            return
        if mask_any(layer):
            layer.data_setitem(np.nonzero(np.asarray(layer.data)), 0)
            return
        self.autosave.collect()
        if self.key is not None and self.key in self.painted():
            put_stored_mask_aside(self, self.key)

    def _mask_layer(self) -> Any:
        """The mask layer of the current item, made again if it was deleted."""
        if self.key is None or self.item_error is not None:
            return None
        if self.layers.get(MASK) is None and self.index is not None and self.dataset is not None:
            self.display.show_mask(self.key, self.dataset.image_size(self.index))
        return self.layers.get(MASK)


def mask_any(layer: Any) -> bool:
    """Whether anything is painted in a Labels layer."""
    return bool(np.asarray(layer.data).any())
