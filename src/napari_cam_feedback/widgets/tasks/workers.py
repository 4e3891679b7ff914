"""Running the core's generators and functions in threads, with every failure handed over as a sentence.

napari's own ``create_worker`` is not used: it swallows a RuntimeError in a generator (every torch error is
one) and does not wait for its threads when the window closes. Here a thread never touches Qt: it puts what
happened into a queue (`MainThread`) which the main thread empties.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.errors import describe
from napari_cam_feedback.memory import release_memory
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.tasks.activity import ActivityBar
from napari_cam_feedback.widgets.tasks.gc_pause import no_collection_here
from napari_cam_feedback.widgets.tasks.main_thread import MainThread
from napari_cam_feedback.widgets.tasks.phase import Phase, PhaseMachine

logger = logging.getLogger(__name__)

_JOIN_SECONDS = 15.0
#: Seconds of work after which free memory is given back.
_LONG_SECONDS = 5.0


class WorkStopped(Exception):
    """Raised by work that was asked to stop and has no result to give."""


@dataclass(frozen=True)
class Progress:
    """How far some work is.

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


def _without_frames(error: BaseException) -> BaseException:
    """Cut off the tracebacks, which would keep alive all that the thread had in its hands, such as a network."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


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
        self.bar: ActivityBar | None = None
        self.on_step: Callable[[Any], None] | None = None
        self.on_progress: Callable[[Progress], None] | None = None
        self.on_done: Callable[[Any], None] | None = None
        self.on_failed: Callable[[str], None] | None = None
        self.on_error: Callable[[BaseException], None] | None = None
        self.on_stopped: Callable[[], None] | None = None


class JobMonitor:
    """The `Monitor` of a job's work: what it is told goes to the main thread, and it stops when the job is to."""

    def __init__(self, job: Job, tell: Callable[[Progress], None]) -> None:
        self._job, self._tell = job, tell

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Move the job's bar."""
        if not self._job.detached:
            self._tell(Progress(done, total, message))

    @property
    def stopped(self) -> bool:
        """Whether the job was asked to stop."""
        return self._job.stop_event.is_set()


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

    @property
    def closed(self) -> bool:
        """Whether the session is over, so that nothing can be started."""
        return self._closed

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
        """Descriptions of running jobs that the user would be sorry to lose."""
        return [job.description for job in self._jobs.values() if job.precious and not job.over]

    def start(
        self,
        name: str,
        work: Callable[[Monitor], Any],
        *,
        on_step: Callable[[Any], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
        on_failed: Callable[[str], None] | None = None,
        on_error: Callable[[BaseException], None] | None = None,
        on_stopped: Callable[[], None] | None = None,
        description: str = "",
        replace: bool = False,
        precious: bool = False,
    ) -> Job:
        """Run `work` in a thread of its own.

        All callbacks are called on the main thread, in order. Exactly one of `on_done`, `on_failed` (or `on_error`),
        `on_stopped` ends the job, after the phase has changed.

        Parameters
        ----------
        name : str
            What kind of work this is ("load", "predict", "retune"); one of a name runs at a time.
        work : callable
            Called in the thread with a ``monitor``, as the core takes it: what it is told moves the bar in the activity
            dock. It may return a generator, whose yields are the steps and whose return value is the result; any
            other value is the result. For example
            ``lambda monitor: retune(classifier, dataset, masks, config, monitor=monitor)``.
            Work that was asked to stop returns what it has, or raises `WorkStopped`.
        on_step, on_done, on_failed, on_stopped : callable, optional
            Take the step, the result, the sentence, nothing. Without `on_failed` the signal `failed` tells.
        on_progress : callable, optional
            Takes the `Progress` that the monitor is told.
        on_error : callable, optional
            Instead of `on_failed`: takes the exception, for whoever has a question to ask or a table to show.
        description : str
            What the activity dock says.
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
        job.on_step, job.on_done, job.on_stopped = on_step, on_done, on_stopped
        job.on_failed, job.on_error = on_failed, on_error
        job.on_progress = on_progress
        self._jobs[name] = job
        machine.to(Phase.RUNNING)
        self.changed.emit(name)
        # Making the bar runs the event loop, in which this job may be replaced, or the window closed, before it began.
        bar = ActivityBar(job.description, 0)
        if job.over:
            bar.close()
            return job
        job.bar = bar
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

    def abandon(self, job: Job) -> None:
        """Call nobody back for a job any more: one that is precious goes on, any other is stopped."""
        job.on_step = job.on_done = job.on_failed = job.on_error = job.on_stopped = job.on_progress = None
        if not job.over and not job.precious and self._jobs.get(job.name) is job:
            self._detach(job.name)
            self.changed.emit(job.name)

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

    def _run(self, job: Job, work: Callable[[Monitor], Any]) -> None:
        with no_collection_here():
            self._do(job, work)

    def _do(self, job: Job, work: Callable[[Monitor], Any]) -> None:
        post, started = self.main.post, time.monotonic()
        try:
            result = work(JobMonitor(job, lambda found: post(self._progress, job, found)))
            if isinstance(result, Generator):
                result = self._iterate(job, result)
        except WorkStopped:
            post(self._finish, job, "stopped", None)
        except BaseException as error:  # the user gets the sentence; the traceback is for whoever reads the log
            logger.info("job %s failed", job.name, exc_info=True)
            post(self._finish, job, "failed", _without_frames(error))
        else:
            post(self._finish, job, "done", result)
        finally:
            if time.monotonic() - started > _LONG_SECONDS:
                # A short job's memory serves the next one.
                release_memory()
            self._threads.discard(threading.current_thread())

    def _iterate(self, job: Job, steps: Generator[Any, None, Any]) -> Any:
        try:
            while True:
                step = next(steps)
                if job.detached and not job.precious:
                    raise WorkStopped
                # Work that is precious was asked to stop, and puts on disk what it has.
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
        self._call(job, job.on_step, step)

    def _progress(self, job: Job, found: Progress) -> None:
        if job.detached or job.over:
            return
        self._call(job, job.on_progress, found)
        if job.bar is not None and not job.detached:
            job.bar.move(found.done, found.total, found.text)

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

    def _tell(self, job: Job, error: BaseException) -> None:
        sentence = describe(error)
        try:
            if job.on_error is not None:
                job.on_error(error)
            elif job.on_failed is not None:
                job.on_failed(sentence)
            else:
                self.failed.emit(job.name, sentence)
        except Exception:  # a fault in the callback must not hide the one that it is told of
            logger.exception("on_failed of job %s", job.name)
            self.failed.emit(job.name, sentence)

    def _call(self, job: Job, callback: Callable[..., None] | None, *args: Any) -> None:
        """Call back; a fault in the callback becomes a sentence instead of vanishing in Qt's event loop."""
        if callback is None:
            return
        try:
            callback(*args)
        except Exception as error:  # Qt's event loop would swallow it
            logger.exception("a callback of job %s", job.name)
            job.stop_event.set()
            self.failed.emit(job.name, describe(error))
