"""What was measured of a classifier on every split: accuracy, per class, confusion, right reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from napari_cam_feedback.evaluation.groups import GroupAccuracies
from napari_cam_feedback.evaluation.intervals import Interval, mean_interval, rate_interval
from napari_cam_feedback.evaluation.predictions import Predictions
from napari_cam_feedback.evaluation.right_reasons import ItemReasons, RightReasons


@dataclass(frozen=True)
class ClassResult:
    """Precision, recall and F1 (0 where undefined) and the number of images of one class."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class SplitResult:
    """What was measured on a split.

    Attributes
    ----------
    n : int
        Labelled images measured.
    accuracy : float
        Share predicted right.
    per_class : dict
        By class name.
    confusion : ndarray
        (K, K) int64; rows are true classes, columns predictions.
    right_reasons : RightReasons or None
        None where the split has no masks, or where they were not measured.
    predictions : Predictions or None
        Of each image, where they were asked for (``detail``).
    items : ItemReasons or None
        Of each masked image the measures.
    of : int or None
        Labelled images of the split, where only some of them were measured.
    masked : int
        Those with a mask, as far as can be told without reading them all.
    seed : int
        Of the intervals.
    groups : GroupAccuracies or None
        Accuracy on each group; None where none are known.
    """

    n: int
    accuracy: float
    per_class: dict[str, ClassResult]
    confusion: np.ndarray
    right_reasons: RightReasons | None
    predictions: Predictions | None = field(default=None, repr=False, compare=False)
    items: ItemReasons | None = field(default=None, repr=False, compare=False)
    of: int | None = None
    masked: int = 0
    seed: int = 0
    groups: GroupAccuracies | None = None

    @cached_property
    def accuracy_interval(self) -> Interval | None:
        """How sure the accuracy is; see `rate_interval`."""
        right = np.zeros(self.n)
        right[: round(self.accuracy * self.n)] = 1
        return rate_interval(right, seed=self.seed)

    @cached_property
    def intervals(self) -> dict[str, Interval | None]:
        """How sure each measure on masked images is, but for the ratio of two of them; see `rate_interval`."""
        if self.items is None:
            return {}
        values = {name: each for name, each in self.items.values.items() if not np.isnan(each).all()}
        found = {name: rate_interval(each, seed=self.seed) for name, each in values.items()}
        found["gap"] = mean_interval(values["accuracy"] - values["masked_accuracy"], seed=self.seed)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the command contract has them."""
        reasons = None
        if self.right_reasons is not None:
            ends = {name: None if each is None else each.to_json() for name, each in self.intervals.items()}
            of = max(self.masked, self.right_reasons.n)
            reasons = {**self.right_reasons.to_json(), "of": of, "intervals": ends}
        sure = self.accuracy_interval
        return {
            "n": self.n,
            "of": self.n if self.of is None else self.of,
            "accuracy": self.accuracy,
            "accuracy_interval": None if sure is None else sure.to_json(),
            "per_class": {name: vars(result) for name, result in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "right_reasons": reasons,
            "groups": None if self.groups is None else self.groups.to_json(),
        }


@dataclass(frozen=True)
class Evaluation:
    """Results by split, the images left out because they could not be read (key to sentence), and whether it was stopped."""

    splits: dict[str, SplitResult]
    skipped: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    def sample_sentence(self) -> str:
        """Return a sentence on which splits were measured in part; empty where all was measured."""
        images = [f"{name} {found.n} of {found.of} images" for name, found in self.splits.items() if found.of is not None]
        masked = [
            f"{name} {n} of {found.masked}"
            for name, found in self.splits.items()
            if (n := 0 if found.right_reasons is None else found.right_reasons.n) < found.masked
        ]
        parts = [f"Measured on a sample: {', '.join(images)}."] if images else []
        if masked:
            parts.append(f"Of the masked images, refilled: {', '.join(masked)}.")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the command contract has them."""
        found: dict[str, Any] = {
            "splits": {name: result.to_json() for name, result in self.splits.items()},
            "skipped": self.skipped,
        }
        return {**found, "stopped": True} if self.stopped else found
