"""Autosave of the painted mask: a stroke, also one still being drawn, an undo or a redo is on disk within a second."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.feedback.masks.holders import Replaced, Seen

logger = logging.getLogger(__name__)

# What tells that a Labels layer may hold something else: a stroke or fill that is finished, an undo, and, while the button
# is held, every place that the brush passes.
_EVENTS = ("paint", "set_data", "labels_update")

DEBOUNCE_MS = 300
RETRY_MS = 3000


def mask_of(layer: Any) -> np.ndarray:
    """Return a Labels layer's content as a boolean (H, W) array of its own."""
    # Every label is paint, also a negative one that another plugin wrote.
    return np.asarray(layer.data) != 0


class MaskAutosave(QObject):
    """Watches one Labels layer and puts its content into a `MaskStore`, in a thread.

    A mask that could not be written stays in memory and is tried again every few seconds, also after another
    item, or another project, has been opened.

    Parameters
    ----------
    disk : SerialWorker
        The thread that writes.

    Signals
    -------
    saved : str
        The mask of this key is on disk, or was removed because it is empty.
    failed : str, str
        Key and sentence, once for each new reason.
    gave_way : Replaced
        A mask of another holder of the project, which was painted meanwhile, gave way and is kept.
    status_changed
        `status` has changed.
    """

    saved = Signal(str)
    failed = Signal(str, str)
    gave_way = Signal(object)
    status_changed = Signal()

    def __init__(self, disk: SerialWorker, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._disk = disk
        self._store: MaskStore | None = None
        # The store's lock is held while it writes; asking this set keeps the window from waiting for it.
        self._painted: set[str] = set()
        self._layer: Any = None
        self._key: str | None = None
        self._last: np.ndarray | None = None
        # Masks on their way to disk or refused by it, and who made them: (folder, key) -> mask.
        self._waiting: dict[tuple[Path, str], tuple[MaskStore, np.ndarray, str | None]] = {}
        self._refused: dict[tuple[Path, str], str] = {}
        # Which writing of a mask is painted over: that in the layer, which may be older than what others have written since.
        self._over: dict[tuple[Path, str], Seen] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self.collect)
        self._retry = QTimer(self)
        self._retry.setInterval(RETRY_MS)
        self._retry.timeout.connect(self.retry)

    # What is known --------------------------------------------------------------------------------

    @property
    def key(self) -> str | None:
        """The key of the item that is being painted."""
        return self._key

    @property
    def layer(self) -> Any:
        """The layer that is watched, or None."""
        return self._layer

    @property
    def status(self) -> str:
        """``saved``, ``saving`` or ``not saved``."""
        if self._refused:
            return "not saved"
        return "saving" if self._waiting or self._timer.isActive() else "saved"

    @property
    def unsaved(self) -> dict[str, str]:
        """Keys of masks that the disk refused, with the reason."""
        return {key: sentence for (_, key), sentence in self._refused.items()}

    def mask(self, key: str) -> np.ndarray | None:
        """Return the newest mask of `key`, bool (H, W): as painted, else waiting, else from disk; or None.

        Raises
        ------
        FeedbackError
            The mask on disk cannot be read.
        """
        if key == self._key and self._layer is not None:
            live = mask_of(self._layer)
            return live if live.any() else None
        return self.stored(key)

    def stored(self, key: str) -> np.ndarray | None:
        """Return the newest mask of `key` without looking at the layer; raises as `mask` does."""
        if self._store is None or key not in self._painted:
            return None
        place = (self._store.folder, key)
        if place in self._waiting:
            return self._waiting[place][1]
        try:
            mask, self._over[place] = self._store.read(key)
        except KeyError:  # another holder has taken it away
            return None
        return mask

    def painted(self) -> set[str]:
        """Return the keys of all items with a mask, those on their way to disk included."""
        return set(self._painted)

    # What to watch --------------------------------------------------------------------------------

    def open(self, store: MaskStore | None, painted: Iterable[str] = ()) -> None:
        """Write to `store` from now on, after collecting what was painted for the one before.

        Parameters
        ----------
        store : MaskStore or None
            Where masks go.
        painted : iterable of str
            Keys of the items that have a mask there.
        """
        self.detach()
        self._store = store
        self._painted = set(painted)
        self._over = {place: seen for place, seen in self._over.items() if place in self._waiting}
        if store is not None:
            # A project that is opened again while the disk still refuses some of its masks.
            for (_, key), (waiting, mask, _) in self._waiting.items():
                if waiting.folder == store.folder:
                    self._note(key, mask)

    def put(self, key: str, mask: np.ndarray, author: str | None = None) -> None:
        """Write the mask of an item that is not the one being painted, bool (H, W); `author` as of `collect`."""
        if self._store is not None:
            self._write(self._store, key, mask, author, shown=False)

    def add(self, masks: Mapping[str, np.ndarray], author: str, then: Callable[[list[str]], None]) -> None:
        """Write masks of items that have none, bool (H, W) by key, in the disk thread.

        Parameters
        ----------
        masks : mapping
            One whose item has a mask by then, on disk or on its way there, is left out.
        author : str
            What made them.
        then : callable
            Takes the keys of those written, on the main thread; not called where the disk refused one, which `failed` tells.
        """
        store = self._store
        if store is None:
            return
        waiting = {key for _, key in self._waiting}

        def write() -> list[str]:
            with store.batch():
                return [key for key, mask in masks.items() if key not in waiting and store.add(key, mask, author=author)]

        def written(keys: list[str] | None, error: Exception | None) -> None:
            if error is not None:
                self.failed.emit("", describe(error))
                return
            if self._store is not None and self._store.folder == store.folder:
                self._painted.update(keys or ())
                for key in keys or ():
                    self.saved.emit(key)
            then(keys or [])

        # A name of its own: of tasks of one name the later takes the place of the earlier.
        self._disk.submit(f"add masks {next(iter(masks), '')} and {len(masks) - 1} more, {id(masks)}", write, written)

    def gone(self, key: str) -> None:
        """Note that the mask of an item was taken off the disk, unless another one is on its way there."""
        if self._store is not None and (self._store.folder, key) not in self._waiting:
            self._painted.discard(key)
            self.saved.emit(key)

    def changed_elsewhere(self, key: str, painted: bool) -> bool:
        """Note that another holder has put the mask of an item, or removed it; return whether its layer can show that.

        It cannot while strokes in it are on their way to the disk: those are written, and what gives way is kept.
        """
        assert self._store is not None
        if (self._store.folder, key) in self._waiting:
            return False
        (self._painted.add if painted else self._painted.discard)(key)
        if key != self._key or self._layer is None:
            return False
        return self._last is not None and np.array_equal(mask_of(self._layer), self._last)

    def attach(self, layer: Any, key: str) -> None:
        """Watch `layer`, which now shows the mask of `key`; what it holds now counts as saved."""
        if self._layer is not layer:
            self._disconnect()
            self._layer = layer
            for name in _EVENTS:
                getattr(layer.events, name).connect(self._touched)
        self._key = key
        self._last = mask_of(layer)
        if self._store is not None and key not in self._painted:
            from napari_cam_feedback.feedback.masks.holders import UNPAINTED

            self._over[self._store.folder, key] = UNPAINTED

    def detach(self) -> None:
        """Collect what was painted, then belong to no item."""
        self.collect()
        self._disconnect()
        self._key = self._last = None

    def collect(self, author: str | None = None) -> None:
        """Send the layer's content to the disk thread if it differs from what was sent last.

        Parameters
        ----------
        author : str, optional
            What made it, if not the user.
        """
        with suppress(RuntimeError):  # PyQt deletes timers before the interpreter's end comes to us
            self._timer.stop()
        if self._layer is None or self._key is None or self._store is None:
            return
        mask = mask_of(self._layer)
        if self._last is not None and np.array_equal(mask, self._last):
            self.status_changed.emit()
            return
        if self._last is not None and mask.shape != self._last.shape:
            height, width = self._last.shape
            self.failed.emit(
                self._key,
                f"The layer “{self._layer.name}” must have {width}x{height} pixels as its image has; undo what "
                "changed its size, or move on and come back: until then it is not saved.",
            )
            return
        self._last = mask
        self._write(self._store, self._key, mask, author)

    def retry(self) -> None:
        """Try again to write what the disk refused."""
        for place in list(self._refused):
            waiting = self._waiting.get(place)
            if waiting is not None:
                store, mask, author = waiting
                self._write(store, place[1], mask, author)

    def flush(self, seconds: float = 10.0) -> bool:
        """Collect, and wait until the disk thread has done its work; returns whether it has."""
        self.collect()
        return self._disk.wait(seconds)

    # How it is written ----------------------------------------------------------------------------

    def _disconnect(self) -> None:
        if self._layer is not None:
            for name in _EVENTS:
                getattr(self._layer.events, name).disconnect(self._touched)
            self._layer = None

    def _touched(self, event: Any = None) -> None:
        # Not restarted by every stroke: a user who paints without a pause is saved all the same.
        if self._key is not None and not self._timer.isActive():
            self._timer.start()

    def _note(self, key: str, mask: np.ndarray) -> None:
        (self._painted.add if mask.any() else self._painted.discard)(key)

    def _write(self, store: MaskStore, key: str, mask: np.ndarray, author: str | None, *, shown: bool = True) -> None:
        place = (store.folder, key)
        self._waiting[place] = (store, mask, author)
        if self._store is not None and store.folder == self._store.folder:
            self._note(key, mask)

        def write() -> Replaced | None:
            over = self._over.get(place) if shown else None
            replaced = store.put(key, mask, image_size=mask.shape, author=author, over=over)
            self._over[place] = store.seen(key)
            return replaced

        def then(replaced: Replaced | None, error: Exception | None) -> None:
            self._written(store, key, mask, error)
            if replaced is not None:
                self.gave_way.emit(replaced)

        self._disk.submit(f"mask {store.folder} {key}", write, then)
        self.status_changed.emit()

    def _written(self, store: MaskStore, key: str, mask: np.ndarray, error: Exception | None) -> None:
        place = (store.folder, key)
        if error is not None:
            sentence = describe(error)
            known = sentence in self._refused.values()
            self._refused[place] = sentence
            if not self._retry.isActive():
                self._retry.start()
            if not known:
                self.failed.emit(key, f"{sentence} The mask stays in memory and is tried again.")
        else:
            self._refused.pop(place, None)
            if not self._refused:
                self._retry.stop()
            waiting = self._waiting.get(place)
            if waiting is not None and waiting[1] is mask:
                del self._waiting[place]
            if self._store is not None and store.folder == self._store.folder:
                self.saved.emit(key)
        self.status_changed.emit()
