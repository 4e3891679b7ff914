"""Having functions called on the main thread from other threads, which must not touch Qt; and garbage collected there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal

from napari_cam_feedback.widgets.tasks.gc_pause import collect_due, start_collecting, stop_collecting

# The event loop must stay smooth, so a flood of steps is handled in slices of this length.
_SLICE_SECONDS = 0.015
# Often enough that little gathers meanwhile: the youngest generation is then collected in some milliseconds.
_COLLECT_MS = 50


class MainThread(QObject):
    """A queue through which other threads have functions called on the main thread, in order."""

    _wake = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._queue: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._awake = False
        self._emptying = False
        self._closed = False
        self._wake.connect(self._empty, Qt.ConnectionType.QueuedConnection)
        # A real timer between two slices: events posted by events come before all others, and would starve them.
        self._next_slice = QTimer(self)
        self._next_slice.setSingleShot(True)
        self._next_slice.setInterval(1)
        self._next_slice.timeout.connect(self._empty)
        self._collect = QTimer(self)
        self._collect.setInterval(_COLLECT_MS)
        self._collect.timeout.connect(collect_due)
        if QCoreApplication.instance() is not None:  # else no timer runs
            self._collect.start()
            start_collecting(self)

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Have ``function(*args)`` called on the main thread soon; may be called from any thread."""
        if self._closed:
            return
        self._queue.append((function, args))
        if self._awake:
            return
        self._awake = True
        try:
            self._wake.emit()
        except RuntimeError:  # the Qt object is gone: the window was closed meanwhile
            self._closed = True

    def close(self) -> None:
        """Call nothing any more."""
        self._closed = True
        self._next_slice.stop()
        self._collect.stop()
        stop_collecting(self)
        self._queue.clear()

    def _empty(self) -> None:
        # napari's progress bar runs the event loop inside, so this may be entered again; order must hold.
        if self._emptying:
            return
        self._emptying = True
        until = time.perf_counter() + _SLICE_SECONDS
        try:
            while self._queue and not self._closed and time.perf_counter() < until:
                function, args = self._queue.popleft()
                function(*args)
        finally:
            self._emptying = False
            # First this, then the look at the queue: what is put in between the two is either seen or wakes us.
            self._awake = False
            if self._queue and not self._closed:
                self._next_slice.start()
