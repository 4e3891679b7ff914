"""Predictions of a classifier for many images: some images at a time, to be broken off, and kept for the next time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.files import TableWriter, write_text
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.layers.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.parallel import agreed, autocast, gather_rows, gather_skipped, own_blocks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Images at a time, unless they are large and the network is on a CPU,
BATCH_SIZE = 64
#: which then takes so many pixels at a time: what it has in its hands stays in its caches, and progress is seen to move.
_MAX_PIXELS = 16 * 224 * 224


def images_at_once(classifier: Classifier) -> int:
    """Return how many images a classifier takes at a time."""
    height, width = classifier.preprocessing.size
    if classifier.device.type != "cpu":
        return BATCH_SIZE
    return max(1, min(BATCH_SIZE, _MAX_PIXELS // (height * width)))


@contextmanager
def breaking_off(classifier: Classifier, stop: Callable[[], bool] | None, fabric: Fabric | None) -> Iterator[None]:
    """While entered, what is inside is left at the next layer of the network once `stop` says True.

    Several processes must stop between the same batches, so there it does nothing. Without a `stop` of its own an
    `Interrupted` is somebody else's, and goes on to them: what was measured until then must not pass for all.
    """
    if stop is None or (fabric is not None and fabric.world_size > 1):
        yield
        return
    with suppress(Interrupted), interruptible(classifier.module, stop):
        yield


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
        writer = TableWriter(text)
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


#: Sets of images whose predictions are kept: a few classifiers on a few splits each.
MAX_KEPT = 24


class KeptPredictions:
    """Predictions of the classifiers measured last on one dataset.

    They are known by the classifier's fingerprint and the images, so what is kept is what would be predicted anew. Safe to
    use from several threads.
    """

    def __init__(self) -> None:
        self._dataset: Dataset | None = None
        self._found: LRUCache[tuple[str, bytes], Predictions] = LRUCache(MAX_KEPT)
        self._lock = Lock()

    def get(self, fingerprint: str, dataset: Dataset, indices: np.ndarray) -> Predictions | None:
        """Return the predictions of a classifier for these images (N,), or None where they are not kept."""
        with self._lock:
            if self._dataset is not dataset:
                return None
            return self._found.get((fingerprint, np.asarray(indices, np.int64).tobytes()))

    def put(self, fingerprint: str, dataset: Dataset, indices: np.ndarray, found: Predictions) -> None:
        """Keep the predictions for these images (N,), unless one of them could not be read: it may be mended."""
        if len(found.indices) < len(indices):
            return
        with self._lock:
            if self._dataset is not dataset:
                self._dataset = dataset
                self._found.clear()
            self._found[fingerprint, np.asarray(indices, np.int64).tobytes()] = found


def fingerprint_of(classifier: Classifier, kept: KeptPredictions | None) -> str:
    """Return the fingerprint that predictions are kept by; empty where none are, since it takes a while."""
    return "" if kept is None else classifier.fingerprint()
