"""Writing files so that a crash leaves either the old file or the new one, never half of one."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import stat
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import StorageError, describe

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)|-", re.IGNORECASE)
# mkstemp makes files that only their owner may read; results are to be shared like any other file. The mask can
# only be read by setting it, which is safe at import and not in a thread.
_UMASK = os.umask(0)
os.umask(_UMASK)
_TEMPORARY = ".tmp-"
_ATTEMPTS = 40
_PAUSE_SECONDS = 0.05


def unused(path: Path) -> Path:
    """Return a path, with a number behind its name if there is something there already; an empty folder is nothing."""
    return next(each for each in _numbered(path) if is_free(each))


def make_unused_folder(path: Path) -> Path:
    """Make and return a folder of that name, with a number behind it if there is one; two callers never get the same.

    Raises
    ------
    OSError
        No folder can be made there.
    """
    for each in _numbered(path):
        try:
            each.mkdir(parents=True)
        except FileExistsError:
            continue
        return each
    raise AssertionError("there is always another number")


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def is_free(path: Path) -> bool:
    """Tell whether there is nothing at a path, or an empty folder."""
    return not path.exists() or (path.is_dir() and next(path.iterdir(), None) is None)


def csv_text(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table as CSV text with a header, as `TableWriter` writes it; None is an empty cell."""
    text = io.StringIO()
    TableWriter(text).writerows([columns, *rows])
    return text.getvalue()


def csv_of_mappings(rows: Sequence[Mapping[str, object]]) -> str:
    """Return mappings as CSV text, a row each, with a column for every name that occurs."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(columns, ([row.get(name, "") for name in columns] for row in rows))


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, flush it to disk and put it in `path`'s place.

    The parent folders are made. If the block fails, the temporary file is removed and `path` is as it was. A device or a
    pipe, such as ``/dev/stdout``, is not replaced but written to.

    Raises
    ------
    StorageError
        The file could not be written; the sentence says why.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder, not a file; name a file.")
        special = _is_special(path)
        if not special:
            path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, since writers such as Pillow choose the format by it.
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix=path.suffix, dir=None if special else path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if special:
            with temporary.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
            return
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        _put_in_place(temporary, path)
    except OSError as error:
        _forget_temporary(error)
        raise StorageError(f"Could not write {path}: {describe(error)}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _forget_temporary(error: OSError) -> None:
    """Take the name of a temporary file, which nobody knows, out of an error."""
    if isinstance(error.filename, str) and Path(error.filename).name.startswith(_TEMPORARY):
        error.filename = None


def _is_special(path: Path) -> bool:
    """Tell whether there is something at a path that is neither a file nor a folder: a device, a pipe."""
    return path.exists() and not path.is_file()


def refuse_links(folder: Path, path: Path) -> None:
    """Raise StorageError where a link on the way from an output folder to a file in it leads out of that folder.

    Writing follows links to folders; a link in the file's own place is replaced. The folder itself may be a link.
    """
    real = folder.resolve()
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        if not (folder / parent).resolve().is_relative_to(real):
            raise StorageError(
                f"{folder / parent} leads out of {folder} by a link; remove the link or choose another folder."
            )


def _put_in_place(temporary: Path, path: Path) -> None:
    for _ in range(_ATTEMPTS):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            # Windows refuses while somebody reads the old file.
            if os.name != "nt":
                raise
            time.sleep(_PAUSE_SECONDS)
    temporary.replace(path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out now whether `path` can be written later; leaves nothing behind.

    Raises
    ------
    StorageError
        It cannot; the sentence says why.
    """
    path = Path(path)
    missing: list[Path] = []
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder, not a file; name a file.")
        if _is_special(path):
            return
        missing = list(takewhile(lambda folder: not folder.exists(), path.parents))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent, prefix=_TEMPORARY):
            pass
    except OSError as error:
        _forget_temporary(error)
        raise StorageError(f"Could not write {path}: {describe(error)}") from error
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


class TableWriter:
    """Writes CSV whose texts a spreadsheet shows and does not compute.

    A text that begins as a formula does (``=``, ``+``, ``-``, ``@``) gets an apostrophe before it; numbers stay.

    Parameters
    ----------
    file : text file
        Where to.
    """

    def __init__(self, file: Any) -> None:
        self._writer = csv.writer(file, lineterminator="\n")

    def writerow(self, row: Iterable[Any]) -> None:
        """Write one row."""
        self._writer.writerow([_only_text(cell) for cell in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)


def _only_text(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON (NaN is refused: it is no JSON)."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def folded(name: str) -> str:
    """Return a name so that two are the same which some disks take for one: case and Unicode form do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def signature(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """Return what tells one writing of a file from the next; None where there is no file that can be opened.

    Files that are written atomically are other files each time, so that two of the same size within one tick of the disk's
    clock differ too.
    """
    try:
        # A folder on a network says what is there now when a file is opened, not when it is asked for. A pipe is not waited
        # for.
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            found = os.fstat(opened)
        finally:
            os.close(opened)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    StorageError
        The file is missing, unreadable, too large or not JSON.
    """
    path = Path(path)
    if _is_special(path):
        raise StorageError(f"{path} is no file that can be read; remove it or name another one.")
    try:
        # Programs of Windows put a mark before UTF-8.
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StorageError(f"Could not read {path}: {describe(error)}") from error
    except MemoryError as error:
        raise StorageError(f"{path} is too large to be read; restore it or remove it.") from error
    except ValueError as error:
        raise StorageError(f"{path} is not a JSON file ({error}); restore it or remove it.") from error


#: Lists and objects in each other that JSON may have; what reads it further calls itself for each.
MAX_JSON_DEPTH = 100
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def parse_json(text: str) -> Any:
    """Return what a JSON text says; raises ValueError where it is none, or is nested deeper than `MAX_JSON_DEPTH`."""
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH:
        depth = 0
        for found in _BRACKETS.finditer(text):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
            if depth > MAX_JSON_DEPTH:
                raise ValueError(f"lists and objects in each other, more than {MAX_JSON_DEPTH} deep")
    return json.loads(text)
