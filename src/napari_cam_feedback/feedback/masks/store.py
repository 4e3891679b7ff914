"""Irrelevance masks on disk: one 8-bit PNG per image and an index of who painted what and when."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.data.pixels.images import open_image
from napari_cam_feedback.errors import MaskError, StorageError, describe
from napari_cam_feedback.files import atomic_path, read_json, write_json

INDEX_NAME = "masks.json"
SCHEMA_VERSION = 1
# How files begin that are no masks: our own temporary ones, and what macOS puts beside files on foreign disks.
_SCRATCH = (".tmp-", "._")
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy"}


class MaskStore(Mapping[str, np.ndarray]):
    """A folder of masks by item key. Reading gives (H, W) bool arrays; `put` and `remove` write at once.

    The mask of item ``train/3/0001.png`` is ``<folder>/train/3/0001.png.png``, white where it is irrelevant. A folder in
    the layout of known masks (``<folder>/train/3/0001.png``) can be read as well.

    Nothing outside of the folder is read or written, also where links in it lead there; the folder itself may be a link.

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
        self._lock = threading.RLock()
        self._batches = 0
        self._unsaved: dict[str, tuple[np.ndarray, str | None, str | None]] = {}
        self._index: dict[str, dict[str, Any]] = {}
        leak = self._leak(self._index_path)
        if leak is not None:
            raise StorageError(leak)
        if self._index_path.exists():
            self._index = self._read_index()
        self._files = self._scan()

    @property
    def _index_path(self) -> Path:
        return self.folder / INDEX_NAME

    def _leak(self, path: Path) -> str | None:
        # Nothing is remembered from one mask to the next: masks are few, and what is written must be safe.
        return Fence(self.folder).leak(path)

    def _read_index(self) -> dict[str, dict[str, Any]]:
        content = read_json(self._index_path)
        masks = content.get("masks") if isinstance(content, dict) else None
        if not isinstance(masks, dict) or not all(isinstance(entry, dict) for entry in masks.values()):
            raise StorageError(f"{self._index_path} is not an index of masks; restore it or remove it.")
        schema = content.get("schema", 0)
        if isinstance(schema, int) and schema > SCHEMA_VERSION:
            raise StorageError(f"A newer version of napari-cam-feedback wrote {self._index_path}; update the plugin.")
        return masks

    def _scan(self) -> dict[str, Path]:
        # The files are the truth: a mask whose index entry a crash has cost is still a mask.
        files: dict[str, Path] = {}
        if self.folder.is_dir():
            for path in sorted(self.folder.rglob("*.png")):
                if not path.name.startswith(_SCRATCH):
                    files[path.relative_to(self.folder).as_posix().removesuffix(".png")] = path
        return files

    def path(self, key: str) -> Path:
        """Return the file of a key's mask, whether or not it is there.

        Raises
        ------
        MaskError
            The key would lead out of the folder, or its file would not be found again.
        """
        place = PurePosixPath(key)
        safe = place.parts and not place.is_absolute() and ".." not in place.parts and ":" not in place.parts[0]
        plain = str(place) == key and "\\" not in key and "\0" not in key and not place.name.startswith(_SCRATCH)
        if not (safe and plain):
            raise MaskError(f"{key!r} cannot be the key of an image; use a path inside the dataset.")
        return self.folder / f"{key}.png"

    def file(self, key: str) -> Path | None:
        """Return the file that holds a key's mask now, whatever its layout; None where it has none."""
        with self._lock:
            return self._find(key)

    def _find(self, key: str) -> Path | None:
        if key in self._files:
            return self._files[key]
        stem, suffix = os.path.splitext(key)  # noqa: PTH122 - keys are POSIX paths, not paths of this system
        return self._files.get(stem) if suffix.lower() in _IMAGE_SUFFIXES else None

    def __contains__(self, key: object) -> bool:
        with self._lock:
            if not isinstance(key, str):
                return False
            if key in self._unsaved:
                return bool(self._unsaved[key][0].any())
            return self._find(key) is not None

    def __getitem__(self, key: str) -> np.ndarray:
        with self._lock:
            if key in self._unsaved:
                mask = self._unsaved[key][0]
                if not mask.any():
                    raise KeyError(key)
                return mask.copy()
            found = self._readable(key)
        return read_mask_file(found)

    def _readable(self, key: str) -> Path:
        """Return the file that holds a mask; raises KeyError where there is none, MaskError where it must not be read."""
        found = self._find(key)
        if found is None:
            raise KeyError(key)
        leak = self._leak(found)
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
        with _reading(found), open_image(found) as image:
            return image.height, image.width

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            keys = set(self._files) | {key for key, (mask, *_) in self._unsaved.items() if mask.any()}
            keys -= {key for key, (mask, *_) in self._unsaved.items() if not mask.any()}
        return iter(sorted(keys))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def select(self, keys: list[str] | tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the masks of those keys that have one, read now."""
        return {key: self[key] for key in keys if key in self}

    def put(
        self,
        key: str,
        mask: np.ndarray,
        *,
        image_size: tuple[int, int] | None = None,
        author: str | None = None,
        time: str | None = None,
    ) -> None:
        """Write a mask; one without a painted pixel removes the file.

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

        Raises
        ------
        MaskError
            The mask is not of the image's size, or the key leads out of the folder.
        StorageError
            It could not be written, or a link leads out of the folder; it is kept in memory, see `unsaved`.
        """
        painted = np.asarray(mask) != 0
        if painted.ndim != 2 or (image_size is not None and painted.shape != tuple(image_size)):
            expected = f"{image_size[0]}x{image_size[1]}" if image_size else "two-dimensional"
            shape = "x".join(str(n) for n in painted.shape)
            raise MaskError(f"The mask of {key} is {shape} pixels and its image {expected}; paint it on its own image.")
        path = self.path(key)
        with self._lock:
            author = self._author if author is None else author
            self._unsaved[key] = (painted.copy(), author, time)
            # A link in the file's own place is replaced, not followed; one on the way there would be.
            leak = self._leak(path.parent)
            if leak is not None:
                raise StorageError(leak)
            if painted.any():
                with atomic_path(path) as temporary:
                    Image.fromarray(painted.astype(np.uint8) * 255).save(temporary, format="PNG")
                other = self._find(key)
                self._files[key] = path
                self._index[key] = {
                    "size": list(painted.shape),
                    "author": author or None,
                    "time": time or datetime.now(UTC).isoformat(timespec="seconds"),
                }
                if other is not None and other != path:
                    self._forget_file(other)
            else:
                other = self._find(key)
                if other is not None:
                    self._forget_file(other)
                self._index.pop(key, None)
            self._write_index()
            del self._unsaved[key]

    def _forget_file(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"Could not remove {path}: {describe(error)}") from error
        self._files = {key: file for key, file in self._files.items() if file != path}

    @contextmanager
    def batch(self) -> Iterator[None]:
        """While entered, the index is not written with every mask but once, on leaving; masks are written at once as ever.

        After a crash masks put meanwhile are there and their author and time are not.

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
                self._write_index()

    def _write_index(self) -> None:
        if self._batches:
            return
        if self._index or self._index_path.exists():
            write_json(self._index_path, {"schema": SCHEMA_VERSION, "masks": dict(sorted(self._index.items()))})

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
            for key, (mask, author, time) in list(self._unsaved.items()):
                self.put(key, mask, author=author, time=time)

    def info(self, key: str) -> dict[str, Any]:
        """Return size, author and time of a mask as the index has them; empty where it has none."""
        with self._lock:
            return dict(self._index.get(key, {}))


def read_mask_file(path: Path) -> np.ndarray:
    """Read a mask image as (H, W) bool, true where any channel but alpha is not zero.

    Raises
    ------
    MaskError
        The file is broken.
    """
    with _reading(path), open_image(path) as image:
        if image.mode not in {"1", "L", "F"} and not image.mode.startswith("I"):
            # Not to gray, which rounds faint colours away; alpha goes.
            return (np.asarray(image.convert("RGB")) != 0).any(axis=2)
        return np.asarray(image) != 0


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (MaskError, StorageError):
        raise
    except Exception as error:  # Pillow raises errors of any kind for broken files
        raise MaskError(f"The mask {path} cannot be read; restore it, or remove it and paint again.") from error
