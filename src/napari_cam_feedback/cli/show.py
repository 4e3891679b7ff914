"""What the commands show: progress and remarks on stderr, tables on stdout, JSON in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from napari_cam_feedback.cli.app import err, out

if TYPE_CHECKING:
    from napari_cam_feedback.errors import Mismatch
    from napari_cam_feedback.evaluation import Comparison, ComparisonRow, Evaluation, Interval, KeyNumber
    from napari_cam_feedback.retuning import RetuneConfig, RetuneResult, RetuneStep
    from napari_cam_feedback.training import TrainStep

#: Of the measures on masked images, those that are shown unless all are asked for.
KEY_MEASURES = ("flip_rate", "swap_flip_rate", "swap_accuracy")
#: Images that cannot be read, and weights that do not fit, that are listed before only their number is said.
MAX_SKIPPED = 5
MAX_MISMATCHES = 12
#: How the images are measured that were not.
THE_REST = "--all measures the rest."


def remark(sentence: str | None) -> None:
    """Say something beside the result, on stderr."""
    if sentence:
        err.print(sentence, markup=False, highlight=False)


def write_json(path: Path | None, value: Any) -> None:
    """Write the result where the user named a file for it."""
    from napari_cam_feedback.files import write_json as write

    if path is not None:
        write(path, value)


class Bar:
    """One line of progress on stderr: the `Monitor` of a command."""

    def __init__(self, shown: Progress, description: str, first: str | None, stop: Callable[[], bool] | None) -> None:
        self._shown = shown
        self._task = shown.add_task(description, total=None)
        self._first, self._stop = first, stop

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Move the bar; a message takes the place of the one before."""
        self.begin()
        self._shown.update(self._task, completed=done, total=total or None, description=message or None)

    @property
    def stopped(self) -> bool:
        """Whether the user wants to stop."""
        return self._stop is not None and self._stop()

    def begin(self) -> None:
        """Say the first remark, now that the work has begun; bad input is thus said in one line, alone."""
        first, self._first = self._first, None
        remark(first)


@contextmanager
def progress(description: str, *first: str | None, stop: Callable[[], bool] | None = None) -> Iterator[Bar]:
    """Show progress while something is done.

    Parameters
    ----------
    description : str
        What is done.
    *first : str or None
        Remarks to be made, a line each, once that has begun.
    stop : callable, optional
        Whether the user wants to stop, as `stop_on_interrupt` gives it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("left"),
    )
    # In a log, a bar that moves is only noise.
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        bar = Bar(shown, description, "\n".join(filter(None, first)), stop)
        yield bar
        bar.begin()


def training_progress(bar: Bar) -> Callable[[TrainStep], None]:
    """Return what shows the epochs of a sample's training on a bar."""
    return lambda step: bar.progress(step.epoch, step.epochs, f"training the sample's model  loss {step.loss:.3f}")


