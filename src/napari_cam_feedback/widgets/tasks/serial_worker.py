"""One thread that does small tasks in order, such as writing masks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from napari_cam_feedback.widgets.tasks.main_thread import MainThread

_JOIN_SECONDS = 15.0


class SerialWorker:
    """One thread that does small tasks in order; the latest of a name replaces one still waiting.

    Writing masks to disk is such work: it must not hold up the window, and must be finished before the window
    closes.

    Parameters
    ----------
    main : MainThread
        Through which results come back.
    name : str
        Of the thread.
    """

    def __init__(self, main: MainThread, name: str) -> None:
        self._main = main
        self._name = name
        self._tasks: dict[str, tuple[Callable[[], Any], Callable[[Any, Exception | None], None] | None]] = {}
        self._condition = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(
        self,
        name: str,
        task: Callable[[], Any],
        then: Callable[[Any, Exception | None], None] | None = None,
    ) -> None:
        """Have `task` done in the thread; `then` gets (result, None) or (None, error) on the main thread."""
        with self._condition:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            self._tasks.pop(name, None)
            self._tasks[name] = (task, then)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def wait(self, seconds: float = _JOIN_SECONDS) -> bool:
        """Wait until all tasks are done; returns whether they are."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._tasks and not self._busy, seconds)

    def close(self, seconds: float = _JOIN_SECONDS) -> bool:
        """Finish what is waiting, end the thread and join it; returns whether it ended in time."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._tasks or self._closed)
                if not self._tasks:
                    return
                name = next(iter(self._tasks))
                task, then = self._tasks.pop(name)
                self._busy = True
            result: Any = None
            failure: Exception | None = None
            try:
                result = task()
            except Exception as error:
                failure = error
            if then is not None:
                self._main.post(then, result, failure)
