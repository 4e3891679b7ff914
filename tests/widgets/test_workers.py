"""Background work: failures reach the user, stopping works, nothing outlives the window."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import types
import weakref
from typing import ClassVar

import pytest
from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QPushButton

from napari_cam_feedback.errors import DataError
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.widgets.session.explanation_loader import ExplanationLoader
from napari_cam_feedback.widgets.tasks import gc_pause
from napari_cam_feedback.widgets.tasks.gc_pause import collect_due
from napari_cam_feedback.widgets.tasks.main_thread import MainThread
from napari_cam_feedback.widgets.tasks.phase import Phase, PhaseMachine
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker
from napari_cam_feedback.widgets.tasks.workers import Jobs, Progress, WorkStopped

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def jobs(qtbot):
    jobs = Jobs()
    yield jobs
    assert jobs.shutdown()
    assert not progress._all_instances


class Record:
    """What a job told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def callbacks(self) -> dict:
        return {
            "on_step": lambda step: self.told.append(("step", step)),
            "on_done": lambda result: self.told.append(("done", result)),
            "on_failed": lambda sentence: self.told.append(("failed", sentence)),
            "on_stopped": lambda: self.told.append(("stopped", None)),
        }


def test_steps_and_result_of_a_generator_arrive_in_order(jobs, wait):
    def work(monitor):
        yield 1
        yield 2
        return "result"

    record = Record()
    main = threading.get_ident()
    threads = []
    callbacks = record.callbacks()
    callbacks["on_done"] = lambda result: (threads.append(threading.get_ident()), record.told.append(result))
    jobs.start("count", work, **callbacks)
    wait(lambda: threads)
    assert record.told == [("step", 1), ("step", 2), "result"]
    assert threads == [main]
    assert jobs.phase("count").phase is Phase.DONE


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), MemoryError(), ValueError("x"), KeyError("y")])
@pytest.mark.parametrize("kind", ["generator", "function"])
def test_any_failure_of_a_worker_reaches_the_user_as_one_sentence(jobs, wait, error, kind):
    def function(monitor):
        raise error

    def generator(monitor):
        yield 1
        raise error

    record = Record()
    jobs.start("fail", function if kind == "function" else generator, **record.callbacks())
    wait(lambda: jobs.phase("fail").phase is Phase.FAILED)
    kind, sentence = record.told[-1]
    assert kind == "failed"
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_our_own_errors_are_told_word_for_word(jobs, wait):
    def work(monitor):
        raise DataError("The image x.png is broken; remove it.")

    record = Record()
    jobs.start("fail", work, **record.callbacks())
    wait(lambda: record.told)
    assert record.told == [("failed", "The image x.png is broken; remove it.")]


def test_a_failure_without_a_callback_is_told_by_the_signal(jobs, wait):
    told = []
    jobs.failed.connect(lambda name, sentence: told.append((name, sentence)))

    def work(monitor):
        raise DataError("No.")

    jobs.start("fail", work)
    wait(lambda: told)
    assert told == [("fail", "No.")]


def test_the_error_itself_can_be_asked_for_and_keeps_nothing_alive(jobs, wait):
    """A network that a failed load had in its hands must be freed, though somebody shows the error for long."""

    class Network:
        pass

    alive: list[weakref.ref] = []
    told = []

    def work(monitor):
        network = Network()
        alive.append(weakref.ref(network))
        try:
            raise ValueError("the cause")
        except ValueError as cause:
            raise DataError("No.") from cause

    jobs.start("fail", work, on_error=told.append, on_failed=lambda sentence: told.append(sentence))
    wait(lambda: told and jobs.phase("fail").phase is Phase.FAILED)
    assert [type(error) for error in told] == [DataError]
    wait(lambda: gc.collect() is not None and alive[0]() is None, 5)


class InRing:
    """Something that only the garbage collector frees, such as a widget whose slots know it; tells in which thread."""

    freed_in: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.ring = self

    def __del__(self) -> None:
        self.freed_in.append(threading.get_ident())


@pytest.fixture
def rings(monkeypatch):
    """Make what only the collector frees; gives the threads in which that was done. Collection is often due."""
    monkeypatch.setattr(InRing, "freed_in", [])
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(200, 2, 1_000_000)
    yield InRing.freed_in
    gc.set_threshold(*before)


def _fill_the_quota(seconds: float) -> None:
    """Make what the collector looks at, for a while: it then runs in this thread, if it may."""
    until, kept = time.monotonic() + seconds, []
    while time.monotonic() < until:
        kept.append([[] for _ in range(1000)])
        time.sleep(0.001)


def _use_a_job(main, jobs):
    jobs.start("busy", lambda _: _fill_the_quota(1.0))
    return lambda: jobs.phase("busy").phase is Phase.DONE


def _use_the_disk(main, jobs):
    done = []
    SerialWorker(main, "disk").submit("busy", lambda: _fill_the_quota(1.0), lambda *_: done.append(True))
    return lambda: done


