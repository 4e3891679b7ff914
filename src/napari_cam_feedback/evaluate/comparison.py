"""Two classifiers on the same data, measure by measure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluate.certainty import Certainty
from napari_cam_feedback.evaluate.evaluation import Evaluation, evaluate
from napari_cam_feedback.evaluate.measures import MEASURES, OPTIONAL, REASONS, show, show_specificity
from napari_cam_feedback.evaluate.right_reasons import RightReasons
from napari_cam_feedback.models.classifier import Classifier

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Progress = Callable[[int, int], None]

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
        interval = None if self.certainty is None else self.certainty.change
        if interval is not None and not interval.excludes_zero:
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
    """Two evaluations of the same splits."""

    before: Evaluation
    after: Evaluation

    @property
    def rows(self) -> list[ComparisonRow]:
        """All measures that either side has, split by split."""
        rows = []
        for name, old in self.before.splits.items():
            new = self.after.splits.get(name)
            if new is None:
                continue
            rows.append(ComparisonRow(name, "accuracy", old.accuracy, new.accuracy, images=new.n))
            if old.right_reasons is not None and new.right_reasons is not None:
                rows += reasons_rows(name, old.right_reasons, new.right_reasons)
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
                }
                for r in self.rows
            ],
        }

    def to_csv(self) -> str:
        """The rows as CSV text."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["split", "measure", "before", "after", "change"])
        for r in self.rows:
            writer.writerow(
                [
                    r.split,
                    r.measure,
                    *("" if v is None else f"{v:.6g}" for v in (r.before, r.after, r.change)),
                ]
            )
        return text.getvalue()


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


def compare(
    before: Classifier,
    after: Classifier,
    dataset: Dataset,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    splits: Sequence[str] | None = None,
    cache: InputCache | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    fabric: Fabric | None = None,
) -> Comparison:
    """Evaluate two classifiers on the same splits, masks and fills; parameters and errors as of `evaluate`."""
    shared = cache
    if shared is None and before.preprocessing == after.preprocessing:
        shared = InputCache(dataset, before.preprocessing)
    total = 2 * len(splits or dataset.split_names)

    def later(done: int, _: int) -> None:
        if progress is not None:
            progress(total // 2 + done, total)

    def sooner(done: int, _: int) -> None:
        if progress is not None:
            progress(done, total)

    options: dict[str, Any] = {"masks": masks, "splits": splits, "cache": shared, "seed": seed, "stop": stop}
    options["fabric"] = fabric
    return Comparison(
        evaluate(before, dataset, progress=sooner, **options),
        evaluate(after, dataset, progress=later, **options),
    )
