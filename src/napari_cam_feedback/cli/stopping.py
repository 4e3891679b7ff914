"""Ctrl-C as a wish to stop: what was reached is kept; a second one ends at once. And an end that takes no time."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class CommandStopped(Exception):
    """A command was stopped by Ctrl-C and has said itself what it left behind."""


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; the second press raises KeyboardInterrupt as usual."""
    asked: list[bool] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # only the main thread can be interrupted
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def end_quickly() -> None:
    """Have the interpreter end without a search for unreachable objects, which takes seconds of a command's end.

    At its end Python looks several times at every object of torch, sympy and scikit-learn, of which there are hundreds of
    thousands. `gc.freeze` takes them out of that search; all else of the end stays as it is: functions registered with
    `atexit`, open files, and what is reachable from a module. A window's objects are left to Qt's own order.
    """
    atexit.unregister(_freeze)  # so that once is enough, however often a command is run in this process
    atexit.register(_freeze)


def _freeze() -> None:
    if "qtpy" in sys.modules:
        return
    gc.freeze()
    if "triton._C.libtriton" in sys.modules:
        # Triton 3.9 is built with nanobind, which takes what is left of it for leaks and writes a page about them.
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
