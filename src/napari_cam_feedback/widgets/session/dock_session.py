"""The session as one dock sees it: everything that the dock has connected ends when the dock is closed by its x.

napari takes a closed dock's widget out of the window and keeps it. What is connected to the session would go on: widgets
that are gone would be told of every image, and threads wait for work that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from weakref import WeakSet

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.session.session import Session, session_of
from napari_cam_feedback.widgets.session.signals import SessionSignals
from napari_cam_feedback.widgets.tasks.main_thread import MainThread
from napari_cam_feedback.widgets.tasks.phase import PhaseMachine, PhaseView
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker
from napari_cam_feedback.widgets.tasks.workers import Job, Jobs

_SIGNALS = (
    "opened",
    "item_changed",
    "view_changed",
    "explained",
    "prefetched",
    "mask_changed",
    "versions_changed",
    "version_changed",
    "message",
    "leaving",
    "closing",
)


def dock_session(viewer: Any, dock: QWidget) -> Session:
    """Return the session of a viewer for one dock.

    Parameters
    ----------
    viewer : napari.Viewer or Session
        As `session_of` takes it. A page of a dock is given the dock's session, which is its own too.
    dock : QWidget
        The dock's widget; it is deleted once napari has closed the dock.

    Returns
    -------
    Session
        Does all that the viewer's session does. Its signals, jobs and threads end with the dock; before that
        `dock_closed` is emitted, and `closing` as when the window closes.
    """
    if isinstance(viewer, SessionSignals):
        return cast(Session, viewer)
    return cast(Session, DockSession(session_of(viewer), dock))


def viewer_of(viewer: Any) -> Any:
    """Return the viewer, where a page is given its dock's session in the viewer's place."""
    return cast(Session, viewer).viewer if isinstance(viewer, SessionSignals) else viewer


class DockSession(SessionSignals):
    """A session's signals, jobs and disk for one dock; see `dock_session`."""

    def __init__(self, whole: Session, dock: QWidget) -> None:
        super().__init__()
        self._whole = whole
        self._ended = False
        main = _DocksMainThread(whole.jobs.main)
        self.jobs = _DocksJobs(whole.jobs, main)
        self.disk = _DocksDisk(whole.disk, main)
        for name in _SIGNALS:
            getattr(whole, name).connect(getattr(self, name))
        self._dock = dock
        dock.installEventFilter(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice when napari takes the dock's widget out of its dock."""
        if event.type() == QEvent.Type.ParentChange and watched is self._dock:
            # Later: a widget may be put into another dock at once.
            QTimer.singleShot(0, self._end_if_alone)
        return False

    def _end_if_alone(self) -> None:
        with suppress(RuntimeError):  # the window, and all that was in it, is gone
            if self._dock.parent() is None:
                self.end()

    def end(self) -> None:
        """End what the dock has begun, and delete its widget. Work that the user would be sorry to lose goes on."""
        if self._ended:
            return
        self._ended = True
        self.dock_closed.emit()
        self.closing.emit()
        for name in _SIGNALS:
            getattr(self._whole, name).disconnect(getattr(self, name))
        self.jobs.end()
        self._dock.removeEventFilter(self)
        self._dock.deleteLater()


class _DocksMainThread:
    """The main thread's queue, for one dock: nothing of what it has posted is called once the dock is gone."""

    def __init__(self, whole: MainThread) -> None:
        self._whole = whole
        self.ended = False

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        self._whole.post(self.call, function, *args)

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        if not self.ended:
            function(*args)


class _DocksDisk:
    """The disk's thread, for one dock: what it was told to write is written, also where the dock is gone meanwhile."""

    def __init__(self, whole: SerialWorker, main: _DocksMainThread) -> None:
        self._whole, self._main = whole, main

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def submit(
        self, name: str, task: Callable[[], Any], then: Callable[[Any, Exception | None], None] | None = None
    ) -> None:
        self._whole.submit(name, task, None if then is None else lambda *found: self._main.call(then, *found))


class _DocksJobs(QObject):
    """The jobs of a session, for one dock."""

    changed = Signal(str)
    failed = Signal(str, str)

    def __init__(self, whole: Jobs, main: _DocksMainThread) -> None:
        super().__init__()
        self._whole = whole
        self.main = main
        self._started: WeakSet[Job] = WeakSet()
        self._views: dict[str, PhaseView] = {}
        whole.changed.connect(self.changed)
        whole.failed.connect(self.failed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def phase(self, name: str) -> PhaseMachine:
        if name not in self._views:
            self._views[name] = PhaseView(self._whole.phase(name))
        return self._views[name]

    def start(self, name: str, work: Callable[[Monitor], Any], **how: Any) -> Job:
        job = self._whole.start(name, work, **how)
        self._started.add(job)
        return job

    def end(self) -> None:
        self.main.ended = True
        self._whole.changed.disconnect(self.changed)
        self._whole.failed.disconnect(self.failed)
        for view in self._views.values():
            view.end()
        for job in list(self._started):
            self._whole.abandon(job)
