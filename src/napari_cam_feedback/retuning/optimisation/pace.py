"""How a run goes on: with which learning rate, when it goes back, and when it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from napari_cam_feedback.retuning.judging.metrics import MIN_GAIN, ValidationMetrics
from napari_cam_feedback.retuning.optimisation.collapse import Guard
from napari_cam_feedback.retuning.results import Status

#: Times that a run goes back with a smaller learning rate before it is given up, and times that it tries a larger one.
MAX_ROLLBACKS, MAX_CLIMBS = 3, 1
#: What a message says after which weights were thrown away.
WENT_BACK = "went back to the best so far"
#: From one learning rate to the next.
FACTOR = 3.0
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

    def decide(self, check: ValidationMetrics, before: ValidationMetrics, *, iterations: int, may_climb: bool) -> Decision:
        """Decide by a check on the validation images.

        Parameters
        ----------
        check, before : ValidationMetrics
            Now, and of the classifier as it was given.
        iterations : int
            Steps of the run at most.
        may_climb : bool
            Whether a larger learning rate may be tried.
        """
        self.best_score = max(self.best_score, before.score)
        rises, self.last_score = check.score > self.last_score + MIN_GAIN, check.score
        if check.score > self.best_score + MIN_GAIN:
            self.best_score, self.since_best = check.score, 0
            return Decision()
        self.since_best += 1
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
    chance = 1 / math.sqrt(check.scenes or check.n)
    return check.score < before.score and check.selection_accuracy < before.selection_accuracy - chance