def _use_the_loader(main, jobs):
    class Cache:
        classifier = types.SimpleNamespace(module=torch.nn.Identity())

        def peek(self, *request):
            return None

        def get(self, *request):
            _fill_the_quota(1.0)

    done = []
    loader = ExplanationLoader(main, lambda *_: done.append(loader.close()))
    loader.use(Cache())
    loader.request([(0, "predicted", "cam")])
    return lambda: done


@pytest.mark.parametrize("use", [_use_a_job, _use_the_disk, _use_the_loader])
def test_what_a_worker_fills_is_collected_on_the_main_thread(use, jobs, wait, rings):
    """A widget or a texture freed in a worker ends the process: Qt's timers and vispy's queue belong to the main thread."""
    done = use(jobs.main, jobs)
    for _ in range(5):
        InRing()
    wait(done)
    wait(gc.isenabled, 5)
    assert set(rings) == {threading.get_ident()}


@pytest.mark.parametrize(("grown", "generations"), [(250, [1]), (251, [2])])
def test_all_that_is_in_memory_is_looked_at_only_where_a_quarter_of_it_is_new(monkeypatch, grown, generations):
    """Looking at all of it halts the window for half a second; what is new is looked at often."""
    monkeypatch.setattr(gc_pause, "_paused", True)
    monkeypatch.setattr(gc_pause, "_old", 1000)
    monkeypatch.setattr(gc_pause, "_grown", grown)
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, 100))
    found: list[int] = []
    note = lambda phase, info: found.append(info["generation"]) if phase == "start" else None  # noqa: E731
    gc.callbacks.append(note)
    try:
        collect_due()
    finally:
        gc.callbacks.remove(note)
    assert found == generations


def test_without_anybody_who_collects_workers_collect_as_python_has_it(qtbot, rings):
    jobs = Jobs()
    jobs.start("busy", lambda _: _fill_the_quota(0.5))
    assert not gc.isenabled() or not jobs.running("busy")
    assert jobs.shutdown()
    assert gc.isenabled()


def test_a_collector_that_the_user_has_off_stays_off(jobs, wait, rings):
    gc.disable()
    try:
        jobs.start("busy", lambda _: _fill_the_quota(0.3))
        wait(lambda: jobs.phase("busy").phase is Phase.DONE)
        QApplication.processEvents()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_fault_in_a_callback_is_told_too(jobs, wait):
    told = []
    jobs.failed.connect(lambda name, sentence: told.append(sentence))
    jobs.start("work", lambda _: 1, on_done=lambda result: 1 / 0)
    wait(lambda: told)
    assert "ZeroDivisionError" in told[0]


def test_stop_ends_the_work_and_its_result_still_arrives(jobs, wait):
    def work(monitor):
        while not monitor.stopped:
            yield 0
            time.sleep(0.002)
        return "stopped early"

    record = Record()
    jobs.start("long", work, **record.callbacks())
    wait(lambda: record.told)
    started = time.perf_counter()
    jobs.stop("long")
    assert jobs.phase("long").phase is Phase.STOPPING
    wait(lambda: not jobs.running("long"))
    assert time.perf_counter() - started < 1
    assert record.told[-1] == ("done", "stopped early")


def test_work_that_raises_stopped_ends_idle(jobs, wait):
    def work(monitor):
        while not monitor.stopped:
            time.sleep(0.002)
        raise WorkStopped

    record = Record()
    jobs.start("long", work, **record.callbacks())
    jobs.stop("long")
    wait(lambda: record.told)
    assert record.told == [("stopped", None)]
    assert jobs.phase("long").phase is Phase.IDLE


def test_two_of_a_name_do_not_run_at_once(jobs, wait):
    release = threading.Event()
    jobs.start("one", lambda _: release.wait(5))
    with pytest.raises(RuntimeError):
        jobs.start("one", lambda _: 1)
    release.set()
    wait(lambda: not jobs.running())


def test_a_replaced_job_is_not_heard_of_again(jobs, wait):
    release = threading.Event()

    def old(monitor):
        release.wait(5)
        yield "old"
        return "old"

    first, second = Record(), Record()
    jobs.start("one", old, **first.callbacks())
    job = jobs.start("one", lambda _: "new", replace=True, **second.callbacks())
    release.set()
    wait(lambda: second.told)
    job.thread.join(5)
    wait(lambda: not jobs.running())
    assert second.told == [("done", "new")]
    assert first.told == []


def test_a_job_replaced_while_its_bar_is_made_does_not_begin(jobs, wait, make_napari_viewer_proxy):
    make_napari_viewer_proxy()
    first, second, begun = Record(), Record(), []

    def again() -> None:
        jobs.start("one", lambda _: "new", replace=True, **second.callbacks())

    # napari's activity dock runs the event loop while a bar is made, and so calls this.
    QTimer.singleShot(0, again)
    job = jobs.start("one", lambda _: begun.append("old"), **first.callbacks())
    assert job.thread is None
    wait(lambda: second.told)
    assert (first.told, second.told, begun) == ([], [("done", "new")], [])
    assert jobs.phase("one").phase is Phase.DONE
    assert not progress._all_instances


