"""Pooled activations of a whole split: for every image and filter the mean and the maximum, in one streamed pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, StorageError
from napari_cam_feedback.explanations.filters.store import (
    cached_path,
    dataset_digest,
    drop_oldest,
    read_arrays,
    write_arrays,
)
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor


class FeatureBatch(NamedTuple):
    """Features of n images.

    Attributes
    ----------
    indices : ndarray
        (n,) int64 items of the dataset.
    mean, maximum : ndarray
        (n, F) float32, of each filter's activation over its places.
    logits : ndarray
        (n, K) float32.
    """

    indices: np.ndarray
    mean: np.ndarray
    maximum: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Features:
    """What the target layer's filters do in N images.

    Attributes
    ----------
    indices : ndarray
        (N,) int64, items of the dataset, ascending; those that could not be read are not among them.
    keys : tuple of str
        Their keys.
    labels : ndarray
        (N,) int64, -1 where unknown.
    mean, maximum : ndarray
        (N, F) float32, of each filter's activation over its places.
    logits : ndarray
        (N, K) float32.
    class_names : tuple of str
        The K classes.
    split : str or None
        Whose images; None for all.
    layer : str
        Target layer.
    classifier : str
        Fingerprint of the classifier.
    data : str
        Digest of the images, see `dataset_digest`.
    skipped : dict
        Key and sentence for each image that could not be read.
    complete : bool
        False where the pass was stopped.
    """

    indices: np.ndarray
    keys: tuple[str, ...]
    labels: np.ndarray
    mean: np.ndarray
    maximum: np.ndarray
    logits: np.ndarray
    class_names: tuple[str, ...]
    split: str | None
    layer: str
    classifier: str
    data: str
    skipped: dict[str, str] = field(default_factory=dict)
    complete: bool = True

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def filters(self) -> int:
        """Number of filters F."""
        return int(self.mean.shape[1])

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64, class of the largest logit."""
        return self.logits.argmax(1).astype(np.int64)

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled images whose class is predicted; None where no label is known."""
        known = self.labels >= 0
        return float((self.predicted == self.labels)[known].mean()) if known.any() else None

    def take(self, rows: np.ndarray) -> Features:
        """Return the same of some rows (positions 0 to N - 1, or a bool mask)."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, np.int64)
        return replace(
            self,
            indices=self.indices[rows],
            keys=tuple(self.keys[int(row)] for row in rows),
            labels=self.labels[rows],
            mean=self.mean[rows],
            maximum=self.maximum[rows],
            logits=self.logits[rows],
        )

    def save_npz(self, path: str | os.PathLike[str]) -> None:
        """Write ``keys``, ``labels``, ``mean``, ``maximum``, ``logits``, ``indices`` and ``about`` (JSON text).

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        arrays = {
            "keys": np.array(self.keys, dtype=np.str_),
            "indices": self.indices,
            "labels": self.labels,
            "mean": self.mean,
            "maximum": self.maximum,
            "logits": self.logits,
        }
        about = {
            "class_names": list(self.class_names),
            "split": self.split,
            "layer": self.layer,
            "classifier": self.classifier,
            "data": self.data,
            "skipped": self.skipped,
            "complete": self.complete,
        }
        write_arrays(path, arrays, about)


def load_features(path: str | os.PathLike[str]) -> Features:
    """Read what `Features.save_npz` wrote.

    Raises
    ------
    StorageError
        The file is missing, broken, or holds something else.
    """
    arrays, about = read_arrays(path, ("keys", "indices", "labels", "mean", "maximum", "logits"))
    try:
        return Features(
            keys=tuple(arrays.pop("keys").tolist()),
            **arrays,
            class_names=tuple(about["class_names"]),
            split=about["split"],
            layer=about["layer"],
            classifier=about["classifier"],
            data=about["data"],
            skipped=dict(about["skipped"]),
            complete=bool(about["complete"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path} does not hold features, or is broken; remove it, and it is made again.") from error


def iterate_features(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    *,
    batch_size: int | None = None,
    inputs: InputCache | None = None,
) -> Iterator[FeatureBatch]:
    """Yield the features of a batch of items at a time; memory does not grow with their number.

    Parameters
    ----------
    classifier : Classifier
        Whose filters.
    dataset : Dataset
        Images.
    indices : ndarray
        (N,) int64 items.
    batch_size : int, optional
        Images at a time; by default 64, fewer for large inputs, so that a stop is heard within a second or two.
    inputs : InputCache, optional
        Inputs read before; its `skipped` tells which images could not be read.
    """
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    for picked, batch in inputs.batches(indices, batch_size or batch_for(classifier.preprocessing.size)):
        logits, activations = classifier.forward_with_activations(batch)
        mean, maximum = activations.float().mean((2, 3)), activations.amax((2, 3)).float()
        yield FeatureBatch(picked, mean.cpu().numpy(), maximum.cpu().numpy(), logits.float().cpu().numpy())


@takes_monitor
def features_of(
    classifier: Classifier,
    dataset: Dataset,
    split: str | None = "train",
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    inputs: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> Features:
    """Pass a split through the classifier once and keep each filter's mean and maximum in each image.

    Beside one batch, memory holds the tables alone: 10,000 images and 2,048 filters take 164 MB.

    Parameters
    ----------
    classifier : Classifier
        Whose filters.
    dataset : Dataset
        Images.
    split : str, optional
        None for all.
    cache : path, optional
        Folder of results kept. One is used only if it was made with the same weights, target layer and preprocessing,
        of the same images (see `dataset_digest`). A pass that was stopped is not kept.
    batch_size : int, optional
        Images at a time.
    inputs : InputCache, optional
        Inputs read before.
    monitor : Monitor, optional
        Told of images done and in all.
        Once stopped, the work ends with what there is, and `complete` is False.

    Raises
    ------
    DataError
        There is no such split, or no image of it can be read.
    ModelError
        The classifier is for other classes.
    StorageError
        The result cannot be kept.
    """
    check_fits(classifier, dataset)
    indices = dataset.indices(split)
    fingerprint, digest = classifier.fingerprint(), dataset_digest(dataset, indices)
    file = None if cache is None else cached_path(cache, fingerprint, digest)
    if file is not None:
        kept = _kept(file, fingerprint, digest)
        if kept is not None:
            monitor.progress(len(indices), len(indices))
            return replace(kept, split=split)
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    tables: list[np.ndarray] = []
    picked = np.empty(len(indices), np.int64)
    done = tried = 0
    for batch in iterate_features(classifier, dataset, indices, batch_size=batch_size, inputs=inputs):
        if not tables:
            shapes = (batch.mean.shape[1], batch.maximum.shape[1], batch.logits.shape[1])
            tables = [np.empty((len(indices), columns), np.float32) for columns in shapes]
        end = done + len(batch.indices)
        picked[done:end] = batch.indices
        for table, part in zip(tables, batch[1:], strict=True):
            table[done:end] = part
        done = end
        # Those that could not be read count as done.
        tried = int(np.searchsorted(indices, batch.indices[-1])) + 1
        monitor.progress(tried, len(indices))
        if tried < len(indices) and monitor.stopped:
            break
    else:
        if tried < len(indices):
            monitor.progress(len(indices), len(indices))
        tried = len(indices)
    missing = [dataset.keys[int(index)] for index in np.setdiff1d(indices[:tried], picked[:done])]
    skipped = {key: inputs.skipped.get(key, "It could not be read.") for key in missing}
    if not done:
        raise DataError(f"No image of the split {split} could be read: {next(iter(skipped.values()), 'it has none.')}")
    read = picked[:done]
    result = Features(
        indices=read,
        keys=tuple(dataset.keys[int(index)] for index in read),
        labels=dataset.labels[read],
        mean=tables[0][:done],
        maximum=tables[1][:done],
        logits=tables[2][:done],
        class_names=classifier.class_names,
        split=split,
        layer=classifier.target_layer,
        classifier=fingerprint,
        data=digest,
        skipped=skipped,
        complete=tried == len(indices),
    )
    if file is not None and result.complete:
        result.save_npz(file)
        drop_oldest(file.parent, keep=file)
    return result


def _kept(file: Path, fingerprint: str, digest: str) -> Features | None:
    if not file.is_file():
        return None
    try:
        kept = load_features(file)
    except StorageError:
        return None  # broken; it is made again
    # Names are shortened, so the whole digests decide.
    return kept if kept.complete and (kept.classifier, kept.data) == (fingerprint, digest) else None


def batch_for(size: tuple[int, int]) -> int:
    """Images at a time by the input's size (H, W): about a second's work for a large network on a laptop's processor."""
    longest = max(size)
    return 64 if longest <= 64 else 32 if longest <= 128 else 16
