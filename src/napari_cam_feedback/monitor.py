"""How far some work is, and whether it is to stop: one protocol for all that takes long.

A function that takes long takes a ``monitor``. It tells it how far it is and asks it whether to go on; whoever calls decides
what comes of that: the shell draws a bar and listens for Ctrl-C, a window moves a bar in napari's activity dock, a script
gives functions of its own (`Callbacks`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
#: Keywords of 0.1.0 in place of ``monitor``.
_OLD_KEYWORDS = ("progress", "report", "stop")


class Monitor(Protocol):
    """What is told of some work, and asked whether it is to stop."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Hear how far the work is.

        Parameters
        ----------
        done, total : int
            Of whatever is counted; a total of 0 means that nobody knows.
        message : str
            What is being done now; empty: the same as before.
        """
        ...

    @property
    def stopped(self) -> bool:
        """Whether the work is to stop with what it has."""
        ...


class Quiet:
    """A monitor that nobody listens to, and that never stops anything."""

    stopped = False

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Do nothing."""


#: The monitor of work that nobody watches.
QUIET: Monitor = Quiet()


class Callbacks:
    """A monitor made of functions, for a script.

    Parameters
    ----------
    progress : callable, optional
        Called with done, total and message.
    stop : callable, optional
        Asked now and then; True stops the work with what it has.

    Examples
    --------
    >>> explain_slowly(..., monitor=Callbacks(lambda done, total, message: print(done, total)))  # doctest: +SKIP
    """

    def __init__(
        self, progress: Callable[[int, int, str], object] | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        self._progress, self._stop = progress, stop

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Call the function."""
        if self._progress is not None:
            self._progress(done, total, message)

    @property
    def stopped(self) -> bool:
        """Whether the function says so."""
        return self._stop is not None and self._stop()


class Part:
    """A part of some work: it is told under a message of its own, or not at all.

    Parameters
    ----------
    whole : Monitor
        Of all the work; asked whether to stop.
    message : str
        What the part does, where it does not say so itself.
    silent : bool
        The part's progress is not passed on.
    """

    def __init__(self, whole: Monitor, message: str = "", *, silent: bool = False) -> None:
        self._whole, self._message, self._silent = whole, message, silent

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Pass on how far the part is."""
        if not self._silent:
            self._whole.progress(done, total, message or self._message)

    @property
    def stopped(self) -> bool:
        """Whether the whole is to stop."""
        return self._whole.stopped


def takes_monitor(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function that takes ``monitor`` be called by the keywords of 0.1.0 for one more release.

    These were ``progress``, called with (done, total), ``stop``, and ``report``, called with (message, done, total).
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        old = {name: kwargs.pop(name) for name in _OLD_KEYWORDS if name in kwargs}
        if any(given is not None for given in old.values()):
            warnings.warn(
                f"{function.__qualname__} takes monitor=Callbacks(progress, stop) in place of {', '.join(old)}, "
                "which goes with the next release.",
                DeprecationWarning,
                stacklevel=2,
            )
            kwargs["monitor"] = _of_old(**old)
        return function(*args, **kwargs)

    return call


def _of_old(progress: Any = None, report: Any = None, stop: Any = None) -> Monitor:
    if report is not None:
        return Callbacks(lambda done, total, message: report(message, done, total), stop)
    return Callbacks(None if progress is None else lambda done, total, message: progress(done, total), stop)
