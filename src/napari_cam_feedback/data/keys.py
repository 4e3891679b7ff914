"""A compact, read-only list of item keys: a million of them take tens of megabytes and are found at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import overload

import numpy as np


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
    """

    def __init__(self, keys: Iterable[str]) -> None:
        encoded = [key.encode() for key in keys]
        self._offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=self._offsets[1:])
        self._text = b"".join(encoded)

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
        return self._text[self._offsets[index] : self._offsets[index + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        text, offsets = self._text, self._offsets.tolist()
        return (text[a:b].decode() for a, b in pairwise(offsets))

    @cached_property
    def _hashes(self) -> tuple[np.ndarray, np.ndarray]:
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order

    def find(self, key: str) -> int | None:
        """Return the position of `key`, None if it is not among the keys."""
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
