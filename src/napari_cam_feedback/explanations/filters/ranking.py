"""Ranking filters by what they tell of the class (Ferrada 2019, section 7.1), from pooled features of the training images.

Three measures with equal weights, and a fourth for comparison:

- ``mutual_information``: between the class and the filter's mean activation, in nats.
- ``forest``: importance in extremely randomised trees.
- ``one_variable``: accuracy of a classifier that sees this filter alone.
- ``l1``: largest weight in a linear classifier with an L1 penalty; not part of the mean rank.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.filters.features import Features
from napari_cam_feedback.files import csv_text, write_text
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

#: Bins of equal numbers of images into which an activation is cut for mutual information and the one-variable classifier.
BINS = 16
#: Images, drawn with a seed and stratified by class, that the trees and the L1 classifier see at most.
FOREST_ROWS = 5000
L1_ROWS = 2500
#: Classes up to which the L1 classifier is fitted; its cost grows with them.
MAX_L1_CLASSES = 50
_TREES = 200
_TREES_A_STEP = 20


@dataclass(frozen=True)
class FilterRanking:
    """Filters by what they tell of the class; scores are higher for better ones.

    Attributes
    ----------
    mutual_information : ndarray
        (F,) float64, nats.
    forest : ndarray
        (F,) float64, importances, which sum to 1.
    one_variable : ndarray
        (F,) float64, accuracy from 0 to 1.
    l1 : ndarray or None
        (F,) float64, largest absolute weight over the classes for standardised features; None for more than
        `MAX_L1_CLASSES` classes.
    mean_rank : ndarray
        (F,) float64, mean of the ranks by the first three measures; the best has 1, equal scores share their mean rank.
    order : ndarray
        (F,) int64, filters by mean rank, the best first; of equal ones that with more mutual information first.
    classifier, data, layer : str
        What it was made from, as in `Features`.
    seed : int
        Of the subsamples and of the trees.
    """

    mutual_information: np.ndarray
    forest: np.ndarray
    one_variable: np.ndarray
    l1: np.ndarray | None
    mean_rank: np.ndarray
    order: np.ndarray
    classifier: str
    data: str
    layer: str
    seed: int

    @property
    def place(self) -> np.ndarray:
        """(F,) int64, each filter's place in the order, from 1."""
        place = np.empty(len(self.order), np.int64)
        place[self.order] = np.arange(1, len(self.order) + 1)
        return place

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row a filter, the best first: place, filter, mean rank and scores; raises StorageError."""
        columns = ["place", "filter", "mean_rank", "mutual_information", "forest", "one_variable", "l1"]
        rows = []
        for place, number in enumerate(self.order.tolist(), start=1):
            scores = (self.mutual_information[number], self.forest[number], self.one_variable[number])
            last = "" if self.l1 is None else f"{self.l1[number]:.6g}"
            rows.append([place, number, f"{self.mean_rank[number]:.6g}", *(f"{score:.6g}" for score in scores), last])
        write_text(path, csv_text(columns, rows))


@takes_monitor
def rank_filters(features: Features, *, seed: int = 0, monitor: Monitor = QUIET) -> FilterRanking | None:
    """Rank filters by what their mean activations tell of the class.

    Parameters
    ----------
    features : Features
        Of the training images; those without a label are left out.
    seed : int
        The same seed gives the same ranking.
    monitor : Monitor, optional
        Told of steps done and in all.
        Once stopped, the work ends.

    Returns
    -------
    FilterRanking or None
        None where it was stopped.

    Raises
    ------
    DataError
        The images with a label are of fewer than two classes.
    """
    from scipy.stats import rankdata  # these take a second to load
    from sklearn.ensemble import ExtraTreesClassifier

    x, y = labelled(features)
    steps = 2 + _TREES // _TREES_A_STEP
    done = 0

    def step() -> bool:
        nonlocal done
        done += 1
        monitor.progress(done, steps)
        return done < steps and monitor.stopped

    information, alone = binned_scores(x, y, seed=seed)
    if step():
        return None
    rows = stratified_rows(y, FOREST_ROWS, seed)
    forest = ExtraTreesClassifier(
        n_estimators=0, warm_start=True, min_samples_leaf=2, max_features="sqrt", random_state=seed, n_jobs=None
    )
    for trees in range(_TREES_A_STEP, _TREES + 1, _TREES_A_STEP):
        forest.set_params(n_estimators=trees).fit(x[rows], y[rows])
        if step():
            return None
    l1 = _l1_weights(x, y, seed) if len(np.unique(y)) <= MAX_L1_CLASSES else None
    step()
    with np.errstate(invalid="ignore"):
        # Too few images to split at all leave 0/0.
        importance = np.nan_to_num(np.asarray(forest.feature_importances_, np.float64))
    mean_rank = np.mean([rankdata(-score) for score in (information, importance, alone)], axis=0)
    return FilterRanking(
        mutual_information=information,
        forest=importance,
        one_variable=alone,
        l1=l1,
        mean_rank=mean_rank,
        order=np.lexsort((-information, mean_rank)).astype(np.int64),
        classifier=features.classifier,
        data=features.data,
        layer=features.layer,
        seed=seed,
    )


def labelled(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return mean activations (n, F) and labels (n,) of the images with a label.

    Raises
    ------
    DataError
        They are of fewer than two classes, or an activation is not a number.
    """
    if not np.isfinite(features.mean).all():
        raise DataError("Some activations are not numbers (NaN or infinite); check the model and its preprocessing.")
    known = features.labels >= 0
    x, y = (features.mean, features.labels) if known.all() else (features.mean[known], features.labels[known])
    if len(np.unique(y)) < 2:
        raise DataError(
            "Ranking filters needs labelled images of at least two classes; add labels, or choose another split."
        )
    return x, y


