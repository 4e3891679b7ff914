"""Accuracy against the number of filters: a linear head refitted on the best k, and where it meets the full model."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.filters.features import Features
from napari_cam_feedback.explanations.filters.ranking import labelled, standardised, stratified_rows
from napari_cam_feedback.files import csv_text, write_text
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

Head = Literal["logistic", "least squares"]

#: Filters up to which every k is tried; above, k grows by about a tenth from one point to the next.
EVERY_K = 64
#: Training images, drawn with a seed and stratified by class, that the head is fitted on at most.
FIT_ROWS = 5000
#: Classes from which on the head is fitted by least squares, whose cost does not grow with them much.
MANY_CLASSES = 50


@dataclass(frozen=True)
class AccuracyCurve:
    """Validation accuracy of a linear head on the best k filters.

    Attributes
    ----------
    counts : ndarray
        (P,) int64, the numbers of filters k tried, ascending.
    accuracy : ndarray
        (P,) float64, of the refitted head on the validation images.
    full : float
        Accuracy of the model itself on the same images.
    standard_error : float
        Of `full`, of n images with two right and two wrong added (Agresti and Coull 1998), as all right of a few images
        does not mean never wrong: sqrt(a (1 - a) / (n + 4)) with a = (right + 2) / (n + 4).
    cut : int or None
        The least k whose accuracy is not below `full` less one standard error; None where there is none.
    images : int
        Validation images with a label.
    head : str
        ``logistic`` or ``least squares``.
    complete : bool
        False where it was stopped.
    """

    counts: np.ndarray
    accuracy: np.ndarray
    full: float
    standard_error: float
    cut: int | None
    images: int
    head: Head
    complete: bool = True

    @property
    def sentence(self) -> str:
        """What the cut says, for people."""
        most = int(self.counts[-1]) if len(self.counts) else 0
        if self.cut is None:
            return (
                f"No number of filters up to {most} reaches the model's validation accuracy of {self.full:.1%} "
                f"within its standard error of {self.standard_error:.1%}."
            )
        reached = float(self.accuracy[self.counts == self.cut][0])
        best = "best filter reaches" if self.cut == 1 else f"best {self.cut} filters reach"
        return (
            f"The {best} {reached:.1%} on {self.images} validation images, "
            f"the whole model {self.full:.1%} (standard error {self.standard_error:.1%})."
        )

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write ``filters,accuracy,cut``, one row a point; raises StorageError."""
        points = zip(self.counts.tolist(), self.accuracy, strict=True)
        rows = ([count, f"{accuracy:.6g}", int(count == self.cut)] for count, accuracy in points)
        write_text(path, csv_text(["filters", "accuracy", "cut"], rows))


@takes_monitor
def accuracy_curve(
    train: Features,
    validation: Features,
    order: np.ndarray,
    *,
    head: Head | None = None,
    seed: int = 0,
    monitor: Monitor = QUIET,
) -> AccuracyCurve:
    """Refit a linear head on the best k filters of the training images, for rising k, and try it on validation images.

    Parameters
    ----------
    train, validation : Features
        Of one classifier; images without a label are left out. The test images are for the final report, not for this.
    order : ndarray
        (F,) int64 filters, the best first, as of `FilterRanking.order`.
    head : str, optional
        ``logistic`` (softmax regression with a slight L2 penalty, on a grid of k), the default; or ``least squares`` (on
        one-hot classes, for every k at once by one Cholesky factorisation), the default for `MANY_CLASSES` or more.
    seed : int
        Of the training images fitted on, where there are more than `FIT_ROWS`.
    monitor : Monitor, optional
        Told of points done and in all.
        Once stopped, the work ends with the points there are.

    Raises
    ------
    DataError
        The features are of two classifiers; the training images with a label are of fewer than two classes; no
        validation image has a label.
    """
    if (train.classifier, train.layer) != (validation.classifier, validation.layer):
        raise DataError("The training and the validation features are of two models; compute both with the same one.")
    x, y = labelled(train)
    known = validation.labels >= 0
    if not known.any():
        raise DataError("No validation image has a label; choose a split with labels.")
    rows = stratified_rows(y, FIT_ROWS, seed)
    order = np.asarray(order, np.int64)
    z, mean, deviation = standardised(x[rows][:, order])
    z_val = ((validation.mean[known][:, order] - mean) / deviation).astype(np.float32)
    y, y_val = y[rows], validation.labels[known]
    right = int((validation.predicted[known] == y_val).sum())
    full = right / len(y_val)
    expected = (right + 2) / (len(y_val) + 4)
    error = math.sqrt(expected * (1 - expected) / (len(y_val) + 4))
    chosen: Head = head or ("least squares" if len(np.unique(y)) >= MANY_CLASSES else "logistic")
    if chosen == "logistic":
        counts = grid_of_counts(len(order))
        accuracy = _logistic(z, y, z_val, y_val, counts, monitor)
    else:
        counts = np.arange(1, len(order) + 1)
        accuracy = _least_squares(z, y, z_val, y_val, monitor)
    met = np.flatnonzero(accuracy >= full - error)
    return AccuracyCurve(
        counts=counts[: len(accuracy)],
        accuracy=accuracy,
        full=full,
        standard_error=error,
        cut=int(counts[met[0]]) if len(met) else None,
        images=len(y_val),
        head=chosen,
        complete=len(accuracy) == len(counts),
    )


