"""Whether a number of right answers is more than chance gives."""

from __future__ import annotations

import numpy as np

#: Fewer images tell a good network from chance too seldom to say anything.
MIN_IMAGES = 20
#: Chance reaches the number of right answers at most so often (the upper end of a two-sided 95% interval).
MAX_P = 0.025


def chance_agreement(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the accuracy that predictions would have if they did not depend on the labels: sum over classes of q_k r_k.

    q and r are the classes' shares among the labels and among the predictions, as in Cohen's kappa (1960, *Educational and
    Psychological Measurement* 20, 37-46). A network that always names one class is thus at chance, whichever it is.

    Parameters
    ----------
    labels, predicted : ndarray of int
        (N,), from 0.
    """
    count = int(max(labels.max(), predicted.max())) + 1
    shares = (np.bincount(values, minlength=count) / len(values) for values in (labels, predicted))
    return float(np.prod(list(shares), axis=0).sum())


def largest_share(labels: np.ndarray) -> float:
    """Return the accuracy of always naming the most frequent class of `labels`, (N,) int from 0."""
    return float(np.bincount(labels).max() / len(labels))


def beyond_chance(right: int, images: int, chance: float) -> bool:
    """Tell whether so many right answers are more than chance gives: the upper tail of a binomial distribution.

    Parameters
    ----------
    right, images : int
        Right answers, and how many were asked.
    chance : float
        Probability that one is right by chance.
    """
    # Not scipy.stats, whose import takes a second.
    from scipy.special import bdtrc

    return right > 0 and bool(bdtrc(right - 1, images, chance) <= MAX_P)


def sign_test(before: np.ndarray, after: np.ndarray) -> float:
    """Return how probable it is that chance makes so many images right, of those that only one of two ways is right on.

    The one-sided form of McNemar's exact test (1947, *Psychometrika* 12, 153-157).

    Parameters
    ----------
    before, after : ndarray of bool
        (N,), which images are right.
    """
    from scipy.special import bdtrc

    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return float(bdtrc(won - 1, won + lost, 0.5)) if won else 1.0
