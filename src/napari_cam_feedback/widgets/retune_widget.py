"""The *Retune* dock: settings, start and stop, what happens meanwhile, and keeping or discarding the result."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.widgets.collecting import hold_objects, release_objects
from napari_cam_feedback.widgets.comparison import ComparisonLayers, PairInspector
from napari_cam_feedback.widgets.config_form import ConfigForm
from napari_cam_feedback.widgets.phase import Phase
from napari_cam_feedback.widgets.retune_view import RetuneView
from napari_cam_feedback.widgets.state import session_of

if TYPE_CHECKING:
    import napari

    from napari_cam_feedback.evaluate import Comparison
    from napari_cam_feedback.explain import Inspector
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.project import Project, Version
    from napari_cam_feedback.retune import RetuneResult, RetuneStep

JOB, COMPARE_JOB = "retune", "compare"
COMMON_SETTINGS = ("iterations", "learning_rate", "painted_per_step", "strength")
#: How often progress and plot are drawn; with software OpenGL each time costs 40 ms for the whole window.
REDRAW_MS = 250
_VERDICT_COLOURS = {
    "fixed": "#4FC3F7",
    "improved": "#4FC3F7",
    "no effect": "#BDBDBD",
    "looks fixed but is not": "#FFB74D",
    "harmed": "#FF8A65",
}
_ERROR_STYLE = "color: #FF8A65; font-weight: bold;"
_OPEN_FIRST = "Open a model and a dataset in the Session dock first."
_PAINT_FIRST = (
    "Nothing is painted yet. In the Browse dock, paint what is irrelevant on a few images (ten or more is best), then "
    "come back."
)


@dataclass
class Run:
    """One retune of this dock, from its start to the decision.

    Attributes
    ----------
    project : Project
        Whose it is.
    parent : str
        The version that it started from.
    classifier, inspector
        Of that version.
    result : RetuneResult or None
        Once it is there.
    comparison : Comparison or None
        Before and after on whole splits, once it is measured.
    """

    project: Project
    parent: str
    classifier: Classifier
    inspector: Inspector
    result: RetuneResult | None = None
    comparison: Comparison | None = None


class RetuneWidget(RetuneView):
    """Retunes the current classifier with what was painted, shows how it goes, and lets the person decide."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._session = session_of(napari_viewer)
        self._run: Run | None = None
        self._deciding = False
        self._holding = False
        self._started = 0.0
        self._latest: RetuneStep | None = None
        self._closed = False
        self.form: ConfigForm | None = None
        self.comparison = ComparisonLayers(self._session, self)
        self._redraw = QTimer(self)
        self._redraw.setInterval(REDRAW_MS)
        self._redraw.timeout.connect(self._show_progress)
        self.method_box.currentTextChanged.connect(self._method_chosen)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.keep_button.clicked.connect(self.keep)
        self.discard_button.clicked.connect(self.discard)
        self.side_button.toggled.connect(self._side_toggled)
        self._machine = self._session.jobs.phase(JOB)
        self._refresh_buttons = self._machine.drive(start=[self.start_button], stop=[self.stop_button], ready=self._ready)
        self._machine.changed.connect(self._phase_changed)
        self._session.opened.connect(self._opened)
        self._session.mask_changed.connect(self._mask_changed)
        self._session.closing.connect(self._close)
        self.comparison.shown.connect(self.side_button.setChecked)
        self.comparison.described.connect(self.pair_label.setText)
        self._opened()

    # Settings --------------------------------------------------------------------------------------

    def _build_form(self) -> None:
        """Make the settings, which only torch's own modules can tell; a project is open, so torch is loaded."""
        if self.form is not None:
            return
        from napari_cam_feedback.retune import RetuneConfig, method_names

        self.form = ConfigForm(RetuneConfig, common=COMMON_SETTINGS, skip=("method",))
        self.settings_layout.addWidget(self.form)
        self.method_box.addItems(list(method_names()))

    def _method_chosen(self, name: str) -> None:
        from napari_cam_feedback.retune import METHODS, describe_method
        from napari_cam_feedback.retune.methods import AUTO

        self.method_label.setText(describe_method(name))
        parts = AUTO if name == "auto" else name.split("+")
        if self.form is None:
            return
        # A setting named after a method is of use to that method only.
        for setting in self.form.names:
            owner = next((method for method in METHODS if setting.startswith(f"{method}_")), None)
            self.form.set_row_visible(setting, owner is None or owner in parts)

    # State --------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run | None:
        """The retune under way or waiting for a decision."""
        return self._run

    def _ready(self) -> bool:
        return self._session.project is not None and self._run is None and not self._closed

    def _opened(self) -> None:
        if self._run is not None and self._run.project is not self._session.project:
            self._session.jobs.stop(JOB)
            self._save_undecided()
            self._forget()
        if self._run is None:
            self._say("")
        if self._session.project is not None:
            self._build_form()
        self._count_painted()

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
        useful = pending and run is not None and run.result is not None and run.result.selected_iteration > 0
        self.keep_button.setEnabled(useful and not self._deciding)
        self.discard_button.setEnabled(pending and not self._deciding)
        self.hint.setText(self._next(pending, useful))

    def _next(self, pending: bool, useful: bool) -> str:
        phase = self._machine.phase
        if self._session.project is None:
            return _OPEN_FIRST
        if phase is Phase.STOPPING:
            return "Stopping; the best model so far will be yours to keep or discard."
        if phase is Phase.RUNNING:
            return "Retuning. You can go on looking and painting; what you paint now counts in the next retune."
        if pending and useful:
            return "Look at some images (Browse, or the keys . and ,) to see what changed, then keep or discard it."
        if pending:
            return "No step was better than the model as it was: discard the run, and paint more or try another method."
        if not self._session.painted():
            return _PAINT_FIRST
        return "Choose a method and start; the defaults are a good first try."

    def _count_painted(self, *_: object) -> None:
        """Tell how many painted images there are, class by class, and which cannot be used."""
        session = self._session
        if session.dataset is None:
            self.painted_label.setText("")
            self._refresh()
            return
        dataset = session.dataset
        usable: Counter[int] = Counter()
        unusable = 0
        for key in session.painted():
            try:
                item = dataset.item(dataset.index_of(key))
            except FeedbackError:
                continue
            if item.label is None or item.split.startswith("test"):
                unusable += 1
            else:
                usable[item.label] += 1
        names = session.class_names
        parts = [f"{names[label]}: {count}" for label, count in sorted(usable.items()) if label < len(names)]
        total = sum(usable.values())
        text = f"Painted images: {total}" + (f" ({', '.join(parts)})." if parts else ".")
        if unusable:
            which = "one is" if unusable == 1 else f"{unusable} are"
            text += f" Another {which} not learnt from, being in a test split or without a label."
        self.painted_label.setText(text if total or unusable else "")
        self._refresh()

    def _mask_changed(self, key: str) -> None:
        if self._run is None:
            # What was said of the last run, "nothing is painted" for one, holds no longer.
            self._say("")
        self._count_painted()

    def _say(self, text: str, *, error: bool = False) -> None:
        self.status.setStyleSheet(_ERROR_STYLE if error else "")
        self.status.setText(text)
        self.status.setVisible(bool(text))

    # Running --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Save what is painted, then retune in a worker."""
        from napari_cam_feedback.retune import retune

        session = self._session
        if not self._ready() or self._machine.busy or self.form is None:
            return
        project, classifier, inspector = session.project, session.classifier, session.inspector
        assert project is not None
        assert classifier is not None
        assert inspector is not None
        try:
            config = self.form.config(method=self.method_box.currentText())
        except FeedbackError as error:
            self._say(describe(error), error=True)
            return
        session.autosave.flush()
        keys = sorted(session.painted())
        self._run = run = Run(project, project.current.id, classifier, inspector)
        self.comparison.use(None)
        self.plot.clear(config.iterations)
        self._say("")
        self.progress_label.setText("Reading the images…")
        self.progress.setRange(0, config.iterations)
        self.progress.setValue(0)
        self._started, self._latest = 0.0, None
        self._redraw.start()
        self.settings.set_opened(False)

        def work(stop: Any) -> Any:
            masks = {key: project.masks[key] for key in keys if key in project.masks}
            return retune(classifier, project.dataset, masks, config, stop=stop)

        self._hold(True)
        session.jobs.start(
            JOB,
            work,
            on_step=lambda step: self._step(run, step),
            on_done=lambda result: self._done(run, result),
            on_failed=lambda sentence: self._failed(run, sentence),
            on_stopped=lambda: self._failed(run, ""),
            description="Retuning",
            total=config.iterations,
            progress=lambda step: (step.iteration, step.iterations),
            precious=True,
        )
        self._refresh()

    def stop(self) -> None:
        """Ask the retune to stop; the best so far comes as its result."""
        self._session.jobs.stop(JOB)

    def _step(self, run: Run, step: RetuneStep) -> None:
        if run is not self._run:
            return
        if not self._started:
            self._started = time.monotonic()
        if step.losses or step.painted_probabilities is not None:
            self.plot.add(step.iteration, step.losses, step.painted_keys, step.painted_probabilities)
        if step.message:
            self._say(step.message, error=True)
        self._latest = step

    def _show_progress(self) -> None:
        """Draw what has come since the last time; called by a timer, so that no step pays for a drawing."""
        step = self._latest
        if step is None:
            return
        self._latest = None
        # A progress bar paints at once when its value is set; this way it is painted together with the rest.
        self.progress.setUpdatesEnabled(False)
        self.progress.setValue(step.iteration)
        self.progress.setUpdatesEnabled(True)
        text = f"Iteration {step.iteration} of {step.iterations}"
        if step.iteration:
            each = (time.monotonic() - self._started) / step.iteration
            text += f", {time_left(each * (step.iterations - step.iteration))}"
        self.progress_label.setText(text)
        self.plot.redraw()

    def _stop_drawing(self) -> None:
        self._redraw.stop()
        self._latest = None
        self.plot.redraw()

    def _failed(self, run: Run, sentence: str) -> None:
        self._hold(False)
        if run is not self._run:
            return
        self._run = None
        self._stop_drawing()
        self.progress_label.setText("")
        self.settings.set_opened(True)
        self._say(sentence, error=True)
        self._refresh()

    def _done(self, run: Run, result: RetuneResult) -> None:
        if run is not self._run:
            self._hold(False)
            return
        from napari_cam_feedback.explain import Inspector
        from napari_cam_feedback.retune import check_rows

        run.result = result
        self._stop_drawing()
        seconds = time.monotonic() - self._started if self._started else 0.0
        self.progress_label.setText("")
        if result.status == "rolled back":
            why = str(result.history[-1].get("message") or "It went astray").split(";")[0]
            self._say(
                f"{why}, again and again, so the run was given up; lower the learning rate or the strength.", error=True
            )
        else:
            self._say(_ended(result, seconds))
        name, colour = result.verdict.name, _VERDICT_COLOURS.get(result.verdict.name, "#BDBDBD")
        title = f"<b style='color:{colour}; font-size: 13pt'>{name.capitalize()}</b>"
        self.verdict_label.setText(f"{title}<br>{escape(result.verdict.reason)}")
        self.table.show_rows(check_rows(result.before, result.after))
        self.table.show()
        self.pair_label.setText("")
        self.table_label.setText("Before and after. Measuring on all splits too…")
        self._refresh()
        self.comparison.use(PairInspector(run.inspector, Inspector(result.classifier, run.project.dataset)))
        if result.selected_iteration > 0:
            self.comparison.show()
        self._measure(run, result)

    # Comparing --------------------------------------------------------------------------------------------

    def _measure(self, run: Run, result: RetuneResult) -> None:
        """Measure both models on all splits, in a worker, while the person looks at images."""
        from napari_cam_feedback.evaluate import compare
        from napari_cam_feedback.retune import check_rows

        dataset = run.project.dataset
        # Masks that came with the data tell about images that nobody painted.
        masks = None if dataset.has_known_masks else run.project.masks
        labelled = [name for name in dataset.split_names if (dataset.labels[dataset.indices(name)] >= 0).any()]

        def work(stop: Any) -> Comparison:
            return compare(run.classifier, result.classifier, dataset, masks=masks, splits=labelled, stop=stop)

        def done(comparison: Comparison) -> None:
            self._hold(False)
            if run is not self._run:
                return
            run.comparison = comparison
            self.table.show_rows([*check_rows(result.before, result.after), *comparison.rows])
            self.table.show()
            self.table_label.setText(
                "Before and after. Where the shortcut tells the truth, accuracy may fall as the model stops using it."
            )

        def failed(sentence: str) -> None:
            self._hold(False)
            if run is self._run:
                self.table_label.setText(sentence)

        self._session.jobs.start(
            COMPARE_JOB,
            work,
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
            # Another version may have been chosen meanwhile; the parent is the one that was retuned.
            if run.project.current.id != run.parent:
                run.project.select(run.parent)
            _ = result.classifier.head  # kept from now on, so that the window need not run the network for it
            return run.project.keep(result, comparison)

        def kept(version: Version) -> None:
            self._forget()
            self._say(f"Kept as {version.id}, made from {version.parent}. Look again: is something else used instead?")
            if self._session.project is run.project:
                self._session.set_classifier(result.classifier)

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

        self._decide(lambda: run.project.discard(result, comparison), dropped)

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
        self.comparison.use(None)
        self._stop_drawing()
        self.progress_label.setText("")
        self._say("")
        self.settings.set_opened(True)
        self._refresh()

    # Coming and going ---------------------------------------------------------------------------------------

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._session.watch(self)
        self._count_painted()

    def _hold(self, hold: bool) -> None:
        """Keep the garbage collector from halting the window while threads compute."""
        if hold != self._holding:
            self._holding = hold
            hold_objects() if hold else release_objects()

    def _close(self) -> None:
        self._closed = True
        self._hold(False)
        self._stop_drawing()
        self._save_undecided()

    def _save_undecided(self) -> None:
        run = self._run
        if run is not None and run.result is not None and not self._deciding:
            self._session.disk.submit(f"undecided {id(run)}", lambda: _write_undecided(run))


def _write_undecided(run: Run) -> None:
    """Write the record of a run that nobody decided on, as of a discarded one, and its model, which must not be lost."""
    from napari_cam_feedback.models import save_classifier

    assert run.result is not None
    folder = run.project.discard(run.result, run.comparison)
    if run.result.selected_iteration > 0:
        save_classifier(run.result.classifier, folder / "model.safetensors")


def time_left(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 1:
        return "less than a second left"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"


def _ended(result: RetuneResult, seconds: float) -> str:
    last = result.history[-1]["iteration"] if result.history else 0
    how = {"done": "Done", "stopped": "Stopped", "rolled back": "Given up"}[result.status]
    return f"{how} after {last} iterations and {seconds:.0f} s; the model is that of iteration {result.selected_iteration}."
