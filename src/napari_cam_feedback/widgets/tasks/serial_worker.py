"""One thread that does small tasks in order, such as writing masks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from napari_cam_feedback.widgets.tasks.gc_pause import no_collection_here
from napari_cam_feedback.widgets.tasks.main_thread import MainThread

_JOIN_SECONDS = 15.0


class SerialWorker:
    """A thread that does small tasks in order; the latest of a name replaces one still waiting.

    Writing masks to disk is such work: it must not hold up the window, and must be finished before the process ends.
    There is a thread only while there is something to do.

    Parameters
    ----------
    main : MainThread
        Through which results come back.
    name : str
        Of the thread.
    must_finish : bool
        The process does not end before all tasks are done, however slow the disk is.
    """

    def __init__(self, main: MainThread, name: str, *, must_finish: bool = False) -> None:
        self._main = main
        self._name = name
        self._must_finish = must_finish
        self._tasks: dict[str, tuple[Callable[[], Any], Callable[[Any, Exception | None], None] | None]] = {}
        self._condition = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(
        self, name: str, task: Callable[[], Any], then: Callable[[Any, Exception | None], None] | None = None
    ) -> None:
        """Have `task` done in the thread; `then` gets (result, None) or (None, error) on the main thread."""
        with self._condition:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            self._tasks.pop(name, None)
            self._tasks[name] = (task, then)
            if self._thread is not None:
                return
            self._busy = True
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=not self._must_finish)
            try:
                self._thread.start()
                return
            except RuntimeError:  # the interpreter is ending and starts no threads any more
                pass
        self._run()

    def wait(self, seconds: float = _JOIN_SECONDS) -> bool:
        """Wait until all tasks are done; returns whether they are."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._tasks and not self._busy, seconds)

    def close(self, seconds: float = _JOIN_SECONDS) -> bool:
        """Take no more tasks and wait for those there are; returns whether they were done in time."""
        with self._condition:
            self._closed = True
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _run(self) -> None:
        with no_collection_here():
            self._do_all()

    def _do_all(self) -> None:
        while True:
            with self._condition:
                if not self._tasks:
                    self._busy, self._thread = False, None
                    self._condition.notify_all()
                    return
                name = next(iter(self._tasks))
                task, then = self._tasks.pop(name)
            result: Any = None
            failure: Exception | None = None
            try:
                result = task()
            except Exception as error:  # for who asked
                failure = error
            if then is not None:
                self._main.post(then, result, failure)
