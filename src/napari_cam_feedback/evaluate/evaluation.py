"""How good a classifier is, on every split: accuracy, per class, confusion, right reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.evaluate.predictions import Predictions, predict
from napari_cam_feedback.evaluate.right_reasons import ItemReasons, RightReasons, item_reasons
from napari_cam_feedback.feedback.choose import KnownMasks, choose_masks
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.shares import agreed, any_of, gather_skipped

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Progress = Callable[[int, int], None]


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
        Labelled images.
    accuracy : float
        Share predicted right.
    per_class : dict
        By class name.
    confusion : ndarray
        (K, K) int64; rows are true classes, columns predictions.
    right_reasons : RightReasons or None
        None where the split has no masks.
    predictions : Predictions or None
        Of each image, and
    items : ItemReasons or None
        of each masked image the measures, where they were asked for (``detail``).
    """

    n: int
    accuracy: float
    per_class: dict[str, ClassResult]
    confusion: np.ndarray
    right_reasons: RightReasons | None
    predictions: Predictions | None = field(default=None, repr=False, compare=False)
    items: ItemReasons | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the command contract has them."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "per_class": {name: vars(result) for name, result in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "right_reasons": None if self.right_reasons is None else self.right_reasons.to_json(),
        }


@dataclass(frozen=True)
class Evaluation:
    """Results by split, and the images left out because they could not be read (key to sentence)."""

    splits: dict[str, SplitResult]
    skipped: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the command contract has them."""
        return {
            "splits": {name: result.to_json() for name, result in self.splits.items()},
            "skipped": self.skipped,
        }


def evaluate(
    classifier: Classifier,
    dataset: Dataset,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    splits: Sequence[str] | None = None,
    cache: InputCache | None = None,
    seed: int = 0,
    max_masked: int = 200,
    detail: bool = False,
    progress: Progress | None = None,
    images: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    fabric: Fabric | None = None,
) -> Evaluation:
    """Measure a classifier on splits of a dataset.

    Parameters
    ----------
    classifier : Classifier
        What is judged.
    dataset : Dataset
        Images with labels.
    masks : mapping, optional
        Key to (H, W) bool of what is irrelevant; by default the masks that the dataset brings along.
    splits : sequence of str, optional
        By default all that can be measured: those with labelled images that can be read.
    cache : InputCache, optional
        Inputs read before.
    seed : int
        Of the fills, and of the choice of masked images where there are many.
    max_masked : int
        Right reasons are measured on at most that many masked images of a split.
    detail : bool
        Keep predictions and measures image by image, for whoever compares.
    progress : callable, optional
        Called with splits done and in all.
    images : callable, optional
        Called with images done and in all of the present split.
    stop : callable, optional
        Asked between batches; True ends with the splits done so far.
    fabric : Fabric, optional
        Launched, to share the images among its processes, and for its precision; every process gets the same result.

    Raises
    ------
    DataError
        There is no such split, or no labelled image of it (without `splits`: of any) can be read.
    ModelError
        The classifier is for other classes.
    """
    masks = KnownMasks(dataset) if masks is None else masks
    names = list(splits or dataset.split_names)
    cache = cache or InputCache(dataset, classifier.preprocessing)
    results: dict[str, SplitResult] = {}
    for number, name in enumerate(names):
        found = predict(classifier, dataset, split=name, cache=cache, progress=images, stop=stop, fabric=fabric)
        if any_of(stop is not None and stop(), fabric):
            break
        labelled = found.labels >= 0
        if not labelled.any():
            if splits is None and (results or number + 1 < len(names)):
                continue
            which = f"the split {name}" if splits else "this dataset"
            first = next(iter(found.skipped.values()), "its images have no labels.")
            raise DataError(f"Nothing can be measured on {which}: {first}")
        truth, predicted = found.labels[labelled], found.predicted[labelled]
        classes = np.arange(classifier.num_classes)
        precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0.0)
        per_class = {
            class_name: ClassResult(float(precision[k]), float(recall[k]), float(f1[k]), int(support[k]))
            for k, class_name in enumerate(classifier.class_names)
        }
        with agreed(fabric):
            chosen = choose_masks(masks, dataset, max_masked, indices=found.indices[labelled], seed=seed)
        masked = np.array([i for i in found.indices if dataset.keys[int(i)] in chosen], np.int64)
        items = item_reasons(classifier, dataset, masked, chosen, cache=cache, seed=seed, stop=stop, fabric=fabric)
        results[name] = SplitResult(
            n=int(labelled.sum()),
            accuracy=float((truth == predicted).mean()),
            per_class=per_class,
            confusion=confusion_matrix(truth, predicted, labels=classes),
            right_reasons=None if items is None else items.means(),
            predictions=found if detail else None,
            items=items if detail else None,
        )
        if progress is not None:
            progress(number + 1, len(names))
    return Evaluation(results, gather_skipped(cache.skipped, fabric))
