"""Painted enough? What ten more masks would win, by what the runs so far have left and by how learning curves run.

Of the accuracy h that the shortcut takes where it conflicts with the class, a retune with k masks leaves

    l(k) = h (1 + k / 10)^-p,

a power law, as learning curves mostly are (Viering and Loog 2023, *The shape of learning curves: a review*, IEEE TPAMI 45).
What a run has left is measured: the accuracy that painted patches take where they are and where nothing is painted, as a
share of what they took there before (`moved.accuracy_lost`), or that held-out patches take, where that is more. It is taken
to be normal around l(k) with the deviation `NOISE` + l(k) / 2. How steep the curve is differs from data to data: p is
log-normal beforehand, with a wide spread around what samples showed that were drawn for nothing else. Bayes' rule on a grid
of p gives l(k) - l(k + 10) with its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset

#: Masks that are asked about, and fewest by which anything is said: what fewer patches do is chance.
MORE, MIN_MASKS = 10, 3
#: Accuracy from which on more masks help.
WORTH = 0.02
#: Median of p, and the deviation of its logarithm.
STEEPNESS, SPREAD = 8.0, 0.8
#: Deviations: of what a run has left, beside a half of it; and of the accuracy after two retunes alike.
NOISE, CHANCE = 0.02, 0.01
#: Share of cases in which the interval is to hold.
SURE = 0.8
_GRID = np.exp(np.linspace(-3, 3, 241) * SPREAD) * STEEPNESS


@dataclass(frozen=True)
class MoreMasks:
    """What `MORE` masks more would win.

    Attributes
    ----------
    masks : int
        Painted so far, of images that can be learnt from.
    gain, low, high : float or None
        Accuracy that they would win where the shortcut conflicts with the class, and the ends of the interval in which it
        lies in 8 cases of 10. None where that is not known.
    probability : float or None
        That it is more than `WORTH`.
    classes : tuple of str
        Classes of which to paint them: those with the fewest masks.
    unknown : str
        Why it is not known, a sentence; empty where it is.
    """

    masks: int
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    probability: float | None = None
    classes: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def helps(self) -> bool | None:
        """Whether they will rather help than not; None where that is not known."""
        return None if self.probability is None else self.probability > 0.5

    @property
    def sentence(self) -> str:
        """Whether ten more masks will help, of which classes, and by how much; empty where nothing is painted."""
        if self.gain is None or self.low is None or self.high is None:
            return self.unknown
        gain, low, high = (max(round(100 * each), 0) for each in (self.gain, self.low, self.high))
        points = f"about {gain} {'point' if gain == 1 else 'points'} of accuracy where the shortcut conflicts"
        sure = f"({low} to {high} in 8 cases of 10)"
        if not self.helps:
            return f"Ten more masks will hardly help: {points} {sure}."
        named = ", ".join(self.classes[:3]) + (", …" if len(self.classes) > 3 else "")
        of = f", best of {named} (painted least so far)" if named else ""
        return f"Ten more masks will probably help{of}: {points} {sure}."

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "classes": list(self.classes), "helps": self.helps, "sentence": self.sentence}


def more_masks(dataset: Dataset, painted: Iterable[str], runs: Sequence[Mapping[str, Any]]) -> MoreMasks:
    """Say whether ten more masks will help, of which class, and by how much.

    Parameters
    ----------
    dataset : Dataset
        The images.
    painted : iterable of str
        Keys of the images painted so far.
    runs : sequence of mapping
        What their ``result.json`` holds, or `RetuneResult.to_json`, of runs of one model and what came of it, in any order.

    Returns
    -------
    MoreMasks
        With `unknown` where fewer than `MIN_MASKS` are painted, or no run tells.
    """
    there = (index for key in painted if (index := dataset.keys.find(key)) is not None)
    usable = [index for index in there if dataset.item(index).learnable]
    counts = Counter(int(dataset.labels[index]) for index in usable)
    found = MoreMasks(len(usable), classes=_painted_least(dataset, counts))
    if not usable:
        return found
    if len(usable) < MIN_MASKS:
        return replace(found, unknown=f"Whether more masks help is not known before {MIN_MASKS} are painted.")
    told = [run for run in map(_run_of, runs) if run is not None]
    if not told:
        said = "Whether more masks help is known after a retune."
        if runs:
            said = "Whether more masks help is not known: no retune so far could tell what is left of the harm."
        return replace(found, unknown=said)
    harm = max(run.harm for run in told)
    log_weights = -0.5 * (np.log(_GRID / STEEPNESS) / SPREAD) ** 2
    for run in told:
        expected = harm * _share(run.masks)
        deviation = NOISE + expected / 2
        log_weights -= 0.5 * ((run.left(harm) - expected) / deviation) ** 2 + np.log(deviation)
    weights = np.exp(log_weights - log_weights.max())
    gains = harm * (_share(len(usable)) - _share(len(usable) + MORE))
    rng = np.random.default_rng(0)
    drawn = rng.choice(gains, 20_000, p=weights / weights.sum()) + rng.normal(0, CHANCE, 20_000)
    low, high = np.quantile(drawn, [(1 - SURE) / 2, (1 + SURE) / 2])
    return replace(
        found, gain=float(drawn.mean()), low=float(low), high=float(high), probability=float((drawn > WORTH).mean())
    )


def _share(masks: int) -> np.ndarray:
    """Share of the harm left by so many masks, for each p of the grid."""
    return np.asarray((1 + masks / 10) ** -_GRID)


@dataclass(frozen=True)
class _Run:
    """What the shortcut took at the start of a run with so many masks; after it, the share of that, and by held-out ones."""

    masks: int
    harm: float
    share: float
    held_out: float

    def left(self, harm: float) -> float:
        """Accuracy that it still takes, of so much at the start."""
        return max(harm * self.share, self.held_out)


def _run_of(record: Mapping[str, Any]) -> _Run | None:
    """Read a run's record; None where it says nothing of its masks."""
    try:
        before, after = record["before"], record["after"]
        painted, held_out = set(record["painted"]), set(record["held_out"])
        # A run that was broken off, or went astray, says nothing.
        if record["status"] != "done" or record["verdict"]["name"] == "failed" or not before["moved"] or not after["moved"]:
            return None
        gaps = [
            0.0 if check["neutral"] is None else check["neutral"][0] - check["conflict_accuracy"]
            for check in (before, after)
        ]
        took = sum(before["moved"])
        return _Run(
            masks=len(painted | held_out),
            harm=max(before["marks"] or 0.0, gaps[0], *before["moved"]),
            share=min(sum(after["moved"]) / took, 1.0) if took > 0 else 0.0,
            held_out=0.0 if painted & held_out else gaps[1],
        )
    except (KeyError, TypeError, IndexError, ValueError):
        return None


def _painted_least(dataset: Dataset, counts: Mapping[int, int]) -> tuple[str, ...]:
    """Return the classes with the fewest masks; none where all have as many."""
    there = np.unique(dataset.labels[dataset.learnable()])
    fewest = min((counts.get(int(label), 0) for label in there), default=0)
    least = [dataset.class_names[label] for label in there if counts.get(int(label), 0) == fewest]
    return tuple(least) if len(least) < len(there) else ()
