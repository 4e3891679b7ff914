"""Two classifiers on the same data, measure by measure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluate.evaluation import Evaluation, evaluate
from napari_cam_feedback.models.classifier import Classifier

Progress = Callable[[int, int], None]

#: Measures of a comparison, whether more is better, and what they are called.
MEASURES: dict[str, tuple[bool, str]] = {
    "accuracy": (True, "accuracy"),
    "masked_accuracy": (True, "accuracy, mask refilled"),
    "flip_rate": (False, "flip rate"),
    "mask_share": (False, "heatmap inside mask"),
}


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One measure on one split.

    Attributes
    ----------
    split, measure : str
        A measure is a key of `MEASURES`.
    before, after : float or None
        None where it is undefined.
    """

    split: str
    measure: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def better(self) -> bool | None:
        """Whether the change is for the better; None where there is none."""
        if not self.change:
            return None
        return (self.change > 0) == MEASURES[self.measure][0]


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
            rows.append(ComparisonRow(name, "accuracy", old.accuracy, new.accuracy))
            if old.right_reasons is not None and new.right_reasons is not None:
                rows += [
                    ComparisonRow(name, m, getattr(old.right_reasons, m), getattr(new.right_reasons, m))
                    for m in ("masked_accuracy", "flip_rate", "mask_share")
                ]
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
    return Comparison(
        evaluate(before, dataset, progress=sooner, **options),
        evaluate(after, dataset, progress=later, **options),
    )
