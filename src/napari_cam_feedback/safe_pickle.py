"""Pickles of arrays, numbers and texts that other programs wrote, read without running what pickles may run.

A pickle is a program: it names functions, and reading it calls them. Here every name stands for something of our own that
notes what it is told, so that nothing of NumPy's or of anyone else's is called; arrays are then made from the bytes, once
their sizes were found to fit.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.pickle_depth import checked

# What plain containers, numbers, texts and calls are written with. Not among them: objects of classes, numbers of a
# registry, persistent names, and buffers outside of the file.
_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1",
    "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "BUILD",
}  # fmt: skip
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_TYPES = frozenset(("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"))
_MAX_LEVELS = 4


def read_pickle(path: Path, error: type[FeedbackError], broken: str, instead: str) -> Any:
    """Read a pickle of dictionaries, lists, numbers, texts and arrays, of any protocol; nothing of it runs.

    Parameters
    ----------
    path : Path
        The file.
    error : type of FeedbackError
        What is raised.
    broken : str
        What is said of a file that is no such pickle, after its path.
    instead : str
        What to do where the file is refused.

    Returns
    -------
    object
        The same in plain Python objects and arrays of bool, whole numbers or floats; paths as text.

    Raises
    ------
    FeedbackError
        `error`: the file cannot be read, names anything else than arrays and plain containers, or says wrong sizes.
    """
    try:
        data = path.read_bytes()
        _scan(data)
        # What is in the file once has taken a byte at least; what is in it by reference can be in it ever so often.
        return _plain(_Unpickler(io.BytesIO(data), encoding="latin-1").load(), 0, iter(range(len(data))))
    except _Refused as refusal:
        raise error(f"{path} {refusal}; {instead}.") from refusal
    except OSError as failure:
        raise error(f"Could not read {path}: {describe(failure)}") from failure
    except Exception as failure:  # a broken pickle can fail in any way
        raise error(f"{path} {broken}.") from failure


class _Refused(Exception):
    """Why a pickle is not read."""


def _scan(data: bytes) -> None:
    """Look at every instruction before the first is followed, so that no small file can ask for much memory."""
    for number, (name, value) in enumerate(checked(pickletools.genops(data))):
        if name not in _OPCODES:
            raise _Refused(f"holds Python objects ({name}), whose reading could run code")
        if name in _PUTS and isinstance(value, int) and value > number:
            raise _Refused("is broken on purpose: it asks for far more memory than it needs")


class _Unpickler(pickle.Unpickler):
    """Knows what arrays are written with and refuses every other name before anything is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _stand_in(module, name)
        if stand_in is None:
            wanted = " ".join(f"{module}.{name}".split())[:60]
            raise _Refused(f'asks to run "{wanted}" when it is read, which is refused for safety')
        return stand_in


class _Inert:
    """Something that a pickle can do nothing to: it has no attributes to set."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise _Refused("is broken: it changes what it should only call")


class _Name(_Inert):
    """Stands for a function or class that a pickle names; when called, does what one of ours does."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)


class _DType(_Inert):
    """A type of pixels: ``code`` such as ``u1``, and its order of bytes."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), "="
        if self.code[:1] in "<>|=":
            self.code, self.order = self.code[1:], self.code[0]

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        self.order = order if order in ("<", ">") else "="

    def dtype(self) -> np.dtype[Any]:
        """Return NumPy's own."""
        if self.code not in _TYPES:
            raise _Refused(f"holds an array of the type {self.code[:20]!r}, which is no number")
        return np.dtype(self.order + self.code)


class _Array(_Inert):
    """An array as the pickle describes it."""

    __slots__ = ("described",)

    def __init__(self, *described: Any) -> None:
        self.described = described  # bytes, dtype, shape, order

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.described = (data, dtype, shape, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        """Return the array, if bytes and shape agree."""
        if len(self.described) != 4:
            raise _Refused("holds an array without its pixels")
        if isinstance(self.described[0], np.ndarray):
            return self.described[0]
        data, dtype, shape, order = self.described
        data = data.encode("latin-1") if isinstance(data, str) else data
        kind = dtype.dtype() if isinstance(dtype, _DType) else None
        if kind is None or not isinstance(data, bytes | bytearray) or order not in ("C", "F", None):
            raise _Refused("holds an array that is not as NumPy writes it")
        fits = isinstance(shape, tuple) and len(shape) <= 4 and all(type(n) is int and n > 0 for n in shape)
        if not fits or prod(shape) * kind.itemsize != len(data):
            raise _Refused(f"holds an array that says {str(shape)[:60]} pixels and has {len(data)} bytes")
        found = np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")
        self.described = (found, dtype, shape, order)  # asked again, it is no copy
        return found


def _scalar(dtype: Any, data: Any) -> Any:
    return _Array(data, dtype, (1,), "C").array()[0].item()


def _bytes(text: str, encoding: str) -> bytes:
    # What Python 3 writes for bytes in old protocols.
    if encoding not in ("latin1", "latin-1"):
        raise _Refused("is broken")
    return text.encode("latin-1")


def _dict(*arguments: Any) -> dict[Any, Any]:
    # The pairs of an ordered dictionary; of one with defaults, what would make a default, which nobody asks for.
    return dict(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else {}


def _path(*parts: str) -> str:
    return "/".join(parts).replace("//", "/")


def _stand_in(module: str, name: str) -> _Name | None:
    package, _, rest = module.partition(".")
    made: Callable[..., Any] | None
    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("_codecs", "encode"): _bytes,
        ("collections", "OrderedDict"): _dict,
        ("collections", "defaultdict"): _dict,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        # What a dictionary with defaults would make them with; nobody asks it to.
        **{(builtins, kind): _dict for builtins in ("builtins", "__builtin__") for kind in ("dict", "list")},
    }
    if package == "numpy" and rest in ("core.multiarray", "_core.multiarray", "core.numeric", "_core.numeric"):
        arrays: dict[str, Callable[..., Any]] = {
            "_reconstruct": lambda *_: _Array(),
            "scalar": _scalar,
            "_frombuffer": _Array,
        }
        made = arrays.get(name)
    elif package == "pathlib" and name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
        made = _path
    else:
        made = known.get((module, name))
    # Made anew each time, so that no pickle meets what another has seen.
    return None if made is None else _Name(made)


def _plain(value: Any, level: int, left: Iterator[int]) -> Any:
    """Return the same without stand-ins; `left` gives out how many objects there may be."""
    if next(left, None) is None:
        raise _Refused("is broken on purpose: it holds the same objects over and over")
    if level > _MAX_LEVELS:
        raise _Refused(f"holds dictionaries in dictionaries, more than {_MAX_LEVELS} deep")
    if isinstance(value, dict):
        return {_key(key): _plain(inner, level + 1, left) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(inner, level + 1, left) for inner in value)
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, _Inert):
        raise _Refused("holds the name of a function instead of a value")
    return value


def _key(key: Any) -> str | int:
    if isinstance(key, bytes):
        key = key.decode("utf-8", "replace")
    if isinstance(key, tuple) and all(isinstance(part, str | int) for part in key):
        key = "/".join(map(str, key))
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise _Refused(f"names something by {str(key)[:40]!r}, which is neither a text nor a number")
    return key