def grid_of_counts(filters: int) -> np.ndarray:
    """Return the numbers of filters to try: every one up to `EVERY_K`, then each about a tenth more, and all; int64."""
    counts = list(range(1, min(filters, EVERY_K) + 1))
    while counts[-1] < filters:
        counts.append(min(filters, math.ceil(counts[-1] * 1.1)))
    return np.array(counts, np.int64)


def _logistic(
    z: np.ndarray, y: np.ndarray, z_val: np.ndarray, y_val: np.ndarray, counts: np.ndarray, monitor: Monitor
) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning  # these take a second to load
    from sklearn.linear_model import LogisticRegression

    accuracy: list[float] = []
    for count in counts.tolist():
        model = LogisticRegression(C=1.0, max_iter=100, tol=1e-3)
        with warnings.catch_warnings():
            # A hundred steps are enough to see the accuracy.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(z[:, :count], y)
        accuracy.append(float((model.predict(z_val[:, :count]) == y_val).mean()))
        monitor.progress(len(accuracy), len(counts))
        if len(accuracy) < len(counts) and monitor.stopped:
            break
    return np.array(accuracy)


def _least_squares(z: np.ndarray, y: np.ndarray, z_val: np.ndarray, y_val: np.ndarray, monitor: Monitor) -> np.ndarray:
    """Accuracy for every k: with Gram matrix L L^T in the filters' order the solution for k + 1 adds one term to that for k.

    The scores for the first k filters are sum_(j <= k) q_j c_j^T with Q = Z_val L^-T and C = L^-1 Z^T Y.
    """
    from scipy.linalg import cholesky, solve_triangular

    classes, y = np.unique(y, return_inverse=True)
    total = z.shape[1]
    gram = (z.T @ z).astype(np.float64)
    # A slight ridge; constant filters have zero rows, which it keeps solvable.
    gram[np.diag_indices(total)] += 1e-3 * len(z)
    onehot = np.zeros((len(y), len(classes)), np.float32)
    onehot[np.arange(len(y)), y] = 1
    prior = onehot.mean(0)
    lower = cholesky(gram, lower=True)
    coefficients = solve_triangular(lower, (z.T @ (onehot - prior)).astype(np.float64), lower=True).astype(np.float32)
    directions = solve_triangular(lower, z_val.T.astype(np.float64), lower=True).astype(np.float32)
    scores = np.tile(prior, (len(z_val), 1))
    accuracy: list[float] = []
    for direction, coefficient in zip(directions, coefficients, strict=True):
        scores += direction[:, None] * coefficient
        accuracy.append(float((classes[scores.argmax(1)] == y_val).mean()))
        monitor.progress(len(accuracy), total)
        if len(accuracy) < total and monitor.stopped:
            break
    return np.array(accuracy)
