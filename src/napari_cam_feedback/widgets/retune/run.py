"""One retune of the dock from its start to the decision, and what is said of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST, time_left
from napari_cam_feedback.widgets.parts.tones import Tone, tone_colour
from napari_cam_feedback.widgets.tasks.phase import Phase

if TYPE_CHECKING:
    import numpy as np

    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.evaluation import Comparison, KeyNumber
    from napari_cam_feedback.explanations import ExplanationCache
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.monitor import Monitor
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.projects.undecided import Undecided
    from napari_cam_feedback.retuning import RetuneConfig, RetuneResult, RetuneStep, RunState, Style, ValidationMetrics
    from napari_cam_feedback.widgets.parts.charts import StepPlot

_PAINT_FIRST = (
    "Nothing is painted yet. At the step Paint, paint what is irrelevant on a few images (ten or more is best), then come "
    "back. What cannot be painted, such as a colour cast or blur, is shown by two folders of images: open “Take out” below."
)
_SHOW_FIRST = "Choose a folder of images with it and one of images without it, then start."
_VERDICT_TONES: dict[str, Tone] = {
    "fixed": "good",
    "improved": "good",
    "no effect": "quiet",
    "looks fixed but is not": "warning",
    "mixed": "warning",
    "harmed": "error",
    "failed": "error",
}


@dataclass
class UndecidedRun:
    """One retune of the dock, from its start to the decision.

    Attributes
    ----------
    project : Project
        Whose it is.
    parent : str
        The version that it started from.
    classifier, explanation_cache
        Of that version.
    config : RetuneConfig
        Its settings.
    keys : list of str
        What was painted when it was started; none where only a style is to be taken out.
    shown : tuple of Path, or None
        Folders of images with a style and without it, which is to be taken out.
    colours : bool
        Brightness and colour are to be taken out.
    style : Style or None
        What they show, once it is found.
    masks : dict
        Masks of these, (H, W) bool; read in the worker, and the same when the run is continued.
    result : RetuneResult or None
        Once it is there; that of the checkpoint which the user has taken.
    best : RetuneResult or None
        As the run left it.
    comparison : Comparison or None
        Before and after on whole splits, once it is measured.
    seconds : float
        That it has taken, over all its parts.
    earlier : RetuneResult or None
        While a stopped run is continued, its result, should that fail.
    path : Path or None
        The file in the project in which its result waits.
    unsaved : str
        Why it could not be written, a sentence; empty where it was.
    """

    project: Project
    parent: str
    classifier: Classifier
    explanation_cache: ExplanationCache
    config: RetuneConfig
    keys: list[str]
    shown: tuple[Path, Path] | None = None
    colours: bool = False
    style: Style | None = field(default=None, repr=False)
    masks: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    result: RetuneResult | None = None
    best: RetuneResult | None = None
    comparison: Comparison | None = None
    seconds: float = 0.0
    earlier: RetuneResult | None = None
    path: Path | None = None
    unsaved: str = ""

    @classmethod
    def waiting(cls, project: Project, found: Undecided) -> UndecidedRun:
        """Return a run whose result has waited on disk."""
        from napari_cam_feedback.explanations import ExplanationCache

        result = found.result
        return cls(
            project,
            found.parent,
            result.given,
            ExplanationCache(result.given, project.dataset),
            result.config,
            sorted(found.masks),
            style=result.style,
            masks=found.masks,
            best=result,
            seconds=found.seconds,
            path=found.path,
        )

    def read_masks(self) -> None:
        """Read the masks, once."""
        if not self.masks:
            store = self.project.masks
            self.masks = {key: store[key] for key in self.keys if key in store}

    def find_style(self, monitor: Monitor) -> None:
        """Find what the folders show, or the colours that there are, once, where that is to be taken out; for a worker.

        Raises
        ------
        DataError, RetuneError
            A folder cannot be read or has too few images; nothing of the kind tells them apart; or it was stopped.
        """
        if not self.of_style or self.style is not None:
            return
        from napari_cam_feedback.explanations.tcav.sets import ImageFolder
        from napari_cam_feedback.retuning import find_colours, find_style

        preprocessing, dataset = self.classifier.preprocessing, self.project.dataset
        if self.shown is None:
            self.style = find_colours(preprocessing, dataset)
            return
        with_it, without = map(ImageFolder, self.shown)
        self.style = find_style(preprocessing, with_it, without, dataset, monitor=monitor)

    @property
    def of_style(self) -> bool:
        """Whether something over whole images is to be taken out."""
        return self.shown is not None or self.colours or self.style is not None

    @property
    def name(self) -> str:
        """Which version was retuned, and how."""
        return f"The retune of {self.parent} by {self.config.method}"

    @property
    def undecided(self) -> RetuneResult | None:
        """What must not be lost when the window is closed now."""
        return self.best or self.earlier

    def stopping_sentence(self) -> str:
        """Return what becomes of it where another project is opened while it runs."""
        return (
            f"{self.name} is still running and would be stopped; a better model, if it has found one, would wait in this "
            "project to be kept or discarded."
        )

    def saving(
        self, steps: Generator[RetuneStep, None, RetuneResult], monitor: Monitor
    ) -> Generator[RetuneStep, None, RetuneResult]:
        """Pass a retune's steps on, and put its result on disk before anybody hears of it; for a worker."""
        begun = time.monotonic()
        result = yield from steps
        # Whoever stops a run before it has found anything has nothing to decide on.
        if result.selected_iteration > 0 or not monitor.stopped:
            self.save(result, self.seconds + time.monotonic() - begun)
        return result

    def save(self, result: RetuneResult, seconds: float) -> None:
        """Put a result on disk, where it waits for the decision; `unsaved` says why where that fails."""
        from napari_cam_feedback.projects.undecided import save_undecided

        try:
            self.path = save_undecided(
                self.project, result, parent=self.parent, masks=self.masks, seconds=seconds, path=self.path
            )
            self.unsaved = ""
        except FeedbackError as error:
            self.unsaved = describe(error)

    def forget(self) -> None:
        """Take its file away, since it was decided on."""
        if self.path is not None:
            # One that stays comes back, and harms nothing: what was kept is known by its weights.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


