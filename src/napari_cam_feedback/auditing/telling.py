"""How well the class is told by some numbers: cross-validated, against chance, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold

FOLDS, TREES = 5, 60
#: A chance of one in twenty that any of all checks together reports what is not there.
LEVEL = 0.05
#: What a cue must tell beyond chance, of what there is to tell, to be worth a word.
WORTH = 0.1


@dataclass(frozen=True)
class Told:
    """How well a class is told.

    Attributes
    ----------
    accuracy : float
        Mean over the classes of the share of their images told right (balanced accuracy), 0 to 1.
    low, high : float
        Its interval, at a level that holds for all checks together.
    chance : float
        1 / K.
    """

    accuracy: float
    low: float
    high: float
    chance: float

    @property
    def beyond(self) -> bool:
        """Whether it is told beyond chance."""
        return self.low > self.chance + WORTH * (1 - self.chance)


def tell(numbers: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, checks: int, seed: int = 0) -> Told | None:
    """Tell classes by numbers, with extremely randomised trees (Geurts 2006) that did not learn from the images told.

    Parameters
    ----------
    numbers : ndarray of float, shape (N, D)
        NaN where there is none.
    labels : ndarray of int64, shape (N,)
        Two classes or more, each with at least as many images as folds.
    groups : ndarray of int64, shape (N,)
        Images that belong together, such as near duplicates, which are never both learnt from and told.
    checks : int
        Cues that are tried in all; the interval holds for all of them together (Bonferroni).
    seed : int
        Of the folds and trees.

    Returns
    -------
    Told or None
        None where the numbers are the same for all images, so that they tell nothing.
    """
    numbers = np.where(np.isfinite(numbers), numbers, -1.0)
    numbers = numbers[:, np.ptp(numbers, axis=0) > 0]
    if not numbers.shape[1]:
        return None
    right = np.zeros(len(labels), bool)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for learnt, told in folds.split(numbers, labels, groups):
        # In one thread: starting others takes longer than so few trees.
        trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed)
        right[told] = trees.fit(numbers[learnt], labels[learnt]).predict(numbers[told]) == labels[told]
    return _told(right, labels, checks)


def _told(right: np.ndarray, labels: np.ndarray, checks: int) -> Told:
    classes = np.unique(labels)
    hits = np.array([right[labels == k].sum() for k in classes])
    counts = np.array([(labels == k).sum() for k in classes])
    # As if two images more had been told, one of them right, so that all or none right is not sure (after Agresti and Coull
    # 1998).
    share = (hits + 1) / (counts + 2)
    deviation = float(np.sqrt((share * (1 - share) / (counts + 2)).sum())) / len(classes)
    reach = float(norm.ppf(1 - LEVEL / (2 * checks))) * deviation
    accuracy = float((hits / counts).mean())
    return Told(accuracy, max(0.0, accuracy - reach), min(1.0, accuracy + reach), 1 / len(classes))
