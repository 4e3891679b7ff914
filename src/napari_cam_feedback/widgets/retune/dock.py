"""The page *Retune*: settings, start and stop, what happens meanwhile, and keeping or discarding the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import bring_into_view, confirmed
from napari_cam_feedback.widgets.retune.deciding import RetuneDecision
from napari_cam_feedback.widgets.retune.more_masks import find_more_sentence
from napari_cam_feedback.widgets.retune.progress import RetuneProgress
from napari_cam_feedback.widgets.retune.run import UndecidedRun, next_step, painted_sentence, replay, which_version
from napari_cam_feedback.widgets.retune.waiting import bring_back
from napari_cam_feedback.widgets.session.consents import ConsentRequest, asking, subject_of
from napari_cam_feedback.widgets.tasks.phase import Phase

if TYPE_CHECKING:
    import napari

    from napari_cam_feedback.projects.undecided import Undecided
    from napari_cam_feedback.retuning import RetuneResult, RetuneStep

JOB = "retune"
_FROM_BEFORE = "A retune that was begun before this dock was opened is running; its result will be shown here."
_INPAINTER_REFUSED = (
    "The run was not started, because the inpainter's program may not run; start it again to be asked again, or choose "
    "another refill or method."
)


class RetuneWidget(RetuneDecision):
    """Retunes the current classifier with what was painted, shows how it goes, and lets the user decide."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._closed = False
        self._current: str | None = None
        self._progress = RetuneProgress(self.progress, self.progress_label, self.plot, self)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.continue_button.clicked.connect(self.go_on)
        self._machine = self._session.jobs.phase(JOB)
        self._refresh_buttons = self._machine.drive(start=[self.start_button], stop=[self.stop_button], ready=self._ready)
        self._machine.changed.connect(self._phase_changed)
        self.take_out.use(self._session)
        self.take_out.changed.connect(self._to_take_out)
        self._session.opened.connect(self._opened)
        self._session.version_changed.connect(self._version_changed)
        self._session.leaving.connect(self._tell_losses)
        self._session.mask_changed.connect(self._mask_changed)
        self._session.closing.connect(self._close)
        self._opened()

    # State --------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a retune runs."""
        return self._machine.busy

    def how_far(self) -> str:
        """How far the retune is, to go after "Retuning"."""
        said = self.progress_label.text()
        if not said or said == _FROM_BEFORE:
            return ""
        return ": " + " ".join(said.split()).rstrip("….")

    def _ready(self) -> bool:
        return self._session.project is not None and self._run is None and not self._closed

    def _opened(self) -> None:
        run, project = self._run, self._session.project
        if run is not None and run.project is not project:
            self._session.jobs.stop(JOB)
            self._save_if_refused()
            self._forget()
        if self._run is None:
            self._say("")
            # It is of images that are not open any more.
            self.plot.clear()
            self.log.clear()
        # Folders show what is in one data set; the next one may be painted already.
        self.take_out.set_style(False)
        if project is not None:
            self.choice.build()
            self._current = project.current.id
        self.decided = ""
        self._say_more("")
        self._count_painted()
        # Later: starting a job runs the event loop, and others have yet to hear that a project was opened.
        QTimer.singleShot(0, self._look_for_waiting)

    def _version_changed(self) -> None:
        """What was said of the version that was in use before holds no longer."""
        project = self._session.project
        if project is not None and project.current.id != self._current:
            self._current = project.current.id
            if self._run is None:
                self._say("")
        self._refresh()

    def _tell_losses(self, losses: list[str]) -> None:
        if self._run is not None and self._machine.busy:
            losses.append(self._run.stopping_sentence())

    def _phase_changed(self, phase: Phase) -> None:
        self.progress.setVisible(phase.busy)
        if self._run is None:
            # Of a run that a dock had begun which was closed meanwhile.
            self.progress_label.setText(_FROM_BEFORE if phase.busy else "")
            self.progress.setRange(0, 0)
            QTimer.singleShot(0, self._look_for_waiting)
        self._refresh()

    def _refresh(self) -> None:
        """Make buttons and hint say what can be done now."""
        self._refresh_buttons()
        run, phase = self._run, self._machine.phase
        pending = run is not None and run.result is not None
        self.settings.setVisible(self._session.project is not None)
        self.take_out.setVisible(self._session.project is not None)
        self.plot.setVisible(self.plot.loss_names != () or phase.busy or pending)
        self.result_box.setVisible(pending)
        self.progress.setVisible(phase.busy)
        self.progress_label.setVisible(phase.busy or bool(self.progress_label.text()))
        self.status.setVisible(bool(self.status.text()))
        self.painted_label.setVisible(bool(self.painted_label.text()))
        result = None if run is None else run.result
        useful = result is not None and result.selected_iteration > 0
        free = pending and not self._deciding and not self._taking
        self.keep_button.setEnabled(useful and free)
        self.discard_button.setEnabled(free)
        self.continue_button.setEnabled(free)
        self.continue_button.setVisible(result is not None and result.run_state is not None)
        self.checkpoint_box.setEnabled(pending and not self._deciding)
        self.old_share.setEnabled(pending and not self._deciding)
        opened = self._session.project is not None
        painted = opened and bool(self._session.painted())
        self.version_label.setText(which_version(run, self._current if opened else None))
        shown = self.take_out.complete if self.take_out.of_style else None
        self.hint.setText(next_step(phase, result, opened=opened, painted=painted, shown=shown))
        self.changed.emit()

    def _count_painted(self, *_: object) -> None:
        session = self._session
        text = ""
        if session.dataset is not None and not self.take_out.of_style:
            text = painted_sentence(session.dataset, session.painted(), session.class_names)
        self.painted_label.setText(text)
        if text and not self._closed:
            find_more_sentence(session, None if self._run is None else self._run.best, self._say_more)
        else:
            self._say_more("")
        self._refresh()

    def _say_more(self, sentence: str) -> None:
        said = "" if self._closed or not self.painted_label.text() else sentence
        self.more_label.setText(said)
        self.more_label.setVisible(bool(said))

    def _to_take_out(self) -> None:
        if self._run is None:
            # That a folder is missing, for one, holds no longer.
            self._say("")
        self._count_painted()

    def _mask_changed(self, key: str) -> None:
        if self._run is None:
            # What was said of the last run, "nothing is painted" for one, holds no longer.
            self._say("")
        self._count_painted()

    # Running --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Save what is painted, then retune in a worker; against that, or against what two folders show."""
        session = self._session
        if not self._ready() or self._machine.busy or self.choice.form is None:
            return
        project, classifier, explanation_cache = session.project, session.classifier, session.explanation_cache
        assert project is not None
        assert classifier is not None
        assert explanation_cache is not None
        try:
            config = self.choice.config()
            shown = self.take_out.folders()
        except FeedbackError as error:
            self._say(describe(error), error=True)
            self.choice.reveal(error.fields)
            self.take_out.reveal(error.fields, describe(error))
            return
        session.autosave.flush()
        take_out, parent = self.take_out, project.current.id
        masked = take_out.painted_too.isChecked() or not take_out.of_style
        keys = sorted(session.painted()) if masked else []
        run = UndecidedRun(project, parent, classifier, explanation_cache, config, keys, shown, colours=take_out.of_colours)
        self._begin(run)

    def go_on(self) -> None:
        """Take a run that was stopped up again, with the settings and masks that it had."""
        run = self._run
        if run is None or run.best is None or run.best.run_state is None or self._deciding or self._machine.busy:
            return
        self._measuring.stop()
        self._begin(replace(run, result=None, best=None, comparison=None, earlier=run.best))

    def _begin(self, run: UndecidedRun) -> None:
        """Retune in a worker, from the start or from where it was stopped."""
        from napari_cam_feedback.retuning import retune

        session, config = self._session, run.config
        run_state = None if run.earlier is None else run.earlier.run_state
        self._run = run
        self.decided = ""
        self._taking = False
        self.comparison.use(None)
        self._say("")
        # Without a number of the user's, how many iterations there will be is known from the first step.
        self._progress.begin(config, run_state)
        self.log.clear()
        if run_state is not None:
            self.log.replay(run_state.history)
        self._set_up(run, opened=False)

        def work(monitor: Monitor) -> Any:
            run.read_masks()
            run.find_style(monitor)
            subject = subject_of(Path(config.inpainter or ""), config.inpainter)
            trust = session.consents.given("trust", subject)
            with asking(subject):
                steps = retune(
                    run.classifier,
                    run.project.dataset,
                    run.masks,
                    config,
                    monitor=monitor,
                    resume=run_state,
                    trust=trust,
                    style=run.style,
                )
            return run.saving(steps, monitor)

        self._hold(True)
        session.jobs.start(
            JOB,
            work,
            on_step=lambda step: self._step(run, step),
            on_done=lambda result: self._done(run, result),
            on_error=lambda error: self._broken(run, error),
            on_stopped=lambda: self._failed(run, ""),
            description="Retuning",
            precious=True,
        )
        self._refresh()

    def _broken(self, run: UndecidedRun, error: BaseException) -> None:
        """Say what went wrong, or ask where the error asks for consent."""
        current = run is self._run
        self._failed(run, "" if isinstance(error, ConsentRequest) else describe(error))
        if current and isinstance(error, ConsentRequest):
            # Later, since a dialog runs the event loop and nothing else would reach the window meanwhile.
            QTimer.singleShot(0, lambda: self._ask(run, error))

    def _ask(self, run: UndecidedRun, request: ConsentRequest) -> None:
        if self._closed:
            return
        agreed = confirmed(self, "Run the inpainter's program?", request.question)
        if self._closed:
            return
        if not agreed:
            self._say(_INPAINTER_REFUSED, error=True)
            return
        self._session.consents.give(request)
        if run.earlier is not None:
            self.go_on()
        elif self._ready() and not self._machine.busy and run.project is self._session.project:
            self._begin(run)

    def stop(self) -> None:
        """Ask the retune to stop; the best so far comes as its result."""
        self._session.jobs.stop(JOB)

    def _step(self, run: UndecidedRun, step: RetuneStep) -> None:
        if run is not self._run:
            return
        self._progress.take(step)
        if step.message:
            from napari_cam_feedback.retuning.optimisation.pace import tells_of_trouble

            self.log.add(step.iteration, step.message)
            self._say(step.message, error=tells_of_trouble(step.message))

    def _failed(self, run: UndecidedRun, sentence: str) -> None:
        self._hold(False)
        if run is not self._run:
            return
        self._run = None
        self._progress.end()
        self._set_up(None, opened=True)
        if run.earlier is not None:
            # What it was to go on from is still there to be kept.
            self._run = replace(run, earlier=None)
            self._done(self._run, run.earlier)
        if sentence or run.earlier is None:
            self._say(sentence, error=True)
        if sentence:
            # The settings, unfolded again, may have pushed it out of sight.
            bring_into_view(self.status)
        self._refresh()

    def _done(self, run: UndecidedRun, result: RetuneResult) -> None:
        if run is not self._run:
            # Its project was left meanwhile.
            self._hold(False)
            if run.path is not None or run.unsaved:
                self._say(run.unsaved or f"{run.name} waits in {run.project.folder} to be kept or discarded.")
            self._look_for_waiting()
            return
        run.earlier = None
        run.seconds += self._progress.end()
        self._present(run, result)
        self._count_painted()

    def _forget(self) -> None:
        """End the present run: there is nothing to decide any more."""
        self._run = None
        self._hold(False)
        self.log.clear()
        self.comparison.use(None)
        self._progress.end()
        self._say("")
        self._set_up(None, opened=True)
        self._count_painted()

    def _set_up(self, run: UndecidedRun | None, *, opened: bool) -> None:
        """Fold what a run is set up by away, or out; a run names the images of the plot."""
        self.settings.set_opened(opened)
        self.take_out.set_opened(opened and self.take_out.of_style)
        if run is not None:
            self.plot.name_images("With it" if run.of_style else "Painted")

    # Coming and going ---------------------------------------------------------------------------------------

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._session.watch(self)
        self._count_painted()

    def _close(self) -> None:
        self._closed = True
        self._hold(False)
        self._progress.end()
        self._save_if_refused()

    def _look_for_waiting(self) -> None:
        """Bring back a result of the open project that was neither kept nor discarded."""
        if self._run is None and not self._closed and self._session.project is not None and not self._machine.busy:
            bring_back(self._session, self._found_waiting, lambda sentence: self._say(sentence, error=True))

    def _found_waiting(self, found: Undecided) -> None:
        project = self._session.project
        if self._run is not None or self._closed or self._machine.busy or project is None:
            return
        run = self._run = UndecidedRun.waiting(project, found)
        self.plot.clear()
        replay(self.plot, found.result)
        self.log.replay(found.result.history)
        self._set_up(run, opened=False)
        # The user has not asked for a grid now.
        self._present(run, found.result, side_by_side=False)
