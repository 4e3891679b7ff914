"""Painted enough? What ten more masks would win, by how learning curves run and by what the runs so far have left.

Of the accuracy h that the shortcut takes where it conflicts with the class, a retune with k masks leaves the share

    s(k) = (1 + k / 10)^-p,

a power law, as learning curves mostly are (Viering and Loog 2023, *The shape of learning curves: a review*, IEEE TPAMI 45).
How steep it is differs from data to data: p is log-normal beforehand, with the median `STEEPNESS` that samples showed which
were drawn for nothing else, and a wide spread. Each run that held masks out says more: of its m held-out masks the share r
still misleads, which has the likelihood s^(m r) (1 - s)^(m (1 - r)). Bayes' rule on a grid of p gives what k + 10
masks would win, h (s(k) - s(k + 10)), with its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset

#: Masks that are asked about, and fewest by which anything is said: of fewer, what they say of the harm is chance.
MORE, MIN_MASKS = 10, 5
#: Accuracy from which on more masks help.
WORTH = 0.02
#: Median of p, and the deviation of its logarithm.
STEEPNESS, SPREAD = 8.0, 0.8
#: Masks from which on one in five was held out (`MaskedSet.hold_out`), and what two retunes alike differ by: a deviation.
_HELD_OUT, _CHANCE = 10, 0.01
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
    told = [run for run in map(_left, runs) if run is not None]
    if not told:
        said = "Whether more masks help is known after a retune."
        if runs:
            said = "Whether more masks help is not known: no retune so far could tell what is left of the harm."
        return replace(found, unknown=said)
    harm = max(run.harm for run in told)
    weights = np.exp(-0.5 * (np.log(_GRID / STEEPNESS) / SPREAD) ** 2)
    for run in told:
        share = np.clip(_share(run.masks), 1e-6, 1 - 1e-6)
        still = 0.0 if harm <= 0 else min(max(run.left / harm, 0.0), 1.0)
        weights *= share ** (run.held_out * still) * (1 - share) ** (run.held_out * (1 - still))
    gains = harm * (_share(len(usable)) - _share(len(usable) + MORE))
    rng = np.random.default_rng(0)
    drawn = rng.choice(gains, 20_000, p=weights / weights.sum()) + rng.normal(0, _CHANCE, 20_000)
    low, high = np.quantile(drawn, [(1 - SURE) / 2, (1 + SURE) / 2])
    return replace(
        found,
        gain=float(drawn.mean()),
        low=float(low),
        high=float(high),
        probability=float((drawn > WORTH).mean()),
    )


def _share(masks: int) -> np.ndarray:
    """Share of the harm left by so many masks, for each p of the grid."""
    return np.asarray((1 + masks / 10) ** -_GRID)


@dataclass(frozen=True)
class _Left:
    """What the shortcut took at the start of a run with so many masks, and what it takes after it by those held out."""

    masks: int
    harm: float
    held_out: int
    left: float


def _left(run: Mapping[str, Any]) -> _Left | None:
    """Read a run's record; None where it says nothing of them."""
    try:
        before, after = run["before"], run["after"]
        masks = len({*run["painted"], *run["held_out"]})
        # A run that was broken off, or went astray, says nothing of its masks.
        told = run["status"] == "done" and run["verdict"]["name"] != "failed" and not before.get("style_alone")
        if not told or before["neutral"] is None or after["neutral"] is None:
            return None
        gaps = [check["neutral"][0] - check["conflict_accuracy"] for check in (before, after)]
        held_out = len(run["held_out"]) if masks >= _HELD_OUT else 0
        return _Left(masks, max(gaps[0], before.get("marks") or 0.0), held_out, gaps[1])
    except (KeyError, TypeError, IndexError):
        return None


def _painted_least(dataset: Dataset, counts: Mapping[int, int]) -> tuple[str, ...]:
    """Return the classes with the fewest masks; none where all have as many."""
    there = np.unique(dataset.labels[dataset.learnable()])
    fewest = min((counts.get(int(label), 0) for label in there), default=0)
    least = [dataset.class_names[label] for label in there if counts.get(int(label), 0) == fewest]
    return tuple(least) if len(least) < len(there) else ()