def stratified_rows(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return up to `count` rows, ascending, with every class represented as in the whole (by at least one row)."""
    if len(labels) <= count:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    share = count / len(labels)
    taken = []
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        taken.append(rows[: max(1, int(len(rows) * share))])
    return np.sort(np.concatenate(taken))


def binned_scores(x: np.ndarray, y: np.ndarray, *, bins: int = BINS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Score each feature alone, from counts of the classes in bins of equal numbers of images.

    Mutual information is the plug-in estimate less its bias to first order (Miller 1955),
    (cells occupied - bins occupied - classes + 1) / 2N, kept between 0 and the classes' entropy. The
    one-variable classifier predicts the commonest class of the bin, counted on one half of the images and tried on the
    other, and the reverse; it is no worse than always saying the commonest class of all.

    Parameters
    ----------
    x : ndarray
        (N, F) float.
    y : ndarray
        (N,) int64 labels.
    bins : int
        At most; equal values share a bin.
    seed : int
        Of the halves, which have the classes alike.

    Returns
    -------
    information : ndarray
        (F,) float64, nats.
    accuracy : ndarray
        (F,) float64.
    """
    classes, y = np.unique(y, return_inverse=True)
    n, k = len(y), len(classes)
    half = np.zeros(n, np.int64)
    order = np.random.default_rng(seed).permutation(n)
    by_class = order[np.argsort(y[order], kind="stable")]
    half[by_class[1::2]] = 1  # every other image of each class
    sizes = np.bincount(y, minlength=k) / n
    entropy = float(-(sizes * np.log(sizes)).sum())
    information, accuracy = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    ticks = np.linspace(0, 1, bins + 1)[1:-1]
    for number in range(x.shape[1]):
        values = x[:, number]
        bounds = np.unique(np.quantile(values, ticks, method="lower"))
        member = np.searchsorted(bounds, values, side="left")
        b = len(bounds) + 1
        counts = np.bincount((half * b + member) * k + y, minlength=2 * b * k).reshape(2, b, k)
        joint = counts.sum(0)
        p = joint / n
        within = p.sum(1, keepdims=True)
        logs = np.log(np.divide(p, within, out=np.ones_like(p), where=p > 0))
        bias = ((joint > 0).sum() - (joint.sum(1) > 0).sum() - k + 1) / (2 * n)
        information[number] = min(entropy, max(0.0, entropy + float((p * logs).sum()) - bias))
        overall = counts.sum(1)
        right = 0
        for learnt, tried in ((0, 1), (1, 0)):
            # A bin that the one half has nothing in is given the commonest class of all.
            votes = np.where(counts[learnt].any(1), counts[learnt].argmax(1), overall[learnt].argmax())
            right += int(counts[tried][np.arange(b), votes].sum())
        accuracy[number] = max(right / n, float(sizes.max()))
    return information, accuracy


def standardised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features of mean 0 and standard deviation 1 (0 where constant), float32, with the means and deviations."""
    mean, deviation = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    # What rounding leaves of a constant feature is no spread.
    deviation = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)
    return ((x - mean) / deviation).astype(np.float32), mean, deviation


def _l1_weights(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    rows = stratified_rows(y, L1_ROWS, seed)
    z, _, _ = standardised(x[rows])
    # The penalty grows with the number of images as the loss does, so that its effect does not depend on it.
    model = LinearSVC(penalty="l1", dual=False, C=30.0 / len(rows), tol=1e-2, max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        # Not converged is close enough for a column that is there to compare.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z, y[rows])
    return np.abs(model.coef_).max(0).astype(np.float64)