def test_shutdown_stops_and_joins_busy_threads(qtbot):
    jobs = Jobs()
    ended = []

    def work(monitor):
        try:
            while not monitor.stopped:
                yield 0
                time.sleep(0.002)
        finally:
            ended.append(1)

    record = Record()
    job = jobs.start("long", work, **record.callbacks())
    assert jobs.shutdown()
    assert ended == [1]
    assert not job.thread.is_alive()
    qtbot.wait(20)
    assert not record.told
    with pytest.raises(RuntimeError):
        jobs.start("late", lambda _: 1)


def test_the_bar_in_the_activity_dock_moves_and_goes(jobs, wait):
    release = threading.Event()
    bars, told = [], []

    def work(monitor):
        monitor.progress(3, 4, "three quarters")
        release.wait(5)
        monitor.progress(1, 9, "the next part")

    def moved(found):
        told.append(found)
        bars.extend(progress._all_instances)

    jobs.start("bar", work, on_progress=moved, description="Reading")
    assert [bar.desc for bar in progress._all_instances] == ["Reading"]
    wait(lambda: bars)
    wait(lambda: (bars[0].n, bars[0].total) == (3, 4))
    time.sleep(0.11)  # the bar moves ten times a second at most
    release.set()
    wait(lambda: not jobs.running())
    assert told == [Progress(3, 4, "three quarters"), Progress(1, 9, "the next part")]
    assert (bars[0].n, bars[0].total) == (1, 9)
    assert not progress._all_instances


def test_a_flood_of_steps_leaves_the_event_loop_alive(jobs, wait):
    def work(monitor):
        yield from range(3000)

    gaps, last = [], [time.perf_counter()]

    def tick():
        now = time.perf_counter()
        gaps.append(now - last[0])
        last[0] = now

    timer = QTimer()
    timer.setInterval(0)
    timer.timeout.connect(tick)
    timer.start()
    busy = []
    jobs.start("flood", work, on_step=lambda step: busy.append(time.sleep(0.0003)))
    wait(lambda: len(busy) == 3000)
    # 3000 steps of 0.3 ms take a second: handled in one go, that would be one gap.
    assert max(gaps) < 0.5


def test_buttons_follow_the_phase(qtbot):
    machine = PhaseMachine()
    start, stop = QPushButton(), QPushButton()
    qtbot.addWidget(start)
    qtbot.addWidget(stop)
    ready = []
    refresh = machine.drive(start=[start], stop=[stop], ready=lambda: bool(ready))
    assert (start.isEnabled(), stop.isEnabled()) == (False, False)
    ready.append(1)
    refresh()
    assert (start.isEnabled(), stop.isEnabled()) == (True, False)
    machine.to(Phase.RUNNING)
    assert (start.isEnabled(), stop.isEnabled()) == (False, True)
    machine.to(Phase.STOPPING)
    assert (start.isEnabled(), stop.isEnabled()) == (False, False)
    machine.to(Phase.FAILED)
    assert (start.isEnabled(), stop.isEnabled()) == (True, False)
    with pytest.raises(ValueError, match="no way"):
        machine.to(Phase.DONE)


def test_nothing_is_lost_when_a_callback_runs_the_event_loop(qtbot, wait):
    main, got = MainThread(), []

    def nested():
        thread = threading.Thread(target=main.post, args=(got.append, "while emptying"))
        thread.start()
        thread.join()
        # As napari's progress bar does.
        QApplication.processEvents()
        got.append("nested")

    main.post(nested)
    wait(lambda: len(got) == 2)
    main.post(got.append, "later")
    wait(lambda: len(got) == 3, 10)
    assert got == ["nested", "while emptying", "later"]


def test_serial_worker_keeps_the_latest_of_a_name_and_finishes_on_close(qtbot):
    main = MainThread()
    worker = SerialWorker(main, "test")
    release = threading.Event()
    done = []
    worker.submit("first", lambda: release.wait(5))
    for number in range(5):
        worker.submit("same", lambda number=number: done.append(number))
    worker.submit("other", lambda: done.append("other"))
    release.set()
    assert worker.close()
    assert done == [4, "other"]


def test_a_task_that_must_finish_is_finished_although_the_process_did_not_wait_for_it(tmp_path):
    slow = """
import sys, time
from pathlib import Path
from napari_cam_feedback.widgets.tasks.main_thread import MainThread
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker

worker = SerialWorker(MainThread(), "disk", must_finish=True)

def write():
    time.sleep(1)
    Path(sys.argv[1]).write_text("mask")

worker.submit("mask", write)
assert not worker.close(0.01)
"""
    path = tmp_path / "mask"
    subprocess.run([sys.executable, "-c", slow, str(path)], check=True, timeout=60)
    assert path.read_text() == "mask"


def test_a_process_with_nothing_left_to_write_ends_although_nobody_closed_the_worker():
    idle = """
from napari_cam_feedback.widgets.tasks.main_thread import MainThread
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker

worker = SerialWorker(MainThread(), "disk", must_finish=True)
worker.submit("one", lambda: None)
assert worker.wait()
worker.submit("two", lambda: None)
"""
    subprocess.run([sys.executable, "-c", idle], check=True, timeout=60)
