"""Running the core's generators and functions in threads, with every failure handed over as a sentence.

napari's own ``create_worker`` is not used: it swallows a RuntimeError in a generator (every torch error is
one) and does not wait for its threads when the window closes. Here a thread never touches Qt: it puts what
happened into a queue (`MainThread`) which the main thread empties.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.activity import calm_activity_sign
from napari_cam_feedback.widgets.phase import Phase, PhaseMachine

logger = logging.getLogger(__name__)

# The event loop must stay smooth, so a flood of steps is handled in slices of this length.
_SLICE_SECONDS = 0.015
_BAR_SECONDS = 0.1
_JOIN_SECONDS = 15.0


class Stopped(Exception):
    """Raised by work that was asked to stop and has no result to give."""


@dataclass(frozen=True)
class Progress:
    """Something that work may yield to move the progress bar; also given to ``on_step``.

    Attributes
    ----------
    done, total : int
        Of whatever is counted; a total of 0 means that nobody knows.
    text : str
        What is being done now.
    """

    done: int
    total: int = 0
    text: str = ""


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


class _Silent:
    """A file that keeps nothing: napari's progress would otherwise print to the terminal."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class _Bar:
    """A bar in napari's activity dock; used on the main thread only, moved at most ten times a second."""

    def __init__(self, text: str, total: int) -> None:
        from napari.utils import progress

        self._bar: Any = progress(total=total, desc=text, file=_Silent())
        self._last = 0.0
        calm_activity_sign()

    def move(self, done: int, total: int, text: str = "") -> None:
        now = time.perf_counter()
        if self._bar is None or (now - self._last < _BAR_SECONDS and done < total):
            return
        self._last = now
        if total and self._bar.total != total:
            self._bar.total = total
        if text:
            self._bar.set_description(text)
        if self._bar is not None and done > self._bar.n:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


class Job:
    """One run of one named piece of work. Made by `Jobs.start`.

    Attributes
    ----------
    name : str
        What `Jobs` knows it by.
    stop_event : threading.Event
        Set when the work has been asked to stop.
    steps : int
        How many steps have reached the main thread.
    """

    def __init__(self, name: str, description: str, *, precious: bool) -> None:
        self.name = name
        self.description = description
        self.precious = precious
        self.stop_event = threading.Event()
        self.steps = 0
        self.thread: threading.Thread | None = None
        # A detached job was replaced, or its window closed: nobody wants to hear from it.
        self.detached = False
        self.over = False
        self.bar: _Bar | None = None
        self.on_step: Callable[[Any], None] | None = None
        self.on_done: Callable[[Any], None] | None = None
        self.on_failed: Callable[[str], None] | None = None
        self.on_stopped: Callable[[], None] | None = None
        self.progress: Callable[[Any], tuple[int, int]] | None = None
        self.total = 0


