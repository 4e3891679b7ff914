"""Keeping Python's garbage collector from halting the window.

A full collection looks at every object there is, a million with torch and napari in memory: 0.2 to 0.8 s during which no
thread runs Python. What is in memory already can be set aside for a while, so that a collection only sees what is new.
"""

from __future__ import annotations

import gc

_holders = 0


def hold_objects() -> None:
    """Set aside what is in memory now, until `release_objects` has been called as often as this."""
    global _holders
    _holders += 1
    gc.freeze()


def release_objects() -> None:
    """Hand what was set aside back to the collector, once nobody holds it any more."""
    global _holders
    _holders = max(_holders - 1, 0)
    if _holders == 0:
        gc.unfreeze()


class Hold:
    """What one dock holds aside while its threads compute: once, however often it says so."""

    def __init__(self) -> None:
        self._on = False

    def __call__(self, hold: bool) -> None:
        """Set aside what is in memory, or hand it back."""
        if hold != self._on:
            self._on = hold
            hold_objects() if hold else release_objects()
