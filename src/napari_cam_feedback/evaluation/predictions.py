"""Predictions of a classifier for many images."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.batches import breaking_off, images_at_once
from napari_cam_feedback.files import write_text
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.parallel.shares import agreed, autocast, gather_rows, gather_skipped, own_blocks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Predictions:
    """Predictions for N images that could be read.

    Attributes
    ----------
    indices : ndarray
        (N,) int64, items of the dataset.
    labels : ndarray
        (N,) int64, -1 where unknown.
    probabilities : ndarray
        (N, K) float32.
    skipped : dict
        Key and sentence for each image that could not be read.
    """

    indices: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    skipped: dict[str, str]

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64, class of the largest probability."""
        return self.probabilities.argmax(1)

    def save_csv(self, path: str | Path, dataset: Dataset) -> None:
        """Write key, split, label, prediction and every class's probability, one row an image."""
        names = dataset.class_names
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["key", "split", "label", "predicted", *(f"p_{name}" for name in names)])
        for index, predicted, row in zip(self.indices, self.predicted, self.probabilities, strict=True):
            item = dataset.item(int(index))
            label = "" if item.label is None else names[item.label]
            writer.writerow([item.key, item.split, label, names[predicted], *(f"{p:.6g}" for p in row)])
        write_text(path, text.getvalue())


def predict(
    classifier: Classifier,
    dataset: Dataset,
    *,
    split: str | None = None,
    indices: np.ndarray | None = None,
    cache: InputCache | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    fabric: Fabric | None = None,
) -> Predictions:
    """Predict the class of many images.

    Parameters
    ----------
    classifier : Classifier
        What predicts.
    dataset : Dataset
        Images.
    split : str, optional
        Whose images; by default all.
    indices : ndarray, optional
        Which images, instead of a split.
    cache : InputCache, optional
        Inputs read before.
    batch_size : int, optional
        Images at a time; by default `images_at_once`.
    progress : callable, optional
        Called with images done and in all.
    stop : callable, optional
        Asked all the time; True ends with the batches that there are.
    fabric : Fabric, optional
        Launched, to share the images among its processes, and for its precision; every process gets the same result.

    Raises
    ------
    DataError
        There is no such split.
    ModelError
        The classifier is for other classes.
    """
    check_fits(classifier, dataset)
    if indices is None:
        indices = dataset.indices(split)
    cache = cache or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    batch_size = batch_size or images_at_once(classifier)
    blocks = own_blocks(indices, batch_size, fabric)
    total = sum(len(block) for _, block in blocks)
    numbers: list[np.ndarray] = []
    done: list[np.ndarray] = []
    found: list[np.ndarray] = []
    with agreed(fabric), breaking_off(classifier, stop, fabric):
        for number, block in blocks:
            for picked, inputs in cache.batches(block, batch_size):
                with autocast(fabric):
                    logits = classifier.logits(inputs)
                numbers.append(np.full(len(picked), number))
                done.append(picked)
                found.append(logits.float().softmax(1).cpu().numpy())
            if progress is not None:
                progress(min(sum(len(part) for part in done) + len(cache.skipped), total), total)
            if stop is not None and stop():
                break
    order = np.argsort(gather_rows(_joined(numbers, (0,), np.int64), fabric), kind="stable")
    read = gather_rows(_joined(done, (0,), np.int64), fabric)[order]
    table = gather_rows(_joined(found, (0, classifier.num_classes), np.float32), fabric)[order]
    return Predictions(read, dataset.labels[read], table, gather_skipped(cache.skipped, fabric))


def _joined(parts: list[np.ndarray], empty: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(empty, dtype), *parts])
