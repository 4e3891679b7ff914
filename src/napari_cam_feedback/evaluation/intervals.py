"""How sure a measured number is: intervals over the images, and McNemar's exact test for a change of accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Share of repeated studies whose interval would hold the true value.
LEVEL = 0.95
#: Drawn for an interval; its ends move by about a hundredth of its width from seed to seed.
RESAMPLES = 5000
# Weights drawn at once; bounds the memory.
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """Between which values a measure would lie in most repetitions with other images of the same kind."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; of a change: whether it is more than chance explains."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> list[float]:
        """Low and high."""
        return [self.low, self.high]


@dataclass(frozen=True, slots=True)
class Certainty:
    """How sure a measure before, after, and its change are.

    Attributes
    ----------
    before, after, change : Interval or None
        `LEVEL` intervals; None where the images give none (`mean_interval`). That of the change is of the same images
        before and after.
    p_value : float or None
        Of McNemar's exact test; for accuracies only.
    known : bool
        False for a measure that has no intervals: the ratio of two small rates.
    """

    before: Interval | None = None
    after: Interval | None = None
    change: Interval | None = None
    p_value: float | None = None
    known: bool = True


def mean_interval(values: np.ndarray, *, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Interval | None:
    """Return a bootstrap interval of a mean over images.

    It is the bias-corrected and accelerated interval (BCa) of Efron (1987, *Better bootstrap confidence intervals*, JASA 82,
    171-185), as in `scipy.stats.bootstrap`. Images of the same value are drawn together (how often each value occurs in a
    sample with replacement follows a multinomial distribution), so that its cost depends on how many values there are and
    not on how many images.

    Parameters
    ----------
    values : ndarray
        (N,) float, one an image; NaN where it is undefined.
    seed : int
        Of the samples.
    level : float
        Coverage, 0 to 1.
    resamples : int
        How many samples.

    Returns
    -------
    Interval or None
        None for fewer than two images, and where all images agree: then every sample is the same, and says nothing of
        how sure that is.
    """
    return _interval(np.asarray(values, np.float64)[:, None], seed, level, resamples)


def rate_interval(values: np.ndarray, *, seed: int = 0, level: float = LEVEL) -> Interval | None:
    """Return an interval of the mean of shares, each 0 to 1, also where all images agree on 0 or on 1.

    Resampling says nothing there: 0 of 24 images is 0 in every sample. Then it is the score interval of Wilson (1927,
    *Probable inference*, JASA 22, 209-212), of none or all of so many.

    Parameters
    ----------
    values : ndarray
        (N,) float, 0 to 1, one an image; NaN where it is undefined.
    seed, level
        As of `mean_interval`.

    Returns
    -------
    Interval or None
        None for no image, for one that is neither 0 nor 1, and where all images agree on a value in between.
    """
    from scipy.stats import binomtest

    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if len(known) and known[0] in (0, 1) and (known == known[0]).all():
        found = binomtest(int(known.sum()), len(known)).proportion_ci(level, method="wilson")
        return Interval(float(found.low), float(found.high))
    return mean_interval(values, seed=seed, level=level)


def change_interval(
    before: np.ndarray, after: np.ndarray, *, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval | None:
    """Return a bootstrap interval of the change of a mean, mean(after) - mean(before), over the same images.

    An image is drawn with both its values (paired), since two classifiers tend to fail on the same images.

    Parameters
    ----------
    before, after : ndarray
        (N,) float, of the same images in the same order; NaN where undefined.
    seed, level, resamples
        As of `mean_interval`.
    """
    return _interval(np.stack([before, after], 1).astype(np.float64), seed, level, resamples)


def mcnemar(right_before: np.ndarray, right_after: np.ndarray) -> float:
    """Return the p value of McNemar's exact test for two accuracies on the same images.

    Of the images that only one of the two predicts right, either would get half by chance: a two-sided binomial test of
    those (McNemar 1947, *Psychometrika* 12, 153-157, in its exact form). 1 where there is no such image.

    Parameters
    ----------
    right_before, right_after : ndarray
        (N,) bool, of the same images in the same order.
    """
    from scipy.stats import binomtest

    right_before, right_after = np.asarray(right_before, bool), np.asarray(right_after, bool)
    lost, won = int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())
    return float(binomtest(won, lost + won, 0.5).pvalue) if lost + won else 1.0


def _interval(rows: np.ndarray, seed: int, level: float, resamples: int) -> Interval | None:
    """Interval of the mean of the last column, less that of the first where there are two; rows (N, 1 or 2)."""
    if len(rows) < 2:
        return None
    values, counts = np.unique(rows, axis=0, return_counts=True)
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    rng = np.random.default_rng(seed)
    drawn = []
    for size in _parts(resamples, len(values)):
        weights = rng.multinomial(len(rows), counts / len(rows), size=size).astype(np.float64)
        drawn.append(_statistic(weights @ filled, weights @ known))
    found = np.concatenate(drawn)
    sums, numbers = counts @ filled, counts @ known
    estimate = float(_statistic(sums, numbers))
    found = found[np.isfinite(found)]
    if not np.isfinite(estimate) or not len(found) or np.ptp(found) <= 1e-12:
        return None
    tail = (1 - level) / 2
    shares = _corrected(found, estimate, _statistic(sums - filled, numbers - known), counts, np.array([tail, 1 - tail]))
    low, high = np.quantile(found, shares)
    return Interval(float(low), float(high))


def _parts(total: int, width: int) -> list[int]:
    most = max(1, _AT_ONCE // width)
    return [min(most, total - start) for start in range(0, total, most)]


def _statistic(sums: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the (difference of the) means, from sums and numbers of values (..., 1 or 2)."""
    means = np.divide(sums, numbers, out=np.full(sums.shape, np.nan), where=numbers > 0)
    return means[..., -1] - (means[..., 0] if sums.shape[-1] == 2 else 0.0)


def _corrected(
    found: np.ndarray, estimate: float, left_out: np.ndarray, counts: np.ndarray, tails: np.ndarray
) -> np.ndarray:
    """Return the shares of the samples at which the BCa interval ends, in place of the bare tails.

    Parameters
    ----------
    found : ndarray
        (B,) statistic of the samples.
    estimate : float
        That of the images.
    left_out : ndarray
        (U,) that without one image of each value; counts (U,) images of the value.
    tails : ndarray
        (2,) shares of the plain percentile interval.
    """
    from scipy.special import ndtr, ndtri

    below = (np.count_nonzero(found < estimate) + np.count_nonzero(found <= estimate)) / (2 * len(found))
    if not 0 < below < 1:
        return tails
    usable = np.isfinite(left_out)
    mean = np.average(left_out[usable], weights=counts[usable])
    away = mean - left_out[usable]
    spread = float(counts[usable] @ away**2)
    acceleration = float(counts[usable] @ away**3) / (6 * spread**1.5) if spread > 0 else 0.0
    bias = ndtri(below)
    shifted = bias + ndtri(tails)
    return ndtr(bias + shifted / (1 - acceleration * shifted))
