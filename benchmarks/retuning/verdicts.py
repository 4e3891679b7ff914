"""Whether the verdict of a retune is true, also where it must do harm: ``python -m benchmarks verdicts``.

The verdict is judged by the test split, which no retune looks at: accuracy on ``test``, where the shortcut conflicts with
the class, and on ``test-clean``, where there is none, before and after, each with the paired 95 % interval of its change.
*Beyond chance* means that the interval leaves out 0. A verdict agrees with what is found there (`agrees`):

- *fixed*, *improved*: test rose beyond chance, and test-clean did not fall beyond chance.
- *mixed*: test rose and test-clean fell, both beyond chance.
- *no effect*: each changed by less than 2 points, or not beyond chance.
- *looks fixed but is not*: test did not rise beyond chance, or by less than 2 points.
- *harmed*: one of both fell beyond chance, and the other one did not rise beyond chance.
- *failed*: the weights returned are the given ones, and the run went astray or the given model used the shortcut.

A model used the shortcut where it is less often right on test than without the shortcut (the same images), or than on the
validation images, where the shortcut tells the class; both beyond chance.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.retuning.cases import Case
from benchmarks.retuning.changes import Change, change_of
from benchmarks.retuning.masks import another_corner, random_places
from benchmarks.retuning.measure import Outcome, Setup, outcome_of, setups, timed_retune
from benchmarks.retuning.options import parse
from benchmarks.retuning.tables import Row, show, write_csv
from napari_cam_feedback.data import Dataset
from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.evaluation import predict
from napari_cam_feedback.feedback import known_masks
from napari_cam_feedback.retuning import RetuneResult

DATA = ("tag-digits", "crosses", "symbols", "clothes-lite0", "imagenet-watermark")
FAST = ("tag-digits", "crosses")
#: A change of accuracy below this is too small to count as an effect, whatever its interval.
MIN_EFFECT = 0.02
#: One-sided, as the upper end of a 95 % interval.
MAX_P = 0.025

Masks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """How a retune is set up.

    Attributes
    ----------
    name : str
        For the table.
    masks : int
        Painted images.
    move : callable or None
        Moves the masks away from what is irrelevant; takes them and a random generator.
    settings : dict
        Of the retune; the others are as by default.
    shuffled : bool
        The labels of the training images are shuffled; those of the validation images are not.
    unbiased : bool
        The model never saw the shortcut.
    """

    name: str
    masks: int = 20
    move: Callable[[Masks, np.random.Generator], dict[str, np.ndarray]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shuffled: bool = False
    unbiased: bool = False


KINDS = (
    Kind("as recommended"),
    Kind("3 masks", masks=3),
    Kind("learning rate 0.03", settings={"learning_rate": 0.03}),
    Kind("masks in another corner", move=another_corner),
    Kind("masks at random places", move=random_places),
    Kind("training labels shuffled", shuffled=True),
    Kind("model without the shortcut", unbiased=True),
)


@dataclass(frozen=True)
class Truth:
    """What the test split says of a retune.

    Attributes
    ----------
    test, clean : Change
        Of accuracy where the shortcut conflicts with the class, and where there is none.
    as_given : bool
        The weights returned are the given ones.
    astray : bool
        The run went back at least once because the model got worse.
    used : bool
        The given model used the shortcut (`used_shortcut`).
    """

    test: Change
    clean: Change
    as_given: bool
    astray: bool
    used: bool


def main(words: Sequence[str] = ()) -> None:
    """Print each run as it comes, then how many verdicts agree, and those that do not; write ``verdicts.csv``."""
    options = parse(words, "Whether the verdicts are true, by the test split.", DATA, fast=FAST)
    rows: list[Row] = []
    for case in options.data:
        for row in _runs(case, options.seeds):
            rows.append(row)
            write_csv("verdicts", rows)
            print(_line(row), flush=True)
    if not rows:
        return
    table = summary(rows)
    write_csv("verdicts_summary", table)
    print(show(table))
    wrong = [row for row in rows if row["agrees"] is False]
    if wrong:
        print("\nThose that do not agree:")
        print("\n".join(f"{_line(row)}: {row['reason']}" for row in wrong))


def agrees(verdict: str, truth: Truth) -> bool:
    """Tell whether a verdict is what the test split says; the rule is in the docstring of this module.

    Raises
    ------
    ValueError
        There is no such verdict.
    """
    test, clean = truth.test, truth.clean
    if verdict in ("fixed", "improved"):
        return test.rose and not clean.fell
    if verdict == "mixed":
        return test.rose and clean.fell
    if verdict == "no effect":
        return test.small(MIN_EFFECT) and clean.small(MIN_EFFECT)
    if verdict == "looks fixed but is not":
        return not test.rose or test.small(MIN_EFFECT)
    if verdict == "harmed":
        return (test.fell or clean.fell) and not (test.rose or clean.rose)
    if verdict == "failed":
        return truth.as_given and (truth.astray or truth.used)
    raise ValueError(f"There is no verdict {verdict!r}.")


def truth_of(outcome: Outcome, result: RetuneResult, *, used: bool) -> Truth:
    """Return what the test split says of a retune that was measured."""
    return Truth(
        Change(outcome.before, outcome.after, outcome.test_low, outcome.test_high),
        Change(outcome.clean_before, outcome.clean_after, outcome.clean_low, outcome.clean_high),
        as_given=result.selected_iteration == 0,
        astray=result.status == "rolled back" or any("went back" in str(row.get("message")) for row in result.history),
        used=used,
    )


def used_shortcut(setup: Setup) -> bool:
    """Tell from the test and validation images whether the setup's model uses the shortcut."""
    from scipy.stats import fisher_exact

    splits = setup.before.splits
    if change_of(splits["test-clean"], splits["test"]).fell:
        return True
    found = predict(setup.naive, setup.dataset, split="val")
    counts = [_right_and_wrong(found.predicted == found.labels)]
    assert splits["test"].predictions is not None
    counts.append(_right_and_wrong(splits["test"].predictions.predicted == splits["test"].predictions.labels))
    return bool(fisher_exact(counts, alternative="greater").pvalue <= MAX_P)


