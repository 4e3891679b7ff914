"""The one state machine that every button obeys: idle, running, stopping, done, failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget


class Phase(StrEnum):
    """Where a piece of background work stands."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"

    @property
    def busy(self) -> bool:
        """Whether a thread is at work."""
        return self in (Phase.RUNNING, Phase.STOPPING)


_AFTER: dict[Phase, tuple[Phase, ...]] = {
    Phase.IDLE: (Phase.RUNNING,),
    Phase.RUNNING: (Phase.STOPPING, Phase.DONE, Phase.FAILED),
    Phase.STOPPING: (Phase.IDLE, Phase.DONE, Phase.FAILED),
    Phase.DONE: (Phase.RUNNING, Phase.IDLE),
    Phase.FAILED: (Phase.RUNNING, Phase.IDLE),
}


class PhaseMachine(QObject):
    """The phase of one named piece of work; it outlives the single runs.

    Signals
    -------
    changed : Phase
        Emitted on the main thread after every transition.
    """

    changed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._phase = Phase.IDLE

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self._phase

    @property
    def busy(self) -> bool:
        """Whether a thread is at work."""
        return self.phase.busy

    def to(self, phase: Phase) -> None:
        """Move to `phase`.

        Raises
        ------
        ValueError
            There is no such transition: a fault of the caller.
        """
        if phase not in _AFTER[self._phase]:
            raise ValueError(f"no way from {self._phase} to {phase}")
        self._phase = phase
        self.changed.emit(phase)

    def drive(
        self, *, start: Iterable[QWidget] = (), stop: Iterable[QWidget] = (), ready: Callable[[], bool] | None = None
    ) -> Callable[[], None]:
        """Let this machine enable and disable widgets.

        Parameters
        ----------
        start : iterable of QWidget
            Enabled while nothing runs, and `ready` says yes.
        stop : iterable of QWidget
            Enabled while it runs and has not been asked to stop.
        ready : callable, optional
            A further condition for `start`, e.g. that a project is open.

        Returns
        -------
        callable
            Call it when what `ready` looks at has changed.
        """
        starters, stoppers = tuple(start), tuple(stop)

        def refresh(*_: object) -> None:
            may_start = not self.busy and (ready is None or ready())
            for widget in starters:
                widget.setEnabled(may_start)
            for widget in stoppers:
                widget.setEnabled(self.phase is Phase.RUNNING)

        self.changed.connect(refresh)
        refresh()
        return refresh


class PhaseView(PhaseMachine):
    """A machine that shows where another one stands, until `end`; what is connected to it goes with it."""

    def __init__(self, source: PhaseMachine) -> None:
        super().__init__()
        self._source = source
        source.changed.connect(self.changed)

    @property
    def phase(self) -> Phase:
        """The present phase of the other."""
        return self._source.phase

    def end(self) -> None:
        """Follow the other no longer."""
        self._source.changed.disconnect(self.changed)
