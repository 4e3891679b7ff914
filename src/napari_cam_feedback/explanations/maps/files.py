"""Maps as files, one after the other: an ``.npz``, or a folder with one TIFF an image. No file is ever half of one."""

from __future__ import annotations

import io
import shutil
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_cam_feedback.errors import DataError
from napari_cam_feedback.files import atomic_path

if TYPE_CHECKING:
    from napari_cam_feedback.explanations.maps.split import ItemMap

#: Writes one more map.
Add = Callable[["ItemMap"], None]

# Keys are made into an array so many at a time.
_SOME = 4096


@contextmanager
def npz_file(path: str | Path, count: int, key_of: Callable[[int], str], *, several: bool) -> Iterator[Add]:
    """Give a function that adds an item's map to an ``.npz``; the file is in its place once the block ends well.

    It gets ``maps`` (N, H, W) float32, ``keys`` and ``targets`` (N,); with several classes ``maps`` (N, T, H, W) and
    ``targets`` (T,). It is not compressed: maps hardly get smaller, and compressing them takes longer than making them.

    Parameters
    ----------
    path : path
        Where to.
    count : int
        The items there are at most.
    key_of : callable
        Returns the key of an item by its index, so that keys need not be kept.
    several : bool
        Whether each item has the maps of the same several classes.

    Raises
    ------
    DataError
        The images are of several sizes; write to a folder then.
    StorageError
        The file cannot be written.
    """
    with atomic_path(path) as temporary:
        writer = _Npz(temporary, count, key_of, several=several)
        try:
            yield writer.add
            writer.finish()
        finally:
            writer.close()


@contextmanager
def tiff_folder(folder: str | Path, keys: Iterable[str]) -> Iterator[Add]:
    """Give a function that writes an item's map as ``<folder>/<key>.tif``, float32; several classes are its pages.

    Raises
    ------
    DataError
        A key, or a link in the folder, leads out of the folder; nothing is written then.
    StorageError
        A file cannot be written.
    """
    folder = Path(folder)
    check_places(folder, keys, ".tif")

    def add(item: ItemMap) -> None:
        place = item_place(folder, item.key, ".tif")
        shape = item.size if len(item.targets) == 1 else (len(item.targets), *item.size)
        pages = (page for block in item.blocks() for page in block)
        about = {"classes": list(item.class_names), "method": item.method}
        with atomic_path(place) as temporary:
            tifffile.imwrite(
                temporary, pages, shape=shape, dtype=np.float32, photometric="minisblack", metadata=about, software=False
            )

    yield add


def check_places(folder: Path, keys: Iterable[str], suffix: str) -> None:
    """Raise DataError where the file of one of the items would lie outside the folder."""
    checked: set[Path] = set()
    for key in keys:
        place = _place(folder, key, suffix)
        if place.parent not in checked:
            checked.add(place.parent)
            _check_link(folder, place.parent)


def item_place(folder: Path, key: str, suffix: str) -> Path:
    """Return the file of an item, ``<folder>/<key><suffix>``; raise DataError where it would lie outside the folder."""
    place = _place(folder, key, suffix)
    _check_link(folder, place.parent)
    return place


def _place(folder: Path, key: str, suffix: str) -> Path:
    # A project moves between systems, so a key must stay inside however its slashes are read.
    for path in (PurePosixPath(key), PureWindowsPath(key)):
        if path.anchor or ".." in path.parts or not path.parts or "\0" in key:
            raise DataError(f"The map of {key!r} would be written outside {folder}; rename that image in the dataset.")
    return folder / f"{key}{suffix}"


def _check_link(folder: Path, parent: Path) -> None:
    if not parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{parent} leads out of {folder} by a link; remove the link or choose another folder.", field="out")


class _Npz:
    """An ``.npz`` whose maps come one by one; of each, two integers are kept until the end."""

    def __init__(self, path: Path, count: int, key_of: Callable[[int], str], *, several: bool) -> None:
        self._path, self._count, self._key_of, self._several = path, count, key_of, several
        self._zip = zipfile.ZipFile(path, "w")
        self._rows: IO[bytes] | None = None
        self._row: tuple[int, ...] = (0, 0)
        self._indices = array("q")
        self._targets = array("q")

    def add(self, item: ItemMap) -> None:
        row = (len(item.targets), *item.size) if self._several else item.size
        if self._rows is None:
            self._row = row
            self._rows = self._begin(self._zip, self._count)
        elif row != self._row:
            raise DataError(
                "The images are of different sizes, so their maps do not fit one array; "
                "write them into a folder, a TIFF for each image."
            )
        for block in item.blocks():
            self._rows.write(np.ascontiguousarray(block, "<f4").data)
        if not self._several or not self._indices:
            self._targets.extend(int(target) for target in item.targets)
        self._indices.append(item.index)

    def finish(self) -> None:
        """Write the keys and targets; and the number of maps anew, if some were missing in the end."""
        if self._rows is None:
            self._begin(self._zip, 0).close()
        else:
            self._rows.close()
        self._write_keys()
        with self._entry(self._zip, "targets") as file:
            _header(file, "<i8", (len(self._targets),))
            file.write(np.array(self._targets, "<i8").tobytes())
        self._zip.close()
        if self._rows is not None and len(self._indices) != self._count:
            self._shorten()

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        if self._rows is not None and not self._rows.closed:
            self._rows.close()
        self._zip.close()

    @staticmethod
    def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
        return archive.open(f"{name}.npy", "w", force_zip64=True)

    def _begin(self, archive: zipfile.ZipFile, count: int) -> IO[bytes]:
        rows = self._entry(archive, "maps")
        _header(rows, "<f4", (count, *self._row))
        return rows

    def _write_keys(self) -> None:
        width = max((len(self._key_of(index)) for index in self._indices), default=1)
        with self._entry(self._zip, "keys") as file:
            _header(file, f"<U{width}", (len(self._indices),))
            remaining = map(self._key_of, self._indices)
            while some := list(islice(remaining, _SOME)):
                file.write(np.array(some, f"<U{width}").tobytes())

    def _shorten(self) -> None:
        """Copy the file with the number of maps that there are: it stands before them, and images may prove unreadable."""
        other = self._path.with_name(f"{self._path.name}.part")
        try:
            with zipfile.ZipFile(self._path) as old, zipfile.ZipFile(other, "w") as new:
                with old.open("maps.npy") as source, self._begin(new, len(self._indices)) as rows:
                    np.lib.format.read_magic(source)
                    np.lib.format.read_array_header_1_0(source)
                    shutil.copyfileobj(source, rows, 1 << 20)
                for name in ("keys", "targets"):
                    with old.open(f"{name}.npy") as source, self._entry(new, name) as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
            other.replace(self._path)
        finally:
            other.unlink(missing_ok=True)


def _header(file: Any, descr: str, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    file.write(header.getvalue())
