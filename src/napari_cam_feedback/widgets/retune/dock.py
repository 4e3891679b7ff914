"""The *Retune* dock: settings, start and stop, what happens meanwhile, and keeping or discarding the result."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, QTimer

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import confirmed
from napari_cam_feedback.widgets.retune.progress import RetuneProgress
from napari_cam_feedback.widgets.retune.run import (
    UndecidedRun,
    checkpoint_names,
    checkpoint_text,
    how_it_ended,
    measured_sentence,
    measuring_sentence,
    next_step,
    painted_sentence,
    verdict_text,
    which_version,
)
from napari_cam_feedback.widgets.retune.view import RetuneView
from napari_cam_feedback.widgets.session.consents import ConsentRequest, asking, subject_of
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.session.side_by_side import ComparisonLayers, ExplanationPairs
from napari_cam_feedback.widgets.tasks.gc_pause import Hold
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.tasks.workers import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import napari

    from napari_cam_feedback.evaluation import Comparison, KeptPredictions
    from napari_cam_feedback.projects import Version
    from napari_cam_feedback.retuning import RetuneResult, RetuneStep

JOB, COMPARE_JOB = "retune", "compare"
ERROR_STYLE = "color: #d8503c; font-weight: bold;"
_INPAINTER_REFUSED = (
    "The run was not started, because the inpainter's program may not run; start it again to be asked again, or choose "
    "another refill or method."
)


class RetuneWidget(RetuneView):
    """Retunes the current classifier with what was painted, shows how it goes, and lets the user decide."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._session = session_of(napari_viewer)
        self._run: UndecidedRun | None = None
        self._deciding = False
        self._taking = False
        self._hold = Hold()
        self._closed = False
        self._current: str | None = None
        self._kept: KeptPredictions | None = None
        self.comparison = ComparisonLayers(self._session, self)
        self._progress = RetuneProgress(self.progress, self.progress_label, self.plot, self)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.keep_button.clicked.connect(self.keep)
        self.continue_button.clicked.connect(self.go_on)
        self.discard_button.clicked.connect(self.discard)
        self.checkpoint_box.currentIndexChanged.connect(self._checkpoint_chosen)
        self.old_share.chosen.connect(self._share_chosen)
        self.side_button.toggled.connect(self._side_toggled)
        self._machine = self._session.jobs.phase(JOB)
        self._refresh_buttons = self._machine.drive(start=[self.start_button], stop=[self.stop_button], ready=self._ready)
        self._machine.changed.connect(self._phase_changed)
        self._session.opened.connect(self._opened)
        self._session.version_changed.connect(self._version_changed)
        self._session.leaving.connect(self._tell_losses)
        self._session.mask_changed.connect(self._mask_changed)
        self._session.closing.connect(self._close)
        self.comparison.shown.connect(self.side_button.setChecked)
        self.comparison.described.connect(self.pair_label.setText)
        self._opened()

    # State --------------------------------------------------------------------------------------------

    @property
    def run(self) -> UndecidedRun | None:
        """The retune under way or waiting for a decision."""
        return self._run

    def _ready(self) -> bool:
        return self._session.project is not None and self._run is None and not self._closed

    def _opened(self) -> None:
        run, project = self._run, self._session.project
        if run is not None and run.project is not project:
            self._session.jobs.stop(JOB)
            self._save_undecided()
            self._forget()
        if self._run is None:
            self._say("")
            # It is of images that are not open any more.
            self.plot.clear()
            self.log.clear()
        if project is not None:
            self.choice.build()
            self._current = project.current.id
        self._count_painted()

    def _version_changed(self) -> None:
        """What was said of the version that was in use before holds no longer."""
        project = self._session.project
        if project is not None and project.current.id != self._current:
            self._current = project.current.id
            if self._run is None:
                self._say("")
        self._refresh()

    def _tell_losses(self, losses: list[str]) -> None:
        run = self._run
        if run is None:
            return
        if self._machine.busy:
            losses.append(run.stopping_sentence())
        if run.undecided is not None:
            losses.append(run.waiting_sentence())

    def _phase_changed(self, phase: Phase) -> None:
        self.progress.setVisible(phase.busy)
        self._refresh()

    def _refresh(self) -> None:
        """Make buttons and hint say what can be done now."""
        self._refresh_buttons()
        run, phase = self._run, self._machine.phase
        pending = run is not None and run.result is not None
        self.settings.setVisible(self._session.project is not None)
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
        self.hint.setText(next_step(phase, result, opened=opened, painted=painted))

    def _count_painted(self, *_: object) -> None:
        session = self._session
        text = "" if session.dataset is None else painted_sentence(session.dataset, session.painted(), session.class_names)
        self.painted_label.setText(text)
        self._refresh()

    def _mask_changed(self, key: str) -> None:
        if self._run is None:
            # What was said of the last run, "nothing is painted" for one, holds no longer.
            self._say("")
        self._count_painted()

    def _say(self, text: str, *, error: bool = False) -> None:
        self.status.setStyleSheet(ERROR_STYLE if error else "")
        self.status.setText(text)
        self.status.setVisible(bool(text))

    # Running --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Save what is painted, then retune in a worker."""
        session = self._session
        if not self._ready() or self._machine.busy or self.choice.form is None:
            return
        project, classifier, explanation_cache = session.project, session.classifier, session.explanation_cache
        assert project is not None
        assert classifier is not None
        assert explanation_cache is not None
        try:
            config = self.choice.config()
        except FeedbackError as error:
            self._say(describe(error), error=True)
            self.choice.reveal(error.fields)
            return
        session.autosave.flush()
        self._begin(
            UndecidedRun(project, project.current.id, classifier, explanation_cache, config, sorted(session.painted()))
        )

    def go_on(self) -> None:
        """Take a run that was stopped up again, with the settings and masks that it had."""
        run = self._run
        if run is None or run.best is None or run.best.run_state is None or self._deciding or self._machine.busy:
            return
        self._session.jobs.stop(COMPARE_JOB)
        self._begin(replace(run, result=None, best=None, comparison=None, earlier=run.best))

    def _begin(self, run: UndecidedRun) -> None:
        """Retune in a worker, from the start or from where it was stopped."""
        from napari_cam_feedback.retuning import retune

        session, config = self._session, run.config
        run_state = None if run.earlier is None else run.earlier.run_state
        self._run = run
        self._taking = False
        self.comparison.use(None)
        self._say("")
        # Without a number of the user's, how many iterations there will be is known from the first step.
        self._progress.begin(config, run_state)
        self.log.clear()
        if run_state is not None:
            self.log.replay(run_state.history)
        self.settings.set_opened(False)

        def work(monitor: Monitor) -> Any:
            run.read_masks()
            subject = subject_of(Path(config.inpainter or ""), config.inpainter)
            trust = session.consents.given("trust", subject)
            with asking(subject):
                return retune(
                    run.classifier, run.project.dataset, run.masks, config, monitor=monitor, resume=run_state, trust=trust
                )

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
        self.settings.set_opened(True)
        if run.earlier is not None:
            # What it was to go on from is still there to be kept.
            self._run = replace(run, earlier=None)
            self._done(self._run, run.earlier)
        if sentence or run.earlier is None:
            self._say(sentence, error=True)
        self._refresh()

    def _done(self, run: UndecidedRun, result: RetuneResult) -> None:
        if run is not self._run:
            # Its project was left meanwhile.
            self._hold(False)
            run.result, run.earlier = result, None
            if result.selected_iteration > 0:
                self._record(run)
            return
        run.best, run.earlier = result, None
        run.seconds += self._progress.end()
        names = checkpoint_names(result)
        with QSignalBlocker(self.checkpoint_box):
            self.checkpoint_box.clear()
            for iteration, name in names:
                self.checkpoint_box.addItem(name, iteration)
        # The dock has no room for the measures, the list has.
        view = self.checkpoint_box.view()
        view.setMinimumWidth(view.sizeHintForColumn(0) + 24)
        self.checkpoint_row.setVisible(len(names) > 1)
        self.old_share.set_path(result.path_checks, result.selected_share)
        self._show_result(run, result)
        self._measure(run, lambda _: result)

    def _show_result(self, run: UndecidedRun, result: RetuneResult) -> None:
        """Show what a model came to, before it is measured on all splits."""
        from napari_cam_feedback.explanations import ExplanationCache
        from napari_cam_feedback.retuning import check_rows

        run.result, run.comparison = result, None
        self._taking = False
        sentence, wrong = how_it_ended(result, run.seconds)
        self._say(sentence, error=wrong)
        self.verdict_label.setText(verdict_text(result))
        self.table.show_rows(check_rows(result.before, result.after))
        self.table.show()
        self.pair_label.setText("")
        self.table_label.setText("Before and after. Measuring on all splits too…")
        self._refresh()
        self.comparison.use(
            ExplanationPairs(run.explanation_cache, ExplanationCache(result.classifier, run.project.dataset))
        )
        if result.selected_iteration > 0:
            self.comparison.show()

    # Comparing --------------------------------------------------------------------------------------------

    def _checkpoint_chosen(self, _: int) -> None:
        """Take the model of another iteration; the slider belongs to one of them."""
        run, iteration = self._run, self.checkpoint_box.currentData()
        if run is None or run.best is None or iteration is None:
            return
        own = iteration == self.old_share.iteration
        share = run.best.selected_share if own else 1.0
        self.old_share.set_share(share)
        self.old_share.set_usable(own)
        self._name_taken(run.best, run.best.selected_share)
        self._take(run, iteration, share)

    def _share_chosen(self, share: float) -> None:
        """Take the model at another stop of the slider."""
        run, iteration = self._run, self.old_share.iteration
        if run is not None and run.best is not None and iteration is not None:
            self._name_taken(run.best, share)
            self._take(run, iteration, share)

    def _name_taken(self, best: RetuneResult, share: float) -> None:
        """Let the box say of the slider's iteration which stop it is at."""
        place = self.checkpoint_box.findData(self.old_share.iteration)
        check = next((each for each in best.path_checks if each.share == share), None)
        if check is not None and place >= 0:
            self.checkpoint_box.setItemText(place, checkpoint_text(check, best=share == best.selected_share))

    def _take(self, run: UndecidedRun, iteration: int, share: float) -> None:
        """Go over to another model of the run, in a worker."""
        from napari_cam_feedback.retuning import checkpoint_name, take_checkpoint

        assert run.best is not None
        best = run.best
        self._taking = True
        self._hold(True)
        self.table_label.setText(f"Taking the model of {checkpoint_name(iteration, share)}…")
        self._refresh()

        def take(monitor: Monitor) -> RetuneResult:
            if (iteration, share) == (best.selected_iteration, best.selected_share):
                return best
            return take_checkpoint(best, iteration, run.project.dataset, run.masks, share=share, monitor=monitor)

        self._measure(run, take)

    def _measure(self, run: UndecidedRun, take: Callable[[Monitor], RetuneResult]) -> None:
        """Measure both models on all splits, in a worker, while the user looks at images.

        Parameters
        ----------
        run : UndecidedRun
            Whose model *before* it is.
        take : callable
            Called in the worker; returns the result with the model *after*.
        """
        from napari_cam_feedback.evaluation import KeptPredictions, compare
        from napari_cam_feedback.retuning import check_rows

        dataset = run.project.dataset
        # The model that one run ends with is that which the next begins with, and checkpoints share the one before.
        kept = self._kept = self._kept or KeptPredictions()
        # Masks that came with the data tell about images that nobody painted.
        masks = None if dataset.has_known_masks else run.project.masks
        begun = 0.0
        labelled = [name for name in dataset.split_names if (dataset.labels[dataset.indices(name)] >= 0).any()]

        def work(monitor: Monitor) -> Generator[RetuneResult, None, Comparison]:
            result = take(monitor)
            yield result
            return compare(
                run.classifier,
                result.classifier,
                dataset,
                masks=masks,
                splits=labelled,
                detail=True,
                quick=True,
                kept=kept,
                monitor=monitor,
            )

        def taken(result: RetuneResult) -> None:
            if run is self._run and result is not run.result:
                self._show_result(run, result)

        def measured(found: Progress) -> None:
            nonlocal begun
            if run is self._run:
                begun = begun or time.monotonic()
                self.table_label.setText(measuring_sentence(found.done, found.total, time.monotonic() - begun))

        def done(comparison: Comparison) -> None:
            if run is not self._run:
                return
            self._hold(False)
            if run.result is None:
                return
            run.comparison = comparison
            self.table.show_rows([*check_rows(run.result.before, run.result.after), *comparison.rows])
            self.table.show()
            self.table_label.setText(measured_sentence(comparison))

        def failed(sentence: str) -> None:
            if run is not self._run:
                return
            self._hold(False)
            self._taking = False
            self.table_label.setText(sentence)
            self._refresh()

        self._session.jobs.start(
            COMPARE_JOB,
            work,
            on_step=taken,
            on_progress=measured,
            on_done=done,
            on_failed=failed,
            description="Measuring before and after",
            replace=True,
        )

    def _side_toggled(self, on: bool) -> None:
        if on:
            self.comparison.show()
        else:
            self.comparison.hide()

    # Deciding ---------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Save the result as a new version, which becomes the current one."""
        run = self._run
        if run is None or run.result is None or self._deciding:
            return
        result, comparison = run.result, run.comparison

        def save() -> Version:
            _ = result.classifier.head  # kept from now on, so that the window need not run the network for it
            # Another version may have been chosen meanwhile; the parent is the one that was retuned.
            return run.project.keep(result, comparison, parent=run.parent)

        def kept(version: Version) -> None:
            self._forget()
            if self._session.project is run.project:
                self._session.set_classifier(result.classifier)
            self._say(f"Kept as {version.id}, made from {version.parent}. Look again: is something else used instead?")

        self._decide(save, kept)

    def discard(self) -> None:
        """Keep the model as it was; the run's record is written."""
        run = self._run
        if run is None or run.result is None or self._deciding:
            return
        result, comparison = run.result, run.comparison

        def dropped(folder: Any) -> None:
            self._forget()
            self._say(f"Discarded; the model is {run.parent} as before. The record of the run is in {folder}.")

        self._decide(lambda: run.project.discard(result, comparison, parent=run.parent), dropped)

    def _decide(self, task: Any, then: Any) -> None:
        self._deciding = True
        self._session.jobs.stop(COMPARE_JOB)
        self._refresh()

        def finished(value: Any, error: Exception | None) -> None:
            self._deciding = False
            if error is not None:
                self._say(describe(error), error=True)
            else:
                then(value)
            self._refresh()

        # In the session's own disk thread, since two threads must not write the project's file.
        self._session.disk.submit("decide", task, finished)

    def _forget(self) -> None:
        """End the present run: there is nothing to decide any more."""
        self._run = None
        self._hold(False)
        self.log.clear()
        self.comparison.use(None)
        self._progress.end()
        self._say("")
        self.settings.set_opened(True)
        self._refresh()

    # Coming and going ---------------------------------------------------------------------------------------

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._session.watch(self)
        self._count_painted()

    def _close(self) -> None:
        self._closed = True
        self._hold(False)
        self._progress.end()
        self._save_undecided()

    def _save_undecided(self) -> None:
        run = self._run
        if run is not None and run.undecided is not None and not self._deciding:
            self._record(run)

    def _record(self, run: UndecidedRun) -> None:
        """Write what came of a run that nobody will decide on."""

        def saved(folder: Any, error: Exception | None) -> None:
            if self._run is None:
                sentence = f"{run.name} was neither kept nor discarded; it is in {folder}."
                self._say(sentence if error is None else describe(error), error=error is not None)

        self._session.disk.submit(f"undecided {id(run)}", run.record, saved)