def shuffled_labels(dataset: Dataset, seed: int) -> Dataset:
    """Return the dataset with the labels of its training images dealt out anew among them."""
    labels, train = dataset.labels.copy(), dataset.indices("train")
    labels[train] = np.random.default_rng([seed, 0x5F1]).permutation(labels[train])
    changed = copy.copy(dataset)
    labels.setflags(write=False)
    changed.labels = labels
    return changed


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return a row a kind of run, and one of all: how many verdicts agree, their share, and which verdicts were given.

    The share's 95 % interval is Wilson's (1927); runs on the same data are no independent ones, so it is rather too narrow.
    Runs that were refused are not counted.
    """
    kinds = list(dict.fromkeys(str(row["run"]) for row in rows))
    return [_counted(kind, [row for row in rows if row["run"] == kind]) for kind in kinds] + [_counted("all", rows)]


def _counted(name: str, rows: Sequence[Row]) -> Row:
    from scipy.stats import binomtest

    judged = [bool(row["agrees"]) for row in rows if row["agrees"] is not None]
    share = interval = None
    if judged:
        share = sum(judged) / len(judged)
        ends = binomtest(sum(judged), len(judged)).proportion_ci(method="wilson")
        interval = f"{ends.low:.2f} to {ends.high:.2f}"
    verdicts = Counter(str(row["verdict"]) for row in rows)
    return {
        "run": name,
        "runs": len(judged),
        "agree": sum(judged),
        "share": share,
        "95 % interval": interval,
        "verdicts": ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common()),
    }


def _runs(case: Case, seeds: tuple[int, ...]) -> Iterator[Row]:
    for unbiased in (False, True):
        kinds = [kind for kind in KINDS if kind.unbiased == unbiased]
        if unbiased and case.training is None:
            print(f"{case.name}: no model without the shortcut, since none is trained.", flush=True)
            continue
        for setup in setups(case, seeds, compare=False, unbiased=unbiased):
            used = used_shortcut(setup)
            for kind in kinds:
                yield _run(setup, kind, used=used)


def _run(setup: Setup, kind: Kind, *, used: bool) -> Row:
    masks = known_masks(setup.dataset, kind.masks, seed=setup.seed)
    if kind.move is not None:
        masks = kind.move(masks, np.random.default_rng(setup.seed))
    dataset = shuffled_labels(setup.dataset, setup.seed) if kind.shuffled else setup.dataset
    try:
        result, seconds = timed_retune(setup, dataset, masks, **kind.settings)
    except FeedbackError as error:
        named: Row = {"data": setup.case.name, "seed": setup.seed, "masks": len(masks), "reason": str(error)}
        return {"run": kind.name, "agrees": None, "verdict": "refused", **named}
    outcome = outcome_of(setup, result, len(masks), seconds)
    truth = truth_of(outcome, result, used=used)
    return {
        "run": kind.name,
        "agrees": agrees(outcome.verdict, truth),
        **asdict(outcome),
        "as_given": truth.as_given,
        "astray": truth.astray,
        "used": used,
        "reason": result.verdict.reason,
    }


def _right_and_wrong(right: np.ndarray) -> list[int]:
    return [int(right.sum()), int((~right).sum())]


def _line(row: Row) -> str:
    if row["agrees"] is None:
        return f"{row['data']}, seed {row['seed']}, {row['run']}: {row['reason']}"
    rate = row["learning_rate"]
    return (
        f"{row['data']}, seed {row['seed']}, {row['run']}: test {row['before']:.3f} -> {row['after']:.3f} "
        f"({row['test_low']:+.3f} to {row['test_high']:+.3f}), without the shortcut {row['clean_before']:.3f} -> "
        f"{row['clean_after']:.3f} ({row['clean_low']:+.3f} to {row['clean_high']:+.3f}), {row['seconds']:.0f} s, "
        f"{row['iterations']} steps at {'-' if rate is None else f'{rate:g}'}, took {row['selected_iteration']} at "
        f"{row['selected_share']:g}, {row['status']}, {row['verdict']}: {'agrees' if row['agrees'] else 'DOES NOT AGREE'}"
    )
