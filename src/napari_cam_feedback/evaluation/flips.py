"""Predictions that differ between two classifiers, image by image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.predictions import Predictions
from napari_cam_feedback.evaluation.results import Evaluation
from napari_cam_feedback.files import TableWriter

#: What a flip is, by the number in `Flips.kinds`.
KINDS = ("right to wrong", "wrong to right", "wrong to other", "no label")
LOST, WON, MOVED, UNKNOWN = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class Flips:
    """F images whose predicted class differs; those that were lost first, the greatest change of probability first.

    Attributes
    ----------
    indices : ndarray
        (F,) int64, items of the dataset.
    keys, splits : tuple of str
        Theirs.
    kinds : ndarray
        (F,) int64, into `KINDS`.
    labels, before, after : ndarray
        (F,) int64: true class (-1 where unknown), and the classes predicted.
    p_before, p_after : ndarray
        (F,) float64, probability that each classifier gives to its own prediction.
    p_true_before, p_true_after : ndarray
        (F,) float64, probability of the true class; NaN where that is unknown.
    """

    indices: np.ndarray
    keys: tuple[str, ...]
    splits: tuple[str, ...]
    kinds: np.ndarray
    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray
    p_before: np.ndarray
    p_after: np.ndarray
    p_true_before: np.ndarray
    p_true_after: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def count(self, kind: int, split: str | None = None) -> int:
        """Return how many there are of a kind, of one split or of all."""
        return sum(k == kind and split in (None, s) for k, s in zip(self.kinds.tolist(), self.splits, strict=True))

    def take(self, rows: np.ndarray) -> Flips:
        """Return some of them, by position."""
        chosen = [int(row) for row in rows]
        parts: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            parts[each.name] = value[chosen] if isinstance(value, np.ndarray) else tuple(value[row] for row in chosen)
        return Flips(**parts)

    def rows(self, class_names: Sequence[str]) -> list[list[str]]:
        """Return a row of text each, as `HEADER` names them."""
        found = []
        for n, key in enumerate(self.keys):
            label = int(self.labels[n])
            numbers = (self.p_before[n], self.p_after[n], self.p_true_before[n], self.p_true_after[n])
            names = ("" if label < 0 else class_names[label], class_names[self.before[n]], class_names[self.after[n]])
            shown = ("" if np.isnan(value) else f"{value:.6g}" for value in numbers)
            found.append([key, self.splits[n], KINDS[self.kinds[n]], *names, *shown])
        return found

    def to_csv(self, class_names: Sequence[str]) -> str:
        """Return a row an image as CSV text."""
        text = io.StringIO()
        writer = TableWriter(text)
        writer.writerow(HEADER)
        writer.writerows(self.rows(class_names))
        return text.getvalue()

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return how many there are of each kind, by split."""
        splits = dict.fromkeys(self.splits)
        return {split: {name: self.count(kind, split) for kind, name in enumerate(KINDS)} for split in splits}


HEADER = (
    "key",
    "split",
    "kind",
    "label",
    "predicted_before",
    "predicted_after",
    "p_predicted_before",
    "p_predicted_after",
    "p_true_before",
    "p_true_after",
)


def find_flips(before: Evaluation, after: Evaluation, dataset: Dataset) -> Flips:
    """Return the images of all splits that two classifiers predict otherwise.

    Parameters
    ----------
    before, after : Evaluation
        With their predictions (``evaluate(..., detail=True)``); images that only one could read are left out.
    dataset : Dataset
        Theirs.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for name, old in before.splits.items():
        new = after.splits.get(name)
        if new is not None and old.predictions is not None and new.predictions is not None:
            found.append(_flipped(old.predictions, new.predictions))
    empty = (np.empty(0, np.int64),) * 5 + (np.empty(0),) * 4
    indices, kinds, labels, one, other, p_one, p_other, true_one, true_other = (
        np.concatenate(parts) for parts in zip(empty, *found, strict=True)
    )
    change = np.where(labels < 0, p_other, np.abs(true_other - true_one))
    order = np.lexsort((indices, -change, kinds))
    return Flips(
        indices=indices,
        keys=tuple(dataset.keys[int(i)] for i in indices),
        splits=tuple(str(dataset.splits[i]) for i in indices),
        kinds=kinds,
        labels=labels,
        before=one,
        after=other,
        p_before=p_one,
        p_after=p_other,
        p_true_before=true_one,
        p_true_after=true_other,
    ).take(order)


def both_read(before: Predictions, after: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions, in each, of the images that both could read; (M,) int64 each."""
    _, rows, others = np.intersect1d(before.indices, after.indices, return_indices=True)
    return rows, others


def _flipped(before: Predictions, after: Predictions) -> tuple[np.ndarray, ...]:
    rows, others = both_read(before, after)
    differ = before.predicted[rows] != after.predicted[others]
    rows, others = rows[differ], others[differ]
    labels, one, other = before.labels[rows], before.predicted[rows], after.predicted[others]
    kinds = np.select([labels < 0, one == labels, other == labels], [UNKNOWN, LOST, WON], MOVED).astype(np.int64)
    each = np.arange(len(rows))
    old, new = (table.astype(np.float64) for table in (before.probabilities[rows], after.probabilities[others]))
    known = labels >= 0
    true_one, true_other = (np.where(known, table[each, np.maximum(labels, 0)], np.nan) for table in (old, new))
    return (before.indices[rows], kinds, labels, one, other, old[each, one], new[each, other], true_one, true_other)
