"""Is a concept's score more than chance? Tests against random concepts, and corrections for testing many."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.errors import ConfigError

CORRECTIONS = ("bonferroni", "benjamini-hochberg")


def welch_test(scores: np.ndarray, random_scores: np.ndarray) -> float:
    """Return the two-sided p value of Welch's t-test that two samples have the same mean.

    Where neither sample varies, it is 1 if they are equal and 0 if they are not.
    """
    from scipy.stats import ttest_ind_from_stats

    means = scores.mean(), random_scores.mean()
    deviations = scores.std(ddof=1), random_scores.std(ddof=1)
    if max(deviations) < 1e-9:
        return 1.0 if abs(means[0] - means[1]) < 1e-9 else 0.0
    found = ttest_ind_from_stats(
        means[0], deviations[0], len(scores), means[1], deviations[1], len(random_scores), equal_var=False
    )
    return float(found.pvalue)


def unusual_test(sensitivities: np.ndarray, random_sensitivities: np.ndarray) -> float:
    """Return the two-sided p value that a concept is one of the random ones (single case, Crawford and Howell 1998).

    Parameters
    ----------
    sensitivities, random_sensitivities : ndarray
        (R,) of the concept, of which the mean is taken, and (Q,) of random concepts: mean derivative of the logit over the
        class's images along each CAV of length 1.
    """
    from scipy.stats import t

    count, spread = len(random_sensitivities), random_sensitivities.std(ddof=1)
    distance = sensitivities.mean() - random_sensitivities.mean()
    if spread < 1e-12:
        return 1.0 if abs(distance) < 1e-12 else 0.0
    return float(2 * t.sf(abs(distance) / (spread * np.sqrt(1 + 1 / count)), count - 1))


def correct(p_values: np.ndarray, method: str = "bonferroni") -> np.ndarray:
    """Return p values corrected for their number.

    Parameters
    ----------
    p_values : ndarray
        (H,) of H hypotheses.
    method : str
        ``bonferroni`` bounds the chance of any false finding, ``benjamini-hochberg`` (1995) the expected share of false ones
        among the findings.

    Raises
    ------
    ConfigError
        There is no such method.
    """
    if method == "bonferroni":
        return np.minimum(np.asarray(p_values, float) * len(p_values), 1.0)
    if method == "benjamini-hochberg":
        from scipy.stats import false_discovery_control

        return false_discovery_control(p_values, method="bh") if len(p_values) else np.zeros(0)
    raise ConfigError(f"There is no correction {method!r}; choose one of {', '.join(CORRECTIONS)}.")


def stronger_than(sensitivities: np.ndarray, random_sensitivities: np.ndarray) -> float:
    """Return the share of random directions that move the logit less, either way, than the concept does on average.

    Parameters
    ----------
    sensitivities, random_sensitivities : ndarray
        (R,) and (Q,), as for `unusual_test`.
    """
    return float((np.abs(random_sensitivities) < abs(sensitivities.mean())).mean())
