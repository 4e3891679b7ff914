"""Which learning rate a network bears: a few steps at several of them, from the given weights and on the same images.

A learning rate range test (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3) with separate
trials in place of one growing rate, since a step that is too large shows in the loss of the next images already. The rate
whose steps bring the loss of the step's own images down most is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: Rates that are tried, in order.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
#: Tried first: where the network has the features that it needs, as a large pretrained one has, and where it must find
#: others.
FIRST_KNOWING, FIRST_RELEARNING = 1e-4, 1e-3
#: A rate is nearly as good whose loss is at most this much above the least, where the network has the features that it
#: needs, and where it must find others. The largest of these is taken: such networks reached as much with it in a half to a
#: third of the steps, and a few steps of a small one lose little because they do little.
TOLERANCE_KNOWING, TOLERANCE = 0.15, 0.35
#: The largest that is tried where no batch norm keeps the scale of what the layers put out. Away from confident wrong
#: answers a few steps of a larger one lead fastest, and then it learns next to nothing (a small vision transformer on
#: tag-digits).
MAX_WITHOUT_BATCH_NORM = 1e-3
#: Steps of a trial at least and at most, and input pixels that a trial may have in all.
MIN_STEPS, MAX_STEPS, MAX_PIXELS = 3, 8, 4e6


#: Steps of a run, where just so many are asked for, below which a search would be longer than the run.
MIN_SEARCHED = 20


def first_rate(relearns: bool) -> float:
    """Return the rate that is tried first."""
    return FIRST_RELEARNING if relearns else FIRST_KNOWING


def steps_of_trial(images: int, size: tuple[int, int]) -> int:
    """Return how many steps a trial has, where each step has so many images of some size (h, w)."""
    return max(MIN_STEPS, min(MAX_STEPS, int(MAX_PIXELS / (images * size[0] * size[1]))))


@dataclass
class RateSearch:
    """Tells which rate to try next: from the first one downhill.

    Parameters
    ----------
    relearns : bool
        Whether the network must find features that it does not have.
    most : float
        The largest rate that may be tried.
    forgets : bool
        Whether the images show few of the network's classes, so that what it knows of the others could be lost unseen; then
        no rate is taken that is larger than the best.

    Attributes
    ----------
    losses : dict of float to float
        Mean loss of the second half of the steps, in nats, by rate; infinite where it was no number.
    """

    relearns: bool
    most: float = RATES[-1]
    forgets: bool = False
    losses: dict[float, float] = field(default_factory=dict)

    def following(self) -> float | None:
        """Return the next rate to try; None where enough are known."""
        first = RATES.index(first_rate(self.relearns))
        tried = sorted(RATES.index(rate) for rate in self.losses)
        if not tried:
            return RATES[first]
        # Downhill from the first, upwards before downwards; a neighbour on either side of the best ends it.
        best = min(tried, key=lambda place: (self.losses[RATES[place]], -place))
        for place in (best + 1, best - 1):
            if 0 <= place < len(RATES) and place not in tried and RATES[place] <= self.most:
                return RATES[place]
        return None

    def tell(self, rate: float, losses: list[float]) -> None:
        """Take the losses of a trial's steps; the first is of the given weights."""
        # Adam's first step is the most violent, since it moves each weight by the whole rate.
        later = losses[len(losses) // 2 :]
        mean = sum(later) / len(later)
        self.losses[rate] = mean if math.isfinite(mean) else math.inf

    @property
    def near(self) -> list[float]:
        """The rates that may be taken; all where all went astray."""
        least = min(self.losses.values())
        tolerance = TOLERANCE if self.relearns else 0.0 if self.forgets else TOLERANCE_KNOWING
        return [rate for rate, loss in self.losses.items() if loss <= least * (1 + tolerance)]

    @property
    def best(self) -> float:
        """The rate to train with; of those tried the smallest where all went astray."""
        return min(self.near) if math.isinf(min(self.losses.values())) else max(self.near)

    def describe(self) -> str:
        """Say in a sentence what was tried and taken."""
        tried = ", ".join(
            f"{rate:g}: {'no number' if math.isinf(loss) else f'{loss:.2f}'}" for rate, loss in sorted(self.losses.items())
        )
        return f"Learning rate {self.best:g}, by the loss after a few steps at each of several ({tried})."
