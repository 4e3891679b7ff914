"""The arrays of an .npz file, of ours or of others: looked at before memory is taken, and never unpickled."""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal

import numpy as np

from napari_cam_feedback.memory import available_memory

Fault = Literal["objects", "memory", "broken"]
_SUFFIX = ".npy"
# As numpy.savez and savez_compressed write them; others pack a gigabyte into some hundred bytes.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class NpzError(Exception):
    """An array cannot be read.

    Attributes
    ----------
    fault : str
        ``objects``: it holds Python objects, whose reading could run code. ``memory``: it does not fit into the memory.
        ``broken``: it is no array, or not whole.
    name : str
        The array's; empty where it is the file.
    """

    def __init__(self, fault: Fault, name: str = "") -> None:
        super().__init__(f"{name or 'the file'}: {fault}")
        self.fault, self.name = fault, name


class Npz:
    """An open .npz file; a context manager.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    names : tuple of str
        Of the arrays, in the file's order.

    Raises
    ------
    NpzError
        It is no .npz file.
    OSError
        It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = zipfile.ZipFile(path)
        except OSError:
            raise
        except Exception as error:  # a broken archive fails in many ways
            raise NpzError("broken") from error
        self.names = tuple(n.removesuffix(_SUFFIX) for n in self._file.namelist() if n.endswith(_SUFFIX))

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str) -> np.ndarray:
        """Return an array.

        Raises
        ------
        NpzError
            It cannot be read.
        OSError
            The file cannot be read.
        """
        try:
            info = self._file.getinfo(name + _SUFFIX)
            if info.compress_type not in _COMPRESSIONS:
                raise NpzError("broken", name)
            with self._file.open(info) as entry:
                shape, dtype = _header(entry)
                size = math.prod(shape) * dtype.itemsize
                if dtype.hasobject:
                    raise NpzError("objects", name)
                if entry.tell() + size != info.file_size:
                    raise NpzError("broken", name)
            if size > available_memory():
                raise NpzError("memory", name)
            with self._file.open(info) as entry:
                array = np.lib.format.read_array(entry, allow_pickle=False)
            if dtype.kind == "U" and _codes(array).max(initial=0) > sys.maxunicode:
                raise NpzError("broken", name)  # Python fails where it makes text of it
            return array
        except (NpzError, OSError):
            raise
        except MemoryError as error:
            raise NpzError("memory", name) from error
        except Exception as error:  # numpy, zlib and zipfile raise errors of many kinds
            raise NpzError("broken", name) from error

    def read_all(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return some arrays by name; raises as `read` does, also where all of them do not fit into the memory."""
        names = list(names)
        if sum(self._file.getinfo(name + _SUFFIX).file_size for name in names) > available_memory():
            raise NpzError("memory")
        return {name: self.read(name) for name in names}


def _codes(texts: np.ndarray) -> np.ndarray:
    """Return the numbers of the characters, uint32."""
    return np.frombuffer(texts.tobytes(), np.dtype("u4").newbyteorder(texts.dtype.byteorder))


def _header(entry: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return an array's shape and type; what follows in the entry are its values."""
    version = np.lib.format.read_magic(entry)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(entry)
    return shape, dtype