def retune_progress(bar: Bar, config: RetuneConfig) -> Callable[[RetuneStep], None]:
    """Return what shows the steps of a retune with these settings on a bar."""
    doing = "retuning, until the checks no longer get better" if config.ends_by_itself else "retuning"

    def show(step: RetuneStep) -> None:
        if step.trying is not None:
            bar.progress(0, 0, f"trying a learning rate of {step.trying:g}")
            return
        terms = "  ".join(f"{name} {value:.3f}" for name, value in step.losses.items() if name != "total")
        bar.progress(step.iteration, step.iterations, f"{doing}  {terms}")
        remark(step.message)

    return show


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 3) -> None:
    """Print a table; its last `numbers` columns are ranged right, and a number in these is never cut."""
    table = Table(title=title, title_justify="left", show_edge=False)
    for number, column in enumerate(columns):
        right = number >= len(columns) - numbers and number > 0
        # A number is never cut; in a narrow terminal the other columns take more lines.
        whole = right and all(len(row[number].split()) < 2 for row in rows)
        if whole:
            # A name that is longer than the numbers below it takes more lines, so that they leave room for the others.
            width = max((cell_len(row[number]) for row in rows), default=0)
            column = "\n".join(wrap(column, max(width, *map(len, column.split()), 1), break_on_hyphens=False))
        table.add_column(column, justify="right" if right else "left", no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    out.print(table)


def show_mismatch(rows: Sequence[Mismatch]) -> None:
    """Print which weights do not fit, the first few of them."""
    shown = [[row.name, row.found or "–", row.expected or "–"] for row in rows[:MAX_MISMATCHES]]
    show_table("Weights that do not fit", ["name", "in the file", "in the architecture"], shown, numbers=0)
    if len(rows) > MAX_MISMATCHES:
        out.print(f"and {len(rows) - MAX_MISMATCHES} more", highlight=False)


def show_evaluation(title: str, evaluation: Evaluation, rest: str = THE_REST, *, full: bool = False) -> None:
    """Print accuracy of each split, what the masked part does to it where there are masks, and the images left out.

    Of the measures on masked images those that decide, with `full` all of them.
    """
    from napari_cam_feedback.evaluation import MEASURES, REASONS, show, show_specificity

    rows = [
        [name, str(result.n), show(result.accuracy), ends(result.accuracy_interval)]
        for name, result in evaluation.splits.items()
    ]
    show_table(escape(title), ["split", "images", "accuracy", "95 % interval"], rows, numbers=3)
    for name, result in evaluation.splits.items():
        if result.groups is not None and result.groups.worst is not None:
            out.print(f"{name}: {result.groups.sentence()}", markup=False, highlight=False)
    measured = {name: result for name, result in evaluation.splits.items() if result.right_reasons is not None}
    if measured:
        keys = [key for key in REASONS if full or key in KEY_MEASURES]
        rows = [["images with a mask"], *([MEASURES[key].name] for key in keys)]
        for result in measured.values():
            found = result.right_reasons
            assert found is not None
            rows[0].append(f"{found.n} of {result.masked}" if found.n < result.masked else str(found.n))
            for row, key in zip(rows[1:], keys, strict=True):
                value = show_specificity(found) if key == "specificity" else show(getattr(found, key))
                row.append(f"{value} {_short_ends(result.intervals.get(key))}".rstrip())
        show_table(
            f"Where something is masked (95 % interval{'' if full else '; all measures with --full'})",
            ["measure", *map(escape, measured)],
            rows,
            numbers=len(measured),
        )
    show_sample(evaluation, rest)
    show_skipped(evaluation.skipped)


def ends(interval: Interval | None, *, signed: bool = False) -> str:
    """Write the ends of an interval; empty where there is none."""
    if interval is None:
        return ""
    return f"{interval.low:+.3f}…{interval.high:+.3f}" if signed else f"{interval.low:.3f}…{interval.high:.3f}"


def _short_ends(interval: Interval | None) -> str:
    return "" if interval is None else f"({interval.low:.2f}…{interval.high:.2f})"


def show_sample(evaluation: Evaluation, rest: str = THE_REST) -> None:
    """Say which part of the images was measured, where it was not all, and how to measure the rest."""
    said = evaluation.sample_sentence()
    if said and not evaluation.stopped:
        out.print(f"{said} {rest}".rstrip(), markup=False, highlight=False)


def stopped_sentence(evaluation: Evaluation) -> str:
    """Say what was measured until the user stopped it."""
    names = list(evaluation.splits)
    if not names:
        return "Stopped before anything was measured."
    last = evaluation.splits[names[-1]]
    short = " (of the last one, masked images not)" if last.masked and last.right_reasons is None else ""
    return f"Stopped; measured until then: {', '.join(names)}{short}."


def show_comparison(comparison: Comparison, rest: str = THE_REST, *, full: bool = False) -> None:
    """Print accuracy before and after on each split, with `full` each measure, and which part of the images was measured."""
    rows = [row for row in comparison.rows if full or row.measure == "accuracy"]
    show_rows("Before and after" if full else "Before and after (all measures with --full)", rows)
    show_sample(comparison.before, rest)


def show_rows(title: str, rows: Sequence[ComparisonRow]) -> None:
    """Print measures before and after, and of each change whether it is better, worse, or within chance."""
    from napari_cam_feedback.evaluation import MEASURES, show

    shown = []
    for row in rows:
        small = row.change is not None and abs(row.change) < 0.0005
        change = "0.000" if small else f"{show(row.change, signed=True)} {row.mark}".rstrip()
        shown.append([row.split, MEASURES[row.measure].name, *row.texts, change, ends(row.interval, signed=True)])
    columns = ["images", "measure", "before", "after", "change", "95 % interval"]
    if all(row.interval is None for row in rows):
        columns, shown = columns[:-1], [cells[:-1] for cells in shown]
    show_table(title, columns, shown, numbers=len(columns) - 2)


def show_numbers(numbers: Sequence[KeyNumber]) -> None:
    """Print the three numbers that come first, before and after with their intervals."""
    rows = [[each.name, *each.texts, each.mark, each.images] for each in numbers]
    show_table("The numbers that decide (95 % interval)", ["", "before", "after", "", "measured on"], rows, numbers=4)


def show_result(result: RetuneResult, folder: Path, *, full: bool = False) -> None:
    """Print the verdict on a retune, the three numbers that decide, what to do next, and which model was returned.

    Parameters
    ----------
    result : RetuneResult
        The run.
    folder : Path
        Where `save_run` wrote it.
    full : bool
        Print all measures behind the verdict too, and which other models there are.
    """
    from napari_cam_feedback.retuning import check_rows, checkpoint_name, key_numbers

    good, bad = dict.fromkeys(("fixed", "improved"), "green"), dict.fromkeys(("harmed", "failed"), "red")
    colour = {**good, **bad}.get(result.verdict.name, "yellow")
    verdict = result.verdict
    out.print(f"[bold {colour}]{verdict.name.capitalize()}.[/] {escape(verdict.headline)}", highlight=False)
    show_numbers(key_numbers(result.before, result.after))
    out.print(f"Next: {verdict.advice}", markup=False, highlight=False)
    out.print(f"Why this verdict: {verdict.reason}", markup=False, highlight=False)
    if result.selected_iteration == 0:
        out.print(f"No step was better, so the model returned is the one given ({result.status}).", highlight=False)
    else:
        returned = checkpoint_name(result.selected_iteration, result.selected_share)
        out.print(f"The model returned is that of {returned} ({result.status}).", highlight=False)
    if not full:
        return
    learnt = set(result.held_out_keys) & set(result.painted_keys)
    painted = "images with it" if result.style is not None and not result.masks else "painted images"
    own = f"the {painted} learnt from" if learnt else f"{painted} kept out of the training"
    show_rows(f"What the verdict is based on: validation images and {own}", check_rows(result.before, result.after))
    _show_path(result, folder)


def _show_path(result: RetuneResult, folder: Path) -> None:
    """Print how the models between the given weights and the best ones stand, and where they are; nothing without any."""
    from napari_cam_feedback.evaluation import show
    from napari_cam_feedback.projects.runs import CHECKPOINTS, checkpoint_file

    rows = []
    for check in result.path_checks:
        returned = check.share == result.selected_share
        file = "returned" if returned else f"{CHECKPOINTS}/{checkpoint_file(check.iteration, check.share)}"
        numbers = check.accuracy, check.conflict_accuracy, check.conflict_flip_rate
        rows.append([f"{1 - check.share:.0%}", file, *map(show, numbers)])
    if rows:
        columns = ["old kept", "model", "accuracy", "where the shortcut conflicts", "changed predictions"]
        show_table("How much of the old is kept (validation images)", columns, rows)
        out.print(f"The other models are in {folder / CHECKPOINTS}.", markup=False, highlight=False)


def show_skipped(skipped: Mapping[str, str]) -> None:
    """Say on stderr which images were left out because they cannot be read: the first few, then how many."""
    for key, sentence in list(skipped.items())[:MAX_SKIPPED]:
        remark(f"left out: {key}: {' '.join(sentence.split())}")
    more = len(skipped) - MAX_SKIPPED
    if more > 0:
        remark(f"left out: {more} more {'image' if more == 1 else 'images'} that cannot be read")
