"""Two or more classifiers on the same images: measures with their certainty, classes, confusion, changed predictions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.evaluation.comparison import Comparison, ComparisonRow
from napari_cam_feedback.evaluation.flips import Flips, find_flips
from napari_cam_feedback.evaluation.intervals import Certainty, Interval
from napari_cam_feedback.evaluation.measuring import Measuring
from napari_cam_feedback.evaluation.results import Evaluation
from napari_cam_feedback.files import TableWriter
from napari_cam_feedback.models.classifier import Classifier

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class VersionComparison:
    """Two or more classifiers on the same splits, masks and fills; the first is what the others are compared with.

    Attributes
    ----------
    names : tuple of str
        What the V classifiers are called.
    class_names : tuple of str
        Their classes.
    evaluations : tuple of Evaluation
        One each.
    rows : tuple of tuple of ComparisonRow
        For each classifier but the first, every measure with how sure it is.
    flips : tuple of Flips
        For each classifier but the first, the images that it predicts otherwise.
    seed : int
        Of the fills, the choice of masked images and the intervals.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    rows: tuple[tuple[ComparisonRow, ...], ...]
    flips: tuple[Flips, ...]
    seed: int

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that all were measured on."""
        return tuple(name for name in self.evaluations[0].splits if all(name in each.splits for each in self.evaluations))

    @property
    def headline(self) -> str | None:
        """The split that tells most: ``test`` where it was measured, else the last one; None where nothing was measured."""
        splits = self.splits
        return None if not splits else "test" if "test" in splits else splits[-1]

    def pair(self, number: int) -> Comparison:
        """Return the first and classifier `number` (1 to V - 1) as a `Comparison`."""
        return Comparison(self.evaluations[0], self.evaluations[number], self.seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values: all evaluations, and for each classifier but the first its rows and how many predictions changed."""
        return {
            "versions": list(self.names),
            "seed": self.seed,
            "evaluations": {name: found.to_json() for name, found in zip(self.names, self.evaluations, strict=True)},
            "changes": {
                name: {"rows": [_plain(row) for row in rows], "flips": flips.to_json()}
                for name, rows, flips in zip(self.names[1:], self.rows, self.flips, strict=True)
            },
        }

    def to_csv(self) -> str:
        """Return every measure of every classifier as CSV text, with the ends of its interval and its change."""
        text = io.StringIO()
        writer = TableWriter(text)
        writer.writerow(["version", "split", "measure", *_VALUES, "p"])
        for row in self.rows[0]:
            plain = _plain(row)
            own = [plain["before"], *(plain["before_interval"] or (None, None))]
            writer.writerow([self.names[0], row.split, row.measure, *map(_cell, own), *[""] * 4])
        for name, rows in zip(self.names[1:], self.rows, strict=True):
            for row in rows:
                plain = _plain(row)
                values = [plain["after"], *(plain["after_interval"] or (None, None))]
                values += [plain["change"], *(plain["change_interval"] or (None, None)), plain["p"]]
                writer.writerow([name, row.split, row.measure, *map(_cell, values)])
        return text.getvalue()


_VALUES = ("value", "low", "high", "change", "change_low", "change_high")


def compare_models(
    models: Mapping[str, Classifier],
    dataset: Dataset,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    splits: Sequence[str] | None = None,
    seed: int = 0,
    max_masked: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> VersionComparison:
    """Compare two or more classifiers: accuracy, classes, confusion, right reasons, and which predictions changed.

    Parameters
    ----------
    models : mapping
        Name to classifier; the first is what the others are compared with.
    dataset : Dataset
        Images with labels.
    masks : mapping, optional
        Key to (H, W) bool of what is irrelevant; by default the masks that the dataset brings along.
    splits : sequence of str, optional
        By default all that can be measured.
    seed : int
        Of the fills, of the choice of masked images where there are many, and of the intervals.
    max_masked : int, optional
        Masked images of a split that are refilled at most; by default as of `evaluate`.
    progress : callable, optional
        Called with images through the networks, done and in all.
    stop : callable, optional
        Asked all the time; True ends with the splits that all classifiers have done.

    Raises
    ------
    ConfigError
        There are fewer than two classifiers.
    DataError, ModelError
        As of `evaluate`.
    """
    if len(models) < 2:
        raise ConfigError("A comparison needs at least two models; name another one.")
    measuring = Measuring(dataset, masks=masks, splits=splits, seed=seed, max_masked=max_masked, detail=True, stop=stop)
    found = measuring.run(list(models.values()), progress=progress)
    first = found[0]
    return VersionComparison(
        names=tuple(models),
        class_names=next(iter(models.values())).class_names,
        evaluations=tuple(found),
        rows=tuple(tuple(Comparison(first, other, seed).rows) for other in found[1:]),
        flips=tuple(find_flips(first, other, dataset) for other in found[1:]),
        seed=seed,
    )


def _plain(row: ComparisonRow) -> dict[str, Any]:
    sure = row.certainty or Certainty()
    return {
        "split": row.split,
        "measure": row.measure,
        "before": row.before,
        "before_interval": _ends(sure.before),
        "after": row.after,
        "after_interval": _ends(sure.after),
        "change": row.change,
        "change_interval": _ends(sure.change),
        "p": sure.p_value,
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else interval.to_json()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
