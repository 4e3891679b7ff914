"""Irrelevance masks on disk: one 8-bit PNG per image and an index of who painted what and when."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_cam_feedback.errors import MaskError, StorageError
from napari_cam_feedback.feedback.masks.holders import UNPAINTED, Change, Replaced, Seen
from napari_cam_feedback.feedback.masks.index import INDEX_NAME, Entry, MaskIndex
from napari_cam_feedback.feedback.masks.mask_files import MaskFiles
from napari_cam_feedback.feedback.masks.names import check_key, named, text_of, without_ending
from napari_cam_feedback.feedback.masks.reading import read_mask_file, size_of_mask_file
from napari_cam_feedback.feedback.masks.replaced import ReplacedMasks
from napari_cam_feedback.feedback.masks.size import painted_of
from napari_cam_feedback.files import atomic_path, signature
from napari_cam_feedback.locking import writing

_ABOUT = ("size", "author", "time")


class MaskStore(Mapping[str, np.ndarray]):
    """A folder of masks by item key. Reading gives (H, W) bool arrays; `put` and `remove` write at once.

    The mask of item ``train/3/0001.png`` is ``<folder>/train/3/0001.png.png``, white where it is irrelevant; that of an item
    whose key is no file name on some system is in the folder ``_named``, and its file and the index say its key. A folder in
    the layout of known masks (``<folder>/train/3/0001.png``) can be read as well.

    Several threads may use it, and several windows, shells and machines may write to one folder: nothing of another holder
    is overwritten without a copy in ``<folder>-replaced``, and what they write is seen after `refresh`.

    Nothing outside of these folders is read or written, also where links in them lead there; the folder itself may be a
    link.

    A mask whose writing failed is kept in memory, counts as painted, and is tried again by `retry`.

    Parameters
    ----------
    folder : path
        Made when the first mask is written.
    author : str, optional
        Noted for masks that are put without an author of their own.

    Raises
    ------
    StorageError
        The folder's index cannot be read, or is a link out of the folder.
    """

    def __init__(self, folder: str | os.PathLike[str], author: str | None = None) -> None:
        self.folder = Path(folder)
        self._author = author
        # Of what is in memory; and of writing, so that whoever reads need not wait for another holder's turn.
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._batches = 0
        self._unsaved: dict[str, tuple[np.ndarray, str | None, str | None, Seen]] = {}
        self._files, self._replaced = MaskFiles(self.folder), ReplacedMasks(self.folder)
        leak = self._files.leak(self.folder / INDEX_NAME)
        if leak is not None:
            raise StorageError(leak)
        self._index = MaskIndex(self.folder)
        self._files.scan(self._index.entries)
        # What was there when it was opened counts as seen; what others write later counts once it was read.
        self._seen = {key: Seen(self._revision(key)) for key in self._files}
        # Revisions that were put here.
        self._own: set[Any] = set()
        # What others did and `refresh` has not told yet.
        self._changes: dict[str, Change] = {}

    def _revision(self, key: str) -> str | None:
        return self._index.entries.get(key, {}).get("revision")

    def path(self, key: str) -> Path:
        """Return the file of a key's mask, whether or not it is there.

        Raises
        ------
        MaskError
            The key would lead out of the folder, or its file would not be found again.
        """
        with self._lock:
            return self._files.path(key)

    def file(self, key: str) -> Path | None:
        """Return the file that holds a key's mask now, whatever its layout; None where it has none."""
        with self._lock:
            return self._files.find(key)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            if not isinstance(key, str):
                return False
            if key in self._unsaved:
                return bool(self._unsaved[key][0].any())
            return self._files.find(key) is not None

    def __getitem__(self, key: str) -> np.ndarray:
        return self.read(key)[0]

    def read(self, key: str) -> tuple[np.ndarray, Seen]:
        """Return a mask, bool (H, W), and which writing of it that is, for what is painted over it (`put`).

        Raises
        ------
        KeyError
            There is none.
        MaskError
            It cannot be read.
        """
        with self._lock:
            if key in self._unsaved:
                mask, _, _, over = self._unsaved[key]
                if not mask.any():
                    raise KeyError(key)
                return mask.copy(), over
            self._take_over()
            found = self._readable(key)
            seen = Seen(self._revision(key), signature(found))
        mask = read_mask_file(found)
        with self._lock:
            self._seen[key] = seen
        return mask, seen

    def _readable(self, key: str) -> Path:
        """Return the file that holds a mask; raises KeyError where there is none, MaskError where it must not be read."""
        found = self._files.find(key)
        if found is None:
            raise KeyError(key)
        leak = self._files.leak(found)
        if leak is not None:
            raise MaskError(leak)
        return found

    def size(self, key: str) -> tuple[int, int]:
        """Return a mask's (H, W), from its file's header alone; raises as reading the mask does."""
        with self._lock:
            if key in self._unsaved:
                height, width = self[key].shape
                return height, width
            found = self._readable(key)
        return size_of_mask_file(found)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            keys = set(self._files) | {key for key, (mask, *_) in self._unsaved.items() if mask.any()}
            keys -= {key for key, (mask, *_) in self._unsaved.items() if not mask.any()}
        # A known mask of an image that was painted since.
        keys -= {bare for key in keys if (bare := without_ending(key)) is not None}
        return iter(sorted(keys))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def select(self, keys: list[str] | tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the masks of those keys that have one, read now."""
        return {key: self[key] for key in keys if key in self}

    # What others write ----------------------------------------------------------------------------

    def seen(self, key: str) -> Seen:
        """Return which writing of a mask was read or put here last, or was there when the folder was opened."""
        with self._lock:
            return self._seen.get(key, UNPAINTED)

    def refresh(self) -> list[Change]:
        """Take over which masks other holders have put and removed since; what they painted is read when asked for.

        Raises
        ------
        StorageError
            The index cannot be read.
        """
        with self._lock:
            self._take_over()
            changes, self._changes = list(self._changes.values()), {}
        return changes

    def _take_over(self) -> None:
        before = self._index.refresh()
        if before is None:
            return
        after = self._index.entries
        for key in sorted(before.keys() | after.keys()):
            old, new = before.get(key, {}), after.get(key, {})
            if old == new and (key in before) == (key in after):
                continue
            self._files.look_again(key, new)
            if old.get("revision") in self._own and isinstance(new.get("replaced"), str):
                self._changes[key] = Change(key, self._replaced.of(key, old, new["replaced"]))
            else:
                self._changes.setdefault(key, Change(key))

    # Writing --------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let no other holder write, and know what all have written by now."""
        with self._writing, writing(self.folder / INDEX_NAME), self._lock:
            self._take_over()
            yield

    def put(
        self,
        key: str,
        mask: np.ndarray,
        *,
        image_size: tuple[int, int] | None = None,
        author: str | None = None,
        time: str | None = None,
        over: Seen | None = None,
    ) -> Replaced | None:
        """Write a mask; one without a painted pixel removes the file.

        Where another holder has put a mask that was not seen here, that one is kept in another folder.

        Parameters
        ----------
        key : str
            The item's.
        mask : ndarray
            (H, W), nonzero where irrelevant.
        image_size : tuple of int, optional
            (H, W) that the mask must have.
        author : str, optional
            Noted in the index; by default the store's, and nobody where it is empty.
        time : str, optional
            When it was painted, ISO 8601, for a mask that comes from elsewhere; by default now.
        over : Seen, optional
            The mask that it was painted over, as `seen` returned it when that was read; by default the one read or put here
            last.

        Returns
        -------
        Replaced or None
            The mask of another holder that gave way.

        Raises
        ------
        MaskError
            The mask is not of the image's size, or the key leads out of the folder.
        StorageError
            It could not be written, or a link leads out of the folder; it is kept in memory, see `unsaved`.
        """
        painted = painted_of(key, mask, image_size)
        check_key(key)
        with self._lock:
            author = self._author if author is None else author
            over = self.seen(key) if over is None else over
            unsaved = self._unsaved[key] = (painted.copy(), author, time, over)
        with self._changing():
            replaced = self._write(key, painted, author, time, over)
            if self._unsaved.get(key) is unsaved:
                del self._unsaved[key]
        return replaced

    def add(
        self,
        key: str,
        mask: np.ndarray,
        *,
        image_size: tuple[int, int] | None = None,
        author: str | None = None,
        time: str | None = None,
    ) -> bool:
        """Write a mask where there is none; return whether it was written. Parameters are as of `put`, and what is raised.

        One that another holder puts at the same time is not overwritten.
        """
        painted = painted_of(key, mask, image_size)
        if not painted.any():
            return False
        with self._changing():
            if key in self or self.path(key).exists():
                return False
            self._write(key, painted, self._author if author is None else author, time, UNPAINTED)
        return True

    def _write(self, key: str, painted: np.ndarray, author: str | None, time: str | None, over: Seen) -> Replaced | None:
        path, own = self.path(key), self._files.own(key)
        # A link in the file's own place is replaced, not followed; one on the way there would be.
        leak = self._files.leak(path.parent)
        if leak is not None:
            raise StorageError(leak)
        replaced = self._keep_unseen(key, painted, over)
        # What another did before is nothing new any more, unless it must be said.
        if key in self._changes and self._changes[key].replaced is None:
            del self._changes[key]
        if painted.any():
            name = path.relative_to(self.folder).as_posix()
            with atomic_path(path) as temporary:
                Image.fromarray(painted.astype(np.uint8) * 255).save(temporary, format="PNG", pnginfo=text_of(name, key))
            self._files.note(key, path)
            revision = secrets.token_hex(6)
            entry: Entry = {
                "size": list(painted.shape),
                "author": author or None,
                "time": time or datetime.now(UTC).isoformat(timespec="seconds"),
                "revision": revision,
            }
            if name == named(key):
                entry["file"] = name
            before = self._index.entries.get(key, {})
            if replaced is not None:
                entry["replaced"] = replaced.folder.name
            elif before.get("revision") in self._own and "replaced" in before:
                # The other holder may not have been told yet.
                entry["replaced"] = before["replaced"]
            self._own.add(revision)
            self._index.record(key, entry, in_batch=self._batches > 0)
            self._seen[key] = Seen(revision, signature(path))
        else:
            if own is not None:
                self._files.remove(key)
            bare = self._files.find(key)
            if bare is not None:
                # It may be that of another image too, whose name differs in its ending.
                self._replaced.keep(key, bare, {})
                self._files.remove(without_ending(key) or key)
            if own is not None or bare is not None or key in self._index.entries:
                self._index.record(key, None, in_batch=self._batches > 0)
            self._seen.pop(key, None)
        return replaced

    def _keep_unseen(self, key: str, painted: np.ndarray, over: Seen) -> Replaced | None:
        """Copy a mask that another holder put, and that was not seen here, before it gives way."""
        there = self.path(key)
        if not there.is_file():
            return None
        now = Seen(self._revision(key), signature(there))
        if over.is_still(now):
            return None
        try:
            if np.array_equal(read_mask_file(there), painted):
                return None
        except MaskError:
            pass
        return self._replaced.keep(key, there, self._index.entries.get(key, {}))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """While entered, the index is not written with every mask but once, on leaving; masks are written at once as ever.

        Raises
        ------
        StorageError
            On leaving, if the index cannot be written.
        """
        with self._lock:
            self._batches += 1
        try:
            yield
        finally:
            with self._lock:
                self._batches -= 1
            self.write_index()

    def write_index(self) -> None:
        """Write into ``masks.json`` what stands only behind it; raises StorageError."""
        if self._batches or self._index.is_whole:
            return
        with self._changing():
            self._index.write()

    def remove(self, key: str) -> None:
        """Remove a mask, if there is one; raises as `put` does."""
        if key in self or key in self._unsaved:
            self.put(key, np.zeros((1, 1), bool))

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Keys whose latest mask is in memory only, because writing it failed."""
        with self._lock:
            return tuple(self._unsaved)

    def retry(self) -> None:
        """Write what is unsaved; raises StorageError if it fails again."""
        with self._lock:
            unsaved = dict(self._unsaved)
        for key, (mask, author, time, over) in unsaved.items():
            self.put(key, mask, author=author, time=time, over=over)

    def info(self, key: str) -> dict[str, Any]:
        """Return size, author and time of a mask as the index has them; empty where it has none."""
        with self._lock:
            return {name: value for name, value in self._index.entries.get(key, {}).items() if name in _ABOUT}
