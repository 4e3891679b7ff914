"""Predictions kept, so that a model that was measured before need not look at the same images again."""

from __future__ import annotations

from threading import Lock

import numpy as np
from cachetools import LRUCache

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.predictions import Predictions
from napari_cam_feedback.models.classifier import Classifier

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
