"""A compact, read-only list of item keys: a million of them take tens of megabytes and are found at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import overload

import numpy as np

# Keys are packed and unpacked so many at a time, so that they never all exist as text.
_BLOCK = 65_536


class Keys(Sequence[str]):
    """The keys as one block of UTF-8 with offsets, and an index of their hashes made when first asked for.

    Parameters
    ----------
    keys : iterable of str
        The keys in the dataset's order.

    Raises
    ------
    UnicodeEncodeError
        A key is no valid text (a file name in a foreign encoding).
    ValueError
        A key has a NUL character.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        blocks: list[bytes] = []
        ends = [np.zeros(1, np.int64)]
        size = 0
        remaining = iter(keys)
        while some := list(islice(remaining, _BLOCK)):
            # Each key ends in a NUL, which no path has, so that a block is packed and split in one go.
            block = _encode(some)
            found = np.flatnonzero(np.frombuffer(block, np.uint8) == 0) + 1
            if len(found) != len(some):
                raise ValueError("a key has a NUL character")
            blocks.append(block)
            ends.append(found + size)
            size += len(block)
        self._offsets = np.concatenate(ends)
        self._text = b"".join(blocks)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"key {index} of {n}")
        index %= n
        return self._text[self._offsets[index] : self._offsets[index + 1] - 1].decode()

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks():
            yield from block.split("\0")

    def _blocks(self) -> Iterator[str]:
        """Yield the keys, some thousands at a time, separated by NUL."""
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            yield self._text[self._offsets[start] : self._offsets[stop] - 1].decode()

    @cached_property
    def _hashes(self) -> tuple[np.ndarray, np.ndarray]:
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order.astype(np.int32 if len(self) < 1 << 31 else np.int64)

    def find(self, key: str) -> int | None:
        """Return the position of `key`, the first if there are several; None if it is not among the keys."""
        hashes, order = self._hashes
        wanted = hash(key)
        at = int(np.searchsorted(hashes, wanted))
        while at < len(hashes) and hashes[at] == wanted:
            if self[int(order[at])] == key:
                return int(order[at])
            at += 1
        return None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.find(key) is not None

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """Return the position of `value` within ``[start, stop)``; ValueError if it is not there."""
        found = self.find(value)
        if found is None or found not in range(*slice(start, stop).indices(len(self))):
            raise ValueError(f"{value!r} is not among the keys")
        return found

    def first_repeated(self) -> int | None:
        """Return the position of the first key that stood earlier already; None where all are distinct."""
        hashes, order = self._hashes
        for place in np.sort(order[1:][hashes[1:] == hashes[:-1]]).tolist():
            if self.find(self[place]) != place:
                return int(place)
        return None

    def containing(self, word: str) -> np.ndarray:
        """Return which keys contain `word`, whatever the case of either; bool (N,)."""
        word = word.lower()
        keys = (key for block in self._blocks() for key in block.lower().split("\0"))
        return np.fromiter((word in key for key in keys), bool, len(self))

    @cached_property
    def ranks(self) -> np.ndarray:
        """The place of each key in the order of their names, from 0; int32 (N,)."""
        names = list(self)
        ranks = np.empty(len(names), np.int32)
        ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names), dtype=np.int32)
        return ranks


def _encode(keys: list[str]) -> bytes:
    try:
        return ("\0".join(keys) + "\0").encode()
    except UnicodeEncodeError:
        for key in keys:
            key.encode()  # so that the error is about one key
        raise