class DecidedElsewhere(FeedbackError):
    """Another window has kept or discarded the result."""


def check_undecided(run: UndecidedRun) -> None:
    """Raise `DecidedElsewhere` where another window has kept or discarded a run's result."""
    if run.path is not None and not run.path.exists():
        raise DecidedElsewhere("This result was kept or discarded in another window; nothing was changed here.")


def next_step(phase: Phase, result: RetuneResult | None, *, opened: bool, painted: bool, shown: bool | None = None) -> str:
    """Return a sentence on what the user can do now.

    Parameters
    ----------
    phase : Phase
        Of the retune.
    result : RetuneResult or None
        What is to be decided on.
    opened, painted : bool
        Whether there is a project, and whether anything is painted.
    shown : bool or None
        Where something over whole images is to be taken out: whether both folders that show it are chosen.
    """
    if not opened:
        return OPEN_FIRST
    if phase is Phase.STOPPING:
        return "Stopping; the best model so far will be yours to keep or discard."
    if phase is Phase.RUNNING:
        return "Retuning. You can go on looking and painting; what you paint now counts in the next retune."
    if result is not None and result.selected_iteration > 0 and result.verdict.name == "mixed":
        first = "Move the slider towards the old weights, or keep it" if result.path else "Keep it"
        other = "" if result.run_state is None else ", continue the run"
        return f"{first}{other}, or discard it. Look at some images (the keys . and ,) to see what changed."
    if result is not None and result.selected_iteration > 0:
        what = "keep or discard it" if result.run_state is None else "keep it, continue the run, or discard it"
        return f"Look at some images (the keys . and ,) to see what changed, then {what}."
    if result is not None and result.run_state is not None:
        return "No step was better yet than the model as it was: continue the run, or discard it."
    if result is not None and result.verdict.name == "failed":
        return "The weights were thrown away and the model is as it was: discard the run; the verdict says what to try next."
    if result is not None:
        more = "paint more or try another method" if result.style is None else "show more images with it and without it"
        return f"No step was better than the model as it was: discard the run, and {more}."
    if shown is not None:
        return "Start; the defaults are a good first try." if shown else _SHOW_FIRST
    if not painted:
        return _PAINT_FIRST
    return "Choose a method and start; the defaults are a good first try."


def which_version(run: UndecidedRun | None, current: str | None) -> str:
    """Tell which version a retune begins with, or which one the run at hand began with; nothing without a project."""
    if current is None:
        return ""
    if run is None:
        return f"The retune begins with {current}, the version in use."
    if run.result is None:
        return f"Retuning {run.parent}."
    against = ", against what lies over whole images" if run.of_style else ""
    said = f"The result below came from {run.parent}, by {run.config.method}{against}."
    return said if run.parent == current else f"{said} In use now is {current}."


def painted_sentence(dataset: Dataset, keys: Iterable[str], names: Sequence[str]) -> str:
    """Tell how many painted images there are, class by class, and which cannot be used; nothing where there are none."""
    usable: Counter[int] = Counter()
    unusable = 0
    for key in keys:
        try:
            item = dataset.item(dataset.index_of(key))
        except FeedbackError:
            continue
        if item.label is None or not item.learnable:
            unusable += 1
        else:
            usable[item.label] += 1
    total = sum(usable.values())
    if not total and not unusable:
        return ""
    parts = [f"{names[label]}: {count}" for label, count in sorted(usable.items()) if label < len(names)]
    text = f"Painted images: {total}" + (f" ({', '.join(parts)})." if parts else ".")
    if unusable:
        which = "one is" if unusable == 1 else f"{unusable} are"
        text += f" Another {which} not learnt from, being in a test split or without a label."
    return text


