"""Two classifiers on the same data, measure by measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.flips import both_read
from napari_cam_feedback.evaluation.groups import GroupAccuracies, worst_change_interval
from napari_cam_feedback.evaluation.intervals import Certainty, Interval, change_interval, mcnemar, mean_interval
from napari_cam_feedback.evaluation.measures import MEASURES, OPTIONAL, REASONS, show, show_specificity
from napari_cam_feedback.evaluation.measuring import Measuring
from napari_cam_feedback.evaluation.predictions import KeptPredictions
from napari_cam_feedback.evaluation.results import Evaluation, SplitResult
from napari_cam_feedback.evaluation.right_reasons import ItemReasons, RightReasons
from napari_cam_feedback.files import csv_text
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


#: Where no interval was asked for, changes up to this, or of one image, are taken for chance; as in a retune's verdict.
CHANCE = 0.02


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One measure on one split.

    Attributes
    ----------
    split, measure : str
        A measure is a key of `MEASURES`.
    before, after : float or None
        None where it is undefined.
    words : tuple of str, optional
        What is shown for before and after in place of numbers.
    certainty : Certainty or None
        How sure the numbers are, where that was asked for.
    images : int or None
        How many images were measured, where that was not asked for.
    """

    split: str
    measure: str
    before: float | None
    after: float | None
    words: tuple[str, str] | None = None
    certainty: Certainty | None = None
    images: int | None = None

    @property
    def change(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def interval(self) -> Interval | None:
        """Of the change; None where it was not asked for, and where there is none."""
        return None if self.certainty is None else self.certainty.change

    @property
    def better(self) -> bool | None:
        """Whether the change is for the better; None where there is none, or where neither direction is better."""
        direction = MEASURES[self.measure].better
        if self.before is None or self.after is None or direction is None:
            return None
        gain = self.after - self.before
        if direction == "nearer 0":
            gain = abs(self.before) - abs(self.after)
        elif direction == "less":
            gain = -gain
        return gain > 0 if gain else None

    @property
    def mark(self) -> str:
        """What is said of the change in a word: ``better``, ``worse``, or ``unsure`` where it may be chance.

        Empty where there is no change, where neither direction is better, and where an interval was asked for and there can
        be none. Where all images agree on a change, none of them speaks for another one. Where only the number of images is
        known, a change may be chance up to `CHANCE` or one image; a specificity then has no word, since it may rise while
        both rates that it is the ratio of fall.
        """
        if self.better is None or (self.certainty is not None and not self.certainty.known):
            return ""
        if self.interval is not None and not self.interval.excludes_zero:
            return "unsure"
        if self.certainty is None and self.images is not None:
            if self.measure == "specificity":
                return ""
            if abs(self.change or 0.0) <= max(CHANCE, 1 / max(self.images, 1)) + 1e-9:
                return "unsure"
        return "better" if self.better else "worse"

    @property
    def texts(self) -> tuple[str, str]:
        """Before and after, for people."""
        return self.words or (show(self.before), show(self.after))


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same splits; the seed is that of the intervals."""

    before: Evaluation
    after: Evaluation
    seed: int = 0

    @cached_property
    def rows(self) -> list[ComparisonRow]:
        """All measures that either side has, split by split; with how sure they are where the predictions are known."""
        rows: list[ComparisonRow] = []
        for name, old in self.before.splits.items():
            new = self.after.splits.get(name)
            if new is None:
                continue
            found = [ComparisonRow(name, "accuracy", old.accuracy, new.accuracy, images=new.n)]
            if old.groups is not None and new.groups is not None:
                found += _group_rows(name, old.groups, new.groups)
            if old.right_reasons is not None and new.right_reasons is not None:
                found += reasons_rows(name, old.right_reasons, new.right_reasons)
            rows += [replace(row, certainty=certainty_of(row.measure, old, new, self.seed)) for row in found]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values: both evaluations and the rows."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "rows": [
                {
                    "split": r.split,
                    "measure": r.measure,
                    "before": r.before,
                    "after": r.after,
                    "change": r.change,
                    **({} if r.interval is None else {"change_interval": r.interval.to_json()}),
                }
                for r in self.rows
            ],
        }

    def to_csv(self) -> str:
        """The rows as CSV text."""
        rows = []
        for row in self.rows:
            values = (row.before, row.after, row.change)
            rows.append([row.split, row.measure, *("" if value is None else f"{value:.6g}" for value in values)])
        return csv_text(["split", "measure", "before", "after", "change"], rows)


def reasons_rows(split: str, before: RightReasons, after: RightReasons) -> list[ComparisonRow]:
    """Return the measures on masked images as rows under a title; without those that neither side has measured."""
    rows = []
    for measure in REASONS:
        old, new = getattr(before, measure), getattr(after, measure)
        words = (show_specificity(before), show_specificity(after)) if measure == "specificity" else None
        unknown = words in (None, ("–", "–")) and old is None and new is None
        if not (unknown and measure in OPTIONAL):
            rows.append(ComparisonRow(split, measure, old, new, words, images=after.n))
    return rows


def _group_rows(split: str, before: GroupAccuracies, after: GroupAccuracies) -> list[ComparisonRow]:
    if before.worst is None or after.worst is None:
        return []
    old, new = before.groups[before.worst], after.groups[after.worst]
    words = f"{show(old.accuracy)} ({before.worst})", f"{show(new.accuracy)} ({after.worst})"
    return [ComparisonRow(split, "worst_group_accuracy", old.accuracy, new.accuracy, words, images=new.n)]


@takes_monitor
def compare(
    before: Classifier,
    after: Classifier,
    dataset: Dataset,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    splits: Sequence[str] | None = None,
    cache: InputCache | None = None,
    seed: int = 0,
    max_masked: int | None = None,
    detail: bool = False,
    quick: bool = False,
    kept: KeptPredictions | None = None,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> Comparison:
    """Evaluate two classifiers on the same images, masks and fills; errors as of `evaluate`.

    Parameters
    ----------
    before, after : Classifier
        The two.
    dataset, masks, splits, cache, seed, max_masked, monitor, fabric
        As of `evaluate`.
    detail : bool
        Keep the predictions, and tell how sure each number and each change is.
    quick : bool
        Measure a sample of each split that costs as much as a few hundred images of 224 x 224 pixels (`quick_limits`).
    kept : KeptPredictions, optional
        Predictions made before; those made now are added.
    """
    measuring = Measuring(
        dataset,
        masks=masks,
        splits=splits,
        seed=seed,
        max_masked=max_masked,
        detail=detail,
        quick=quick,
        kept=kept,
        monitor=monitor,
        fabric=fabric,
    )
    first, second = measuring.run([before, after], cache=cache)
    return Comparison(first, second, seed)


def certainty_of(measure: str, before: SplitResult, after: SplitResult, seed: int) -> Certainty | None:
    """Return how sure a measure is; None where the single predictions are not known."""
    if before.predictions is None or after.predictions is None:
        return None
    if measure == "accuracy":
        right = [
            (each.predicted == each.labels).astype(float)[each.labels >= 0]
            for each in (before.predictions, after.predictions)
        ]
        rows, others = both_read(before.predictions, after.predictions)
        known = before.predictions.labels[rows] >= 0
        shared = [
            (each.predicted == each.labels)[places][known]
            for each, places in ((before.predictions, rows), (after.predictions, others))
        ]
        return Certainty(
            mean_interval(right[0], seed=seed),
            mean_interval(right[1], seed=seed),
            change_interval(shared[0], shared[1], seed=seed),
            mcnemar(shared[0], shared[1]),
        )
    if measure == "worst_group_accuracy":
        assert before.groups is not None
        assert after.groups is not None
        old, new = (
            None if each.worst is None else each.groups[each.worst].interval for each in (before.groups, after.groups)
        )
        return Certainty(old, new, worst_change_interval(before.groups, after.groups, seed=seed))
    if before.items is None or after.items is None:
        return None
    if measure == "specificity":
        return Certainty(known=False)
    values = [_of_items(measure, each) for each in (before.items, after.items)]
    _, rows, others = np.intersect1d(before.items.indices, after.items.indices, return_indices=True)
    return Certainty(
        mean_interval(values[0], seed=seed),
        mean_interval(values[1], seed=seed),
        change_interval(values[0][rows], values[1][others], seed=seed),
    )


def _of_items(measure: str, items: ItemReasons) -> np.ndarray:
    if measure == "gap":
        return items.values["accuracy"] - items.values["masked_accuracy"]
    return items.values[measure]
