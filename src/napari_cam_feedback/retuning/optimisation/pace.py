"""How a run goes on: which learning rate, what a step destroyed, when it goes back, and when it ends."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_cam_feedback.retuning.images.sampling import Schedule
from napari_cam_feedback.retuning.judging.metrics import MIN_GAIN, ValidationMetrics
from napari_cam_feedback.retuning.results import Status

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


#: Times that a run goes back with a smaller learning rate before it is given up, and times that it tries a larger one.
MAX_ROLLBACKS, MAX_CLIMBS = 3, 1
#: What a message says after which weights were thrown away.
WENT_BACK = "went back to the best so far"
#: From one learning rate to the next.
FACTOR = 3.0
#: What a check must win for a large network to go on after its share of steps.
WORTH = 0.01
#: Accuracy that is still lost where the shortcut conflicts with the class from which on a larger learning rate is tried.
MUCH_LEFT = 0.05


@dataclass(frozen=True)
class Decision:
    """What follows from a check: go back to the best weights or not, and what to tell the user, if anything."""

    back: bool = False
    message: str | None = None


@dataclass
class Pace:
    """The state of a run's pace.

    Parameters
    ----------
    learning_rate : float or None
        The one given; None until one is found.
    patience : int or None
        Checks without a gain after which the run ends; None for one that takes all its steps.

    Attributes
    ----------
    chosen : str
        How the learning rate was found, in a sentence.
    rollbacks, collapses, climbs : int
        Times that the run went back with a smaller rate, those of them because of a collapse, and that it tried a larger
        rate.
    troubles : list of str
        What was said of each time that weights were thrown away.
    ended : str or None
        How the run ended; None while it goes on.
    """

    learning_rate: float | None
    patience: int | None
    chosen: str = "As given."
    rollbacks: int = 0
    collapses: int = 0
    climbs: int = 0
    since_best: int = 0
    best_score: float = -math.inf
    last_score: float = math.inf
    troubles: list[str] = field(default_factory=list)
    ended: Status | None = None
    guard: Guard = field(default_factory=lambda: Guard(math.nan))

    def decide(self, check: ValidationMetrics, before: ValidationMetrics, *, plan: Schedule, may_climb: bool) -> Decision:
        """Decide by a check on the validation images.

        Parameters
        ----------
        check, before : ValidationMetrics
            Now, and of the classifier as it was given.
        plan : Schedule
            How long the run is.
        may_climb : bool
            Whether a larger learning rate may be tried.
        """
        iterations = plan.iterations
        self.best_score = max(self.best_score, before.score)
        hardly = check.iteration >= plan.enough and check.score < self.best_score + WORTH
        rises, self.last_score = check.score > self.last_score + MIN_GAIN, check.score
        if check.score > self.best_score + MIN_GAIN:
            self.best_score, self.since_best = check.score, 0
            return self._enough(check, iterations) if hardly else Decision()
        self.since_best += 1
        if hardly and self.patience is not None and self.best_score > before.score:
            return self._enough(check, iterations)
        if self.patience is None:
            if check.iteration >= iterations / 2 and _worse(check, before):
                return self._smaller("The model became worse than it was")
            return Decision()
        # At first accuracy may dip while the network finds other features; while it comes back it is waited for.
        comes_back = self.best_score <= before.score and rises
        if self.since_best < self.patience or comes_back:
            return Decision()
        self.since_best = 0
        if self.best_score <= before.score:
            if _worse(check, before):
                return self._smaller("The model became worse than it was and did not recover")
            self.ended = "done"
            return Decision(message=f"No check was better than the start; ended after {check.iteration} steps.")
        left = check.accuracy - check.selection_accuracy
        if (
            may_climb
            and self.climbs < MAX_CLIMBS
            and left > max(MUCH_LEFT, (before.accuracy - before.selection_accuracy) / 4)
        ):
            self.climbs += 1
            self._set_rate(FACTOR)
            return Decision(
                True,
                f"The checks no longer get better and much of the harm is left; went on from the best so far with a "
                f"learning rate of {self.learning_rate:.2g}.",
            )
        self.ended = "done"
        return Decision(
            message=f"The checks no longer get better; ended after {check.iteration} of at most {iterations} steps."
        )

    def _enough(self, check: ValidationMetrics, iterations: int) -> Decision:
        if self.patience is None or check.iteration >= iterations:
            return Decision()
        self.ended = "done"
        return Decision(message=f"More steps would win little; ended after {check.iteration} of at most {iterations} steps.")

    def collapse(self, trouble: str) -> str:
        """Take a collapse, of which `trouble` is the beginning of a sentence; return what to say."""
        self.collapses += 1
        decision = self._smaller(trouble)
        assert decision.message is not None
        return decision.message

    def _smaller(self, trouble: str) -> Decision:
        self.rollbacks += 1
        self.since_best = 0
        self._set_rate(1 / FACTOR)
        self.guard.reset()
        if self.rollbacks == MAX_ROLLBACKS:
            self.ended = "rolled back"
            message = f"{trouble}; {WENT_BACK} and ended."
        else:
            message = f"{trouble}; {WENT_BACK}, with a learning rate of {self.learning_rate:.2g}."
        self.troubles.append(trouble)
        return Decision(True, message)

    def _set_rate(self, factor: float) -> None:
        assert self.learning_rate is not None
        self.learning_rate *= factor

    def to_plain(self) -> dict[str, Any]:
        """Plain values, from which `from_plain` makes the same pace again."""
        return {**vars(self), "troubles": list(self.troubles), "guard": self.guard.to_plain()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Pace:
        """Return the pace that `to_plain` wrote."""
        return cls(**{**values, "guard": Guard.from_plain(values["guard"])})


def tells_of_trouble(message: str) -> bool:
    """Tell whether a message of a run is one after which weights were thrown away."""
    return WENT_BACK in message


def _worse(check: ValidationMetrics, before: ValidationMetrics) -> bool:
    """Whether a check is worse than the start; plain accuracy alone may fall, since the shortcut helped it."""
    chance = 1 / math.sqrt(check.conflicts)
    return check.score < before.score and check.selection_accuracy < before.selection_accuracy - chance