def replay(plot: StepPlot, run_state: RunState | RetuneResult) -> None:
    """Draw a run as far as its state, or its result, has it."""
    for row in run_state.history:
        losses = {name.removeprefix("loss_"): row[name] for name in row if name.startswith("loss_")}
        plot.add(row["iteration"], losses)
    for iteration, group in groupby(run_state.painted_history, lambda row: row["iteration"]):
        rows = list(group)
        plot.add(iteration, {}, tuple(row["key"] for row in rows), [row["probability"] for row in rows])


def checkpoint_names(result: RetuneResult) -> list[tuple[int, str]]:
    """Return iteration and name of each model that the user can take; the best first, and none that is as it was."""
    best = result.selected_iteration
    others = [each.check for each in result.checkpoints if each.check.iteration not in (0, best)]
    return [
        (best, checkpoint_text(result.after, best=True)),
        *((check.iteration, checkpoint_text(check)) for check in others),
    ]


def checkpoint_text(check: ValidationMetrics, *, best: bool = False) -> str:
    """Return what is said of a model that can be taken; `best` is the one that the run has chosen."""
    old = "" if check.share == 1 else f", {1 - check.share:.0%} of the old"
    text = (
        f"iteration {check.iteration}{old}: accuracy {check.accuracy:.2f}, conflict {check.conflict_accuracy:.2f}, "
        f"changed {check.conflict_flip_rate:.2f}"
    )
    return f"best ({text})" if best else text


def measuring_sentence(done: int, total: int, seconds: float) -> str:
    """Return how far the measuring of all splits is, after so many seconds of it."""
    said = "Before and after. Measuring on all splits too…"
    if not 0 < done <= total:
        return said
    return f"{said} {done / total:.0%}, {time_left(seconds * (total - done) / done)}"


def measured_sentence(comparison: Comparison) -> str:
    """Return what to bear in mind with the table, and of which images it is where it is not of all."""
    said = "Before and after. Where the shortcut tells the truth, accuracy may fall as the model stops using it."
    sample = comparison.before.sample_sentence()
    return f"{said} {sample} “Compare versions” measures whole splits." if sample else said


def how_it_ended(result: RetuneResult, seconds: float) -> tuple[str, bool]:
    """Return a sentence, and whether it tells of something wrong."""
    from napari_cam_feedback.retuning import checkpoint_name
    from napari_cam_feedback.retuning.optimisation.pace import tells_of_trouble

    last = max((row["iteration"] for row in result.history), default=0)
    name = checkpoint_name(result.selected_iteration, result.selected_share)
    model = f"the model is that of {name}." if result.selected_iteration else "the model is as it was."
    if result.status == "rolled back":
        troubles = [said for row in result.history if tells_of_trouble(said := row.get("message") or "")]
        why = troubles[-1].split(";")[0] if troubles else "It went astray"
        lower = "the learning rate or the strength" if result.config.learning_rate is not None else "the strength"
        return f"{why}, again and again, so the run was given up after {last} iterations; {model} Lower {lower}.", True
    most = result.resolved["iterations_at_most"]
    by_itself = result.status == "done" and result.config.ends_by_itself and last < most
    how = "Stopped" if result.status == "stopped" else "Ended by itself" if by_itself else "Done"
    many = f"{last} of at most {most}" if by_itself else str(last)
    said = f"{how} after {many} iterations and {seconds:.0f} s; {model}"
    run_state = result.run_state
    if run_state is not None and run_state.iteration < last:
        said += f" Continue goes on from iteration {run_state.iteration}, where it was last measured."
    return said, False


def verdict_text(result: RetuneResult) -> str:
    """Return the verdict in one sentence as rich text, in the colours of the window's theme."""
    name = result.verdict.name
    colour = tone_colour(_VERDICT_TONES.get(name, "quiet"))
    return f"<b style='color:{colour}; font-size: 13pt'>{name.capitalize()}</b><br>{escape(result.verdict.headline)}"


def numbers_text(numbers: Sequence[KeyNumber]) -> str:
    """Return the three numbers that come first as rich text: before and after with their intervals, and a word."""
    rows = []
    for each in numbers:
        before, after = each.texts
        word = {"better": "good", "worse": "warning"}.get(each.mark, "quiet")
        mark = f" <span style='color:{tone_colour(cast(Tone, word))}'>{each.mark}</span>" if each.mark else ""
        rows.append(f"<p style='margin:2px 0'><b>{each.name}</b>{mark}<br>{before} → {after}</p>")
    images = dict.fromkeys(each.images for each in numbers)
    return f"{''.join(rows)}<p style='margin:2px 0'>On {escape('; '.join(images))}. 95 % intervals in brackets.</p>"
