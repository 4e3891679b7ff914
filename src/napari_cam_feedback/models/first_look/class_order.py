"""Whether a network's outputs stand for the classes in another order than was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.models.chance import beyond_chance, chance_agreement, sign_test

#: Another order is believed only if it makes that much more accuracy, and chance hardly would.
MIN_GAIN = 0.2
MAX_P = 0.01


@dataclass(frozen=True)
class ClassOrder:
    """An order of the classes that fits the labels far better.

    Attributes
    ----------
    classes : tuple of int
        For each output, which class it stands for.
    right : ndarray of bool
        (N,) which images are right in that order, each judged by an order that was found without it.
    """

    classes: tuple[int, ...]
    right: np.ndarray

    def names(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Return the class names in the order of the outputs."""
        return tuple(class_names[k] for k in self.classes)


def find_class_order(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> ClassOrder | None:
    """Look for an order of the classes that fits the labels far better than the one assumed.

    It is the assignment of outputs to classes that makes most images right: the Hungarian method on the confusion matrix
    (Kuhn 1955, *Naval Research Logistics Quarterly* 2, 83-97). An order that is found on some images fits those too
    well, so each half of the images is judged by the order that the other half gives.

    Parameters
    ----------
    labels, predicted : ndarray of int
        (N,), of labelled images.
    num_classes : int
        How many outputs there are.

    Returns
    -------
    ClassOrder or None
        None where the order that was assumed is as good.
    """
    before = predicted == labels
    if len(labels) < 4 or np.unique(labels).size < 2 or before.mean() > 1 - MIN_GAIN:
        return None
    half = _halves(labels)
    right = np.zeros(len(labels), bool)
    for part in (half, ~half):
        classes = _assign(labels[~part], predicted[~part], num_classes)
        right[part] = classes[predicted[part]] == labels[part]
    gain = right.mean() - before.mean()
    if gain < MIN_GAIN or sign_test(before, right) > MAX_P:
        return None
    classes = _assign(labels, predicted, num_classes)
    if not beyond_chance(int(right.sum()), len(right), chance_agreement(labels, classes[predicted])):
        return None
    return ClassOrder(tuple(int(k) for k in classes), right)


def _halves(labels: np.ndarray) -> np.ndarray:
    """Return bool (N,) that is True for every other image of each class."""
    half = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        half[np.flatnonzero(labels == label)[::2]] = True
    return half


def _assign(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return for each output the class that it stands for, int (num_classes,), so that most images are right."""
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((num_classes, num_classes))
    np.add.at(confusion, (predicted, labels), 1)
    # What no image tells stays as it was assumed.
    confusion[np.arange(num_classes), np.arange(num_classes)] += 0.5
    outputs, classes = linear_sum_assignment(confusion, maximize=True)
    found = np.empty(num_classes, np.int64)
    found[outputs] = classes
    return found
