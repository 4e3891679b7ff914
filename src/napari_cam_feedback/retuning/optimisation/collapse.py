"""Whether a step destroyed the network, told at once from the step's own images."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

#: Steps that must agree before the loss is taken to have risen, and before nearly all is taken to go to one class.
RISEN_STEPS, ONE_CLASS_STEPS = 3, 5
#: The loss has risen where the mean of the last steps is above so many times that of the given weights, and so many nats.
RISEN_TIMES, RISEN_NATS = 1.5, 0.5
#: Share of a step's images predicted as one class from which on it is nearly all, and share with that label up to which
#: that is no merit.
NEARLY_ALL, LABELLED_SO = 0.9, 0.6


class Guard:
    """Watches the steps for a collapse: the loss rises, is no number, or nearly all images go to one class.

    A dip is no collapse: while a network leaves one feature for others, its accuracy falls and the loss of its own images
    falls, too.

    Parameters
    ----------
    at_start : float
        Loss of the first step, which the given weights have, in nats; NaN where it is not known.
    """

    def __init__(self, at_start: float) -> None:
        self.at_start = at_start
        self._losses: deque[float] = deque(maxlen=RISEN_STEPS)
        self._one_class = 0
        # A model that takes all for one class from the start has not collapsed.
        self._knew_more = False

    def reset(self) -> None:
        """Forget the steps so far, as after going back."""
        self._losses.clear()
        self._one_class = 0

    def to_plain(self) -> dict[str, Any]:
        """Plain values, from which `from_plain` makes the same guard again."""
        losses = list(self._losses)
        return {"at_start": self.at_start, "losses": losses, "one_class": self._one_class, "knew_more": self._knew_more}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Guard:
        """Return the guard that `to_plain` wrote."""
        guard = cls(values["at_start"])
        guard._losses.extend(values["losses"])
        guard._one_class, guard._knew_more = values["one_class"], values["knew_more"]
        return guard

    def watch(self, loss: float | None, predicted: np.ndarray, labels: np.ndarray) -> str | None:
        """Take a step; return what went wrong as the beginning of a sentence, None where nothing did.

        Parameters
        ----------
        loss : float or None
            Of the step's labelled images, without penalties; None where it is no number.
        predicted, labels : ndarray
            (N,) int64, of the step's labelled images before the step was taken.
        """
        if loss is None or not math.isfinite(loss):
            return "The loss is not a number any more"
        if math.isnan(self.at_start):
            self.at_start = loss
        self._losses.append(loss)
        limit = max(self.at_start * RISEN_TIMES, self.at_start + RISEN_NATS)
        if len(self._losses) == RISEN_STEPS and min(self._losses) > limit:
            return f"The loss of the training images rose from {self.at_start:.2f} to {np.mean(self._losses):.2f}"
        one_class = _one_class(predicted, labels)
        self._knew_more |= not one_class
        self._one_class = self._one_class + 1 if one_class else 0
        if self._one_class == ONE_CLASS_STEPS and self._knew_more:
            return "The model took nearly all training images for one class"
        return None


def _one_class(predicted: np.ndarray, labels: np.ndarray) -> bool:
    if not len(predicted):
        return False
    values, counts = np.unique(predicted, return_counts=True)
    most = values[counts.argmax()]
    return bool(counts.max() >= NEARLY_ALL * len(predicted) and (labels == most).mean() <= LABELLED_SO)