class Jobs(QObject):
    """The background work of one session: start, stop, and join on close.

    Signals
    -------
    changed : str
        The name of a job whose phase has changed.
    failed : str, str
        Name and sentence of a job that failed without an ``on_failed`` of its own.
    """

    changed = Signal(str)
    failed = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.main = MainThread(self)
        self._machines: dict[str, PhaseMachine] = {}
        self._jobs: dict[str, Job] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def phase(self, name: str) -> PhaseMachine:
        """Return the state machine of the work called `name`; there is one from the start, idle."""
        if name not in self._machines:
            self._machines[name] = PhaseMachine(self)
        return self._machines[name]

    def running(self, name: str | None = None) -> bool:
        """Whether the work called `name` (or, without a name, any) is running or stopping."""
        if name is not None:
            return self.phase(name).busy
        return any(machine.busy for machine in self._machines.values())

    def precious(self) -> list[str]:
        """Descriptions of running jobs that the person would be sorry to lose."""
        return [job.description for job in self._jobs.values() if job.precious and not job.over]

    def start(
        self,
        name: str,
        work: Callable[[Callable[[], bool]], Any],
        *,
        on_step: Callable[[Any], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
        on_failed: Callable[[str], None] | None = None,
        on_stopped: Callable[[], None] | None = None,
        description: str = "",
        total: int = 0,
        progress: Callable[[Any], tuple[int, int]] | None = None,
        replace: bool = False,
        precious: bool = False,
    ) -> Job:
        """Run `work` in a thread of its own.

        All callbacks are called on the main thread, in order. Exactly one of `on_done`, `on_failed`,
        `on_stopped` ends the job, after the phase has changed.

        Parameters
        ----------
        name : str
            What kind of work this is ("load", "predict", "retune"); one of a name runs at a time.
        work : callable
            Called in the thread with ``stop``, a function that says whether to stop, as the core takes it.
            It may return a generator, whose yields are the steps and whose return value is the result; any
            other value is the result. For example
            ``lambda stop: retune(classifier, dataset, masks, config, stop=stop)``.
            Work that was asked to stop returns what it has, or raises `Stopped`.
        on_step, on_done, on_failed, on_stopped : callable, optional
            Take the step, the result, the sentence, nothing. Without `on_failed` the signal `failed` tells.
        description : str
            What the activity dock says.
        total : int
            Number of steps, 0 when unknown.
        progress : callable, optional
            From a step to (done, total); without it, steps are counted. A yielded `Progress` needs none.
        replace : bool
            Ask a running job of that name to stop, forget it, and start at once; else a second start is an
            error.
        precious : bool
            Ask before the window is closed while this runs.

        Raises
        ------
        RuntimeError
            A job of that name is running, or the session is closed: a fault of the caller.
        """
        if self._closed:
            raise RuntimeError("the session is closed")
        machine = self.phase(name)
        if machine.busy:
            if not replace:
                raise RuntimeError(f"{name} is already running")
            self._detach(name)
        job = Job(name, description or name, precious=precious)
        job.on_step, job.on_done, job.on_failed, job.on_stopped = on_step, on_done, on_failed, on_stopped
        job.progress, job.total = progress, total
        self._jobs[name] = job
        job.bar = _Bar(job.description, total)
        machine.to(Phase.RUNNING)
        self.changed.emit(name)
        # Daemons, since the interpreter joins other threads before anything could tell them to stop; `shutdown` joins.
        job.thread = threading.Thread(target=self._run, args=(job, work), name=f"cam-feedback {name}", daemon=True)
        self._threads.add(job.thread)
        job.thread.start()
        return job

    def stop(self, name: str) -> None:
        """Ask the work called `name` to stop; does nothing when it is not running."""
        if self.phase(name).phase is Phase.RUNNING:
            self._jobs[name].stop_event.set()
            self.phase(name).to(Phase.STOPPING)
            self.changed.emit(name)

    def shutdown(self, seconds: float = _JOIN_SECONDS) -> bool:
        """Stop everything and wait for the threads; no callback is called any more.

        Returns
        -------
        bool
            Whether all threads ended within `seconds`.
        """
        self._closed = True
        for name in list(self._jobs):
            self._detach(name)
        self.main.close()
        until = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # In the thread --------------------------------------------------------------------------------

    def _run(self, job: Job, work: Callable[[Callable[[], bool]], Any]) -> None:
        post = self.main.post
        try:
            result = work(job.stop_event.is_set)
            if isinstance(result, Generator):
                result = self._iterate(job, result)
        except Stopped:
            post(self._finish, job, "stopped", None)
        except BaseException as error:
            # The person gets the sentence; the traceback is for whoever reads the log.
            logger.info("job %s failed", job.name, exc_info=True)
            post(self._finish, job, "failed", describe(error))
        else:
            post(self._finish, job, "done", result)
        finally:
            self._threads.discard(threading.current_thread())

    def _iterate(self, job: Job, steps: Generator[Any, None, Any]) -> Any:
        try:
            while True:
                step = next(steps)
                if job.detached:
                    raise Stopped
                self.main.post(self._step, job, step)
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    # On the main thread ---------------------------------------------------------------------------

    def _detach(self, name: str) -> None:
        job = self._jobs.pop(name, None)
        if job is None:
            return
        job.stop_event.set()
        job.detached = True
        job.over = True
        if job.bar is not None:
            job.bar.close()
        machine = self.phase(name)
        if machine.phase is Phase.RUNNING:
            machine.to(Phase.STOPPING)
        if machine.phase is Phase.STOPPING:
            machine.to(Phase.IDLE)

    def _step(self, job: Job, step: Any) -> None:
        if job.detached or job.over:
            return
        job.steps += 1
        if isinstance(step, Progress):
            done, total, text = step.done, step.total, step.text
        elif job.progress is not None:
            (done, total), text = job.progress(step), ""
        else:
            done, total, text = job.steps, job.total, ""
        self._call(job, job.on_step, step)
        if job.bar is not None and not job.detached:
            job.bar.move(done, total, text)

    def _finish(self, job: Job, end: str, value: Any) -> None:
        if job.detached or job.over:
            return
        job.over = True
        if job.bar is not None:
            job.bar.close()
        if self._jobs.get(job.name) is job:
            del self._jobs[job.name]
        machine = self.phase(job.name)
        if end == "failed":
            machine.to(Phase.FAILED)
            self.changed.emit(job.name)
            self._tell(job, value)
        elif end == "stopped":
            if machine.phase is Phase.RUNNING:
                machine.to(Phase.STOPPING)
            machine.to(Phase.IDLE)
            self.changed.emit(job.name)
            self._call(job, job.on_stopped)
        else:
            machine.to(Phase.DONE)
            self.changed.emit(job.name)
            self._call(job, job.on_done, value)

    def _tell(self, job: Job, sentence: str) -> None:
        if job.on_failed is None:
            self.failed.emit(job.name, sentence)
            return
        try:
            job.on_failed(sentence)
        except Exception:
            logger.exception("on_failed of job %s", job.name)
            self.failed.emit(job.name, sentence)

    def _call(self, job: Job, callback: Callable[..., None] | None, *args: Any) -> None:
        """Call back; a fault in the callback becomes a sentence instead of vanishing in Qt's event loop."""
        if callback is None:
            return
        try:
            callback(*args)
        except Exception as error:
            logger.exception("a callback of job %s", job.name)
            job.stop_event.set()
            self.failed.emit(job.name, describe(error))


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
