"""Groups found from a model's own errors, where nothing is known of what images have in common.

The images of each class are clustered by what the target layer shows of them, as in Sohoni et al. (2020), *No subclass left
behind: fine-grained robustness in coarse-grained classification problems*, NeurIPS, section 4.1. On one half of the images
the cluster is chosen that errs most; what it comes to is told on the other half, which had no part in that, since the worst
of many clusters looks worse than it is where it was found.
"""

from __future__ import annotations

import warnings

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.evaluation.groups import MIN_IMAGES, Groups
from napari_cam_feedback.explanations.filters.features import iterate_features
from napari_cam_feedback.explanations.filters.ranking import standardised
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor

#: Images of a class in a half, and wrong ones among them, below which it stays whole.
MIN_HALF, MIN_WRONG = 10, 3
#: Images that are looked at, at most.
MAX_IMAGES = 1000
#: Clusters that are tried, images each is to have in the mean at least, and dimensions that they are found in.
CLUSTERS, PER_CLUSTER, DIMENSIONS = (2, 3, 4, 5), 10, 8
SOURCE = "the model's own errors, on the half of the images that did not define it"


def error_groups(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    right: np.ndarray,
    *,
    cache: InputCache | None = None,
    seed: int = 0,
    monitor: Monitor = QUIET,
) -> Groups | None:
    """Return, of each class that has one, the images that the model sees alike and errs on, and the others, as two groups.

    Parameters
    ----------
    classifier : Classifier
        Whose errors.
    dataset : Dataset
        The images.
    indices : ndarray
        (N,) int64 labelled items that were predicted.
    right : ndarray
        (N,) bool, which of them right.
    cache : InputCache, optional
        Inputs read before.
    seed : int
        Of the halves, and of the clusters.
    monitor : Monitor, optional
        Asked whether to stop.

    Returns
    -------
    Groups or None
        The images of the half that defined them belong to none. None where no class has such a group, or it was stopped.
    """
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(len(indices))[:MAX_IMAGES])
    indices, right = indices[kept], right[kept]
    labels = dataset.labels[indices]
    halves = {int(label): _halves(np.flatnonzero(labels == label), rng) for label in np.unique(labels)}
    halves = {label: each for label, each in halves.items() if len(each[0]) >= MIN_HALF}
    if all((~right[first]).sum() < MIN_WRONG for first, _ in halves.values()):
        return None
    features = _features(classifier, dataset, indices, cache, monitor)
    if features is None:
        return None
    names: list[str] = []
    of = np.full(len(dataset), -1, np.int64)
    for label, (first, second) in halves.items():
        found = _worst_cluster(features[first], features[second], right[first], seed)
        name = dataset.class_names[label]
        if found is None:
            of[indices[second]] = len(names)
            names.append(name)
            continue
        among, typical = found
        of[indices[second]] = len(names) + ~among
        names += [f"{name}, like {dataset.keys[int(indices[first[typical]])]}", f"{name}, others"]
    return Groups(tuple(names), of, SOURCE) if len(names) > len(halves) else None


def _halves(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(rows)
    return order[::2], order[1::2]


def _features(
    classifier: Classifier, dataset: Dataset, indices: np.ndarray, cache: InputCache | None, monitor: Monitor
) -> np.ndarray | None:
    """Return mean and maximum of each filter, (N, 2 F) float; None where they cannot be had, or it was stopped."""
    found = []
    try:
        for batch in iterate_features(classifier, dataset, indices, inputs=cache):
            if monitor.stopped:
                return None
            found.append(np.concatenate([batch.mean, batch.maximum], 1))
    except ModelError:  # a network whose layer cannot be read is measured all the same
        return None
    features = np.concatenate(found) if found else np.empty((0, 0), np.float32)
    return features if len(features) == len(indices) and np.isfinite(features).all() else None


def _worst_cluster(first: np.ndarray, second: np.ndarray, right: np.ndarray, seed: int) -> tuple[np.ndarray, int] | None:
    """Return which images of the second half lie in the cluster of the first that errs most, and its most typical image.

    The one that errs most has the largest (accuracy of the class - accuracy of the cluster) * sqrt(images of the cluster).
    None where none has `MIN_WRONG` wrong images.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning

    z, mean, deviation = standardised(first)
    if not z.any():
        return None
    pca = PCA(min(DIMENSIONS, *z.shape), random_state=seed).fit(z)
    z, others = (pca.transform(each.astype(np.float32)) for each in (z, (second - mean) / deviation))
    best: tuple[float, np.ndarray, int] | None = None
    for count in CLUSTERS:
        if len(z) < PER_CLUSTER * count:
            break
        with warnings.catch_warnings():
            # There may be fewer different images than clusters.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = KMeans(count, n_init=5, random_state=seed).fit(z)
        for number in range(count):
            among = model.labels_ == number
            if among.sum() < MIN_IMAGES or (~right[among]).sum() < MIN_WRONG:
                continue
            score = float((right.mean() - right[among].mean()) * np.sqrt(among.sum()))
            if score > 0 and (best is None or score > best[0]):
                distances = np.where(among, model.transform(z)[:, number], np.inf)
                best = score, model.predict(others) == number, int(distances.argmin())
    return None if best is None else best[1:]
