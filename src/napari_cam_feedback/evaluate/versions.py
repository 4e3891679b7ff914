"""Two or more classifiers on the same images: measures with their certainty, classes, confusion, changed predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.evaluate.certainty import Certainty, Interval, change_interval, mcnemar, mean_interval
from napari_cam_feedback.evaluate.comparison import Comparison, ComparisonRow
from napari_cam_feedback.evaluate.evaluation import Evaluation, SplitResult, evaluate
from napari_cam_feedback.evaluate.flips import Flips, both_read, find_flips
from napari_cam_feedback.evaluate.right_reasons import ItemReasons
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
        return Comparison(self.evaluations[0], self.evaluations[number])

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
        writer = csv.writer(text, lineterminator="\n")
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
    progress : callable, optional
        Called with images done and in all, over all classifiers.
    stop : callable, optional
        Asked between batches; True ends with the splits that all classifiers have done.

    Raises
    ------
    ConfigError
        There are fewer than two classifiers.
    DataError, ModelError
        As of `evaluate`.
    """
    if len(models) < 2:
        raise ConfigError("A comparison needs at least two models; name another one.")
    sizes = [len(dataset.indices(name)) for name in splits or dataset.split_names]
    total = sum(sizes) * len(models)
    caches: list[InputCache] = []
    found: list[Evaluation] = []
    for number, classifier in enumerate(models.values()):
        cache = next((each for each in caches if each.preprocessing == classifier.preprocessing), None)
        if cache is None:
            cache = InputCache(dataset, classifier.preprocessing)
            caches.append(cache)
        count = _Count(number * sum(sizes), sizes, total, progress)
        found.append(
            evaluate(
                classifier,
                dataset,
                masks=masks,
                splits=splits,
                cache=cache,
                seed=seed,
                detail=True,
                progress=count.split_done,
                images=count.images_done,
                stop=stop,
            )
        )
        if stop is not None and stop():
            # Those that did not get their turn have nothing to compare.
            found += [Evaluation({})] * (len(models) - len(found))
            break
    first = found[0]
    return VersionComparison(
        names=tuple(models),
        class_names=next(iter(models.values())).class_names,
        evaluations=tuple(found),
        rows=tuple(tuple(_sure_rows(first, other, seed)) for other in found[1:]),
        flips=tuple(find_flips(first, other, dataset) for other in found[1:]),
        seed=seed,
    )


class _Count:
    """Turns images of a split and splits of a classifier into images of the whole comparison."""

    def __init__(self, before: int, sizes: Sequence[int], total: int, progress: Progress | None) -> None:
        self.before, self.sizes, self.total, self.progress = before, sizes, total, progress
        self.done = 0

    def split_done(self, done: int, _: int) -> None:
        self.done = done
        self.images_done(0, 0)

    def images_done(self, images: int, _: int) -> None:
        if self.progress is not None:
            self.progress(self.before + sum(self.sizes[: self.done]) + images, self.total)


def _sure_rows(before: Evaluation, after: Evaluation, seed: int) -> list[ComparisonRow]:
    rows = []
    for row in Comparison(before, after).rows:
        old, new = before.splits[row.split], after.splits[row.split]
        rows.append(replace(row, certainty=_certainty(row.measure, old, new, seed)))
    return rows


def _certainty(measure: str, before: SplitResult, after: SplitResult, seed: int) -> Certainty | None:
    """Return how sure a measure is; None where the single images are not known."""
    if measure == "accuracy":
        if before.predictions is None or after.predictions is None:
            return None
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
