"""Keeping Python's garbage collector from halting the window, and from taking windows apart in other threads.

Python collects in whichever thread happens to fill the quota. What it frees there may be a widget or a texture that only
the main thread may touch: Qt and vispy then end the whole process (napari#1029). So while a thread of ours works,
collection is left to a timer of the main thread (`MainThread`).

A full collection looks at every object there is, a million with torch and napari in memory: 0.2 to 0.8 s during which no
thread runs Python. What is in memory already can be set aside for a while, so that a collection only sees what is new.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

_holders = 0

# Finalizers may come here while this thread is here already.
_lock = threading.RLock()
_working = 0
_paused = False
#: How many objects there were after all were looked at, and about how many have lasted since.
_old: int | None = None
_grown = 0
#: Those whose timers call `collect_due`.
_collectors: WeakSet[object] = WeakSet()


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


@contextmanager
def no_collection_here() -> Iterator[None]:
    """Leave collecting to the main thread while this thread works, if a main thread collects."""
    global _working, _paused
    with _lock:
        _working += 1
        if _collectors and not _paused and gc.isenabled():
            gc.disable()
            _paused = True
    try:
        yield
    finally:
        with _lock:
            _working -= 1
            if not _collectors:
                _resume()


def start_collecting(collector: object) -> None:
    """Say that a timer of the main thread calls `collect_due` from now on, for as long as `collector` is there."""
    with _lock:
        _collectors.add(collector)


def stop_collecting(collector: object) -> None:
    """Say that it does so no longer; without any, threads collect as Python has them."""
    with _lock:
        _collectors.discard(collector)
        if not (_collectors and _working):
            _resume()


def collect_due() -> None:
    """Collect what Python would have collected by now; on the main thread. Without a working thread, hand back to Python."""
    if not _paused:
        return
    due = [gen for gen in (2, 1, 0) if 0 < gc.get_threshold()[gen] < gc.get_count()[gen]]
    if due:
        _collect(due[0])
    with _lock:
        if not _working:
            _resume()


def count_as_old() -> None:
    """Take all that is in memory now for what stays: what was imported is no reason to look at all of it."""
    global _old, _grown
    _old, _grown = None, 0


def _collect(generation: int) -> None:
    """Collect, all of it only where a quarter is new: so has it Python, but only where it collects by itself."""
    global _old, _grown
    if _old is None:
        _old = len(gc.get_objects(2))
    if generation == 2 and _grown > _old / 4:
        gc.collect()
        _old, _grown = len(gc.get_objects(2)), 0
    elif generation:
        young = len(gc.get_objects(0)) + len(gc.get_objects(1))
        _grown += max(young - gc.collect(1), 0)
    else:
        gc.collect(0)


def _resume() -> None:
    global _paused
    if _paused:
        _paused = False
        gc.enable()
