"""Turning work that reports its progress to a callback into a generator, as the session's jobs take it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from napari_cam_feedback.widgets.tasks.workers import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class _End(Generic[T]):
    result: T | None = None
    error: BaseException | None = None


def reporting(work: Callable[[Callable[[str, int, int], None]], T]) -> Generator[Progress, None, T]:
    """Run `work` in a thread of its own and yield what it reports.

    Parameters
    ----------
    work : callable
        Takes ``report(text, done, total)``; is to end soon once the job is asked to stop.

    Returns
    -------
    object
        What `work` returns; what it raises is raised.
    """
    queue: SimpleQueue[Progress | _End[T]] = SimpleQueue()

    def run() -> None:
        try:
            queue.put(_End(work(lambda text, done, total: queue.put(Progress(done, total, text)))))
        except BaseException as error:
            queue.put(_End(error=error))

    thread = threading.Thread(target=run, name="cam-feedback reporting", daemon=True)
    thread.start()
    try:
        while True:
            found = queue.get()
            if isinstance(found, _End):
                if found.error is not None:
                    raise found.error
                return found.result  # type: ignore[return-value]
            yield found
    finally:
        # Also when nobody wants the rest: whoever closes the window waits for the jobs, and so for this.
        thread.join()
