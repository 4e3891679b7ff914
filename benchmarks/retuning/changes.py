"""How an accuracy changed on the same images, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.evaluation import SplitResult
from napari_cam_feedback.retuning.judging.forgetting import change_interval


@dataclass(frozen=True)
class Change:
    """Accuracy before and after on the same images, with the paired 95 % interval of the difference.

    Attributes
    ----------
    before, after : float
        Accuracies.
    low, high : float
        Ends of the interval of after - before (`change_interval`: Agresti and Min 2005).
    """

    before: float
    after: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def rose(self) -> bool:
        """Whether it rose beyond chance."""
        return self.low > 0

    @property
    def fell(self) -> bool:
        """Whether it fell beyond chance."""
        return self.high < 0

    def small(self, most: float) -> bool:
        """Whether it changed by less than `most`, or not beyond chance."""
        return abs(self.gain) < most or not (self.rose or self.fell)


def change_of(before: SplitResult, after: SplitResult) -> Change:
    """Return the change of accuracy from one measurement of a split to another one, both made with ``detail``."""
    assert before.predictions is not None
    assert after.predictions is not None
    old, new = (found.predictions.predicted == found.predictions.labels for found in (before, after))  # type: ignore[union-attr]
    return paired_change(old, new)


def paired_change(right_before: np.ndarray, right_after: np.ndarray) -> Change:
    """Return the change from which images were right, bool (N,), to which are, of the same images in the same order."""
    n = len(right_before)
    lost, won = int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())
    low, high = change_interval(lost, won, n)
    return Change(float(right_before.mean()), float(right_after.mean()), low, high)
