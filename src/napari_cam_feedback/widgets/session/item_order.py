"""The order in which one moves through the items: that of the table, with its filter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class ItemOrder:
    """Items in the table's order, and the current one's place among them; a step costs the same for a million items.

    Attributes
    ----------
    indices : ndarray of int64
        Item indices, in order.
    position : int
        Place of the current item; where it dropped out of the filter, the place that it had.
    """

    def __init__(self, indices: np.ndarray, total: int) -> None:
        self.position = 0
        self._total = total
        self.set(indices)

    def set(self, indices: np.ndarray) -> None:
        """Take over another order of the same items."""
        self.indices = np.asarray(indices, np.int64)
        self._places: np.ndarray | None = None

    def place_of(self, index: int | None) -> int:
        """Return an item's place, -1 where it is filtered out; the table of places is made once for each order."""
        if index is None or not 0 <= index < self._total:
            return -1
        if self._places is None:
            self._places = np.full(self._total, -1, np.int64)
            self._places[self.indices] = np.arange(len(self.indices))
        return int(self._places[index])

    def move_to(self, index: int | None) -> None:
        """Take the item's place as position, if it has one."""
        place = self.place_of(index)
        if place >= 0:
            self.position = place

    def step(self, index: int | None, by: int) -> int | None:
        """Return the item `by` places on from the current one, `index`; stays at the ends; None where there are none.

        When the current item has dropped out of the filter, the next one is the one that moved up to its place.
        """
        if not len(self.indices):
            return None
        inside = self.position < len(self.indices) and self.indices[self.position] == index
        place = self.position + by if inside or by < 0 else self.position + by - 1
        return int(self.indices[min(max(place, 0), len(self.indices) - 1)])

    def neighbours(self, reach: int, direction: int) -> Iterator[int]:
        """Yield the items around the position, the nearest first, those ahead before those behind."""
        for distance in range(1, reach + 1):
            for side in (direction, -direction):
                place = self.position + side * distance
                if 0 <= place < len(self.indices):
                    yield int(self.indices[place])
