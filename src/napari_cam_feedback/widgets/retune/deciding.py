"""Keeping the result of a run, or discarding it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.retune.outcome import RetuneOutcome
from napari_cam_feedback.widgets.retune.run import DecidedElsewhere, UndecidedRun, check_undecided

if TYPE_CHECKING:
    import napari

    from napari_cam_feedback.projects import Version


class RetuneDecision(RetuneOutcome):
    """The part of the page that lets the user decide on a result."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        #: What the user has decided last, a sentence; empty before, and while a retune runs.
        self.decided = ""
        self.keep_button.clicked.connect(self.keep)
        self.discard_button.clicked.connect(self.discard)

    @property
    def run(self) -> UndecidedRun | None:
        """The retune under way or waiting for a decision."""
        return self._run

    @property
    def pending(self) -> bool:
        """Whether a result waits to be decided on."""
        return self._run is not None and self._run.result is not None

    @property
    def verdict_name(self) -> str | None:
        """The verdict on the result that waits; None where none does."""
        return None if self._run is None or self._run.result is None else self._run.result.verdict.name

    def _forget(self) -> None:
        """End the present run: there is nothing to decide any more."""
        raise NotImplementedError

    def _look_for_waiting(self) -> None:
        """Bring back a result of the open project that was neither kept nor discarded."""
        raise NotImplementedError

    def keep(self) -> None:
        """Save the result as a new version, which becomes the current one."""
        run = self._run
        if run is None or run.result is None or self._deciding:
            return
        result, comparison = run.result, run.comparison

        def save() -> Version:
            check_undecided(run)
            _ = result.classifier.head  # kept from now on, so that the window need not run the network for it
            # Another version may have been chosen meanwhile; the parent is the one that was retuned.
            version = run.project.keep(result, comparison, parent=run.parent)
            run.forget()
            return version

        def kept(version: Version) -> None:
            self._forget()
            if self._session.project is run.project:
                self._session.set_classifier(result.classifier)
            self.decided = f"Kept as {version.id}, made from {version.parent}."
            self._say(f"{self.decided} Look again: is something else used instead?")

        self._decide(save, kept)

    def discard(self) -> None:
        """Keep the model as it was; the run's record is written."""
        run = self._run
        if run is None or run.result is None or self._deciding:
            return
        result, comparison = run.result, run.comparison

        def drop() -> Path:
            check_undecided(run)
            folder = run.project.discard(result, comparison, parent=run.parent)
            run.forget()
            return folder

        def dropped(folder: Path) -> None:
            self._forget()
            self.decided = f"Discarded; the model is {run.parent} as before."
            self._say(f"{self.decided} The record of the run is in {folder}.")

        self._decide(drop, dropped)

    def _decide(self, task: Any, then: Any) -> None:
        self._deciding = True
        self._measuring.stop()
        self._refresh()

        def finished(value: Any, error: Exception | None) -> None:
            self._deciding = False
            if isinstance(error, DecidedElsewhere):
                self._forget()
            if error is not None:
                self._say(describe(error), error=True)
            else:
                then(value)
            self._refresh()
            self._look_for_waiting()

        # In the session's own disk thread, since two threads must not write the project's file.
        self._session.disk.submit("decide", task, finished)

    def _save_if_refused(self) -> None:
        """Try once more to put a result on disk, before nobody can decide on it any more."""
        run = self._run
        if run is not None and run.unsaved and run.undecided is not None and not self._deciding:
            self._session.disk.submit(f"undecided {id(run)}", partial(run.save, run.undecided, run.seconds))
