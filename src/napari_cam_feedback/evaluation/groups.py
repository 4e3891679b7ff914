"""Accuracy group by group: where it is lowest is what a mean over all images hides.

Groups are those that the data name (a column ``group``), else every class with and without what is painted, as in Sagawa et
al. (2020), *Distributionally robust neural networks for group shifts*, ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.intervals import LEVEL, Interval

#: A group of fewer images says too little to be called the worst.
MIN_IMAGES = 5
#: Samples that the interval of a change of the worst group's accuracy is from.
RESAMPLES = 2000


@dataclass(frozen=True)
class Groups:
    """Which group each image of a dataset belongs to.

    Attributes
    ----------
    names : tuple of str
        The groups.
    of : ndarray
        (N,) int64, an index into the names for each item of the dataset; -1 where it belongs to none.
    source : str
        What they are from, in words.
    """

    names: tuple[str, ...]
    of: np.ndarray
    source: str


@dataclass(frozen=True)
class GroupResult:
    """Accuracy on a group, 0 to 1, on how many images, and its interval at a level at which all groups' hold together."""

    n: int
    accuracy: float
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"n": self.n, "accuracy": self.accuracy, "interval": self.interval.to_json()}


@dataclass(frozen=True)
class GroupAccuracies:
    """Accuracy on each group of a split.

    Attributes
    ----------
    source : str
        What the groups are from, in words.
    groups : dict of str to GroupResult
        By name; without those that have no image here.
    right : dict of str to ndarray
        By name, (n,) bool in the order of the dataset: which images of the group are predicted right.
    """

    source: str
    groups: dict[str, GroupResult]
    right: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def worst(self) -> str | None:
        """The group of at least `MIN_IMAGES` images with the lowest accuracy; None where there are no two such groups."""
        large = [name for name, found in self.groups.items() if found.n >= MIN_IMAGES]
        return min(large, key=lambda name: self.groups[name].accuracy) if len(large) > 1 else None

    @property
    def small(self) -> list[str]:
        """Groups of too few images to be the worst."""
        return [name for name, found in self.groups.items() if found.n < MIN_IMAGES]

    def sentence(self) -> str:
        """Say which group is told worst, with the interval; empty where there are no two groups to choose from."""
        if self.worst is None:
            return ""
        found = self.groups[self.worst]
        text = (
            f"Worst group by {self.source}: {self.worst}, accuracy {found.accuracy:.3f} "
            f"({found.interval.low:.2f} to {found.interval.high:.2f}, {found.n} images)"
        )
        if self.small:
            count = len(self.small)
            text += f"; {count} {'group' if count == 1 else 'groups'} of fewer than {MIN_IMAGES} images not counted"
        return f"{text}."

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        groups = {name: found.to_json() for name, found in self.groups.items()}
        return {"source": self.source, "worst": self.worst, "groups": groups}


def named_groups(dataset: Dataset) -> Groups | None:
    """Return the groups that the data name; None where they name fewer than two."""
    if len(dataset.group_names) < 2:
        return None
    return Groups(dataset.group_names, dataset.groups, "the column group")


def masked_groups(dataset: Dataset, masked: np.ndarray) -> Groups | None:
    """Return each class with and without what is painted as two groups.

    Parameters
    ----------
    dataset : Dataset
        Images with labels.
    masked : ndarray
        (N,) bool, which items have a mask.

    Returns
    -------
    Groups or None
        None where all labelled images have a mask, or none has.
    """
    labelled = dataset.labels >= 0
    if not masked[labelled].any() or masked[labelled].all():
        return None
    names = tuple(f"{name}, {how}" for name in dataset.class_names for how in ("nothing painted", "painted"))
    return Groups(names, np.where(labelled, 2 * dataset.labels + masked, -1), "class and mask")


def group_accuracies(groups: Groups, indices: np.ndarray, right: np.ndarray) -> GroupAccuracies | None:
    """Return the accuracy on each group.

    The intervals are those of Wilson (1927) at a level of 1 - 0.05 / G (Bonferroni), so that all G hold together in 95 % of
    repetitions, and so does that of the group that is picked for being the worst.

    Parameters
    ----------
    groups : Groups
        Of the dataset.
    indices : ndarray
        (n,) int64 labelled items that were measured.
    right : ndarray
        (n,) bool, which of them were predicted right.

    Returns
    -------
    GroupAccuracies or None
        None where the images belong to fewer than two groups.
    """
    from scipy.stats import binomtest

    of = groups.of[indices]
    there = np.unique(of[of >= 0]).tolist()
    if len(there) < 2:
        return None
    level = 1 - (1 - LEVEL) / len(there)
    found, kept = {}, {}
    for number in there:
        own = right[of == number]
        ends = binomtest(int(own.sum()), len(own)).proportion_ci(level, method="wilson")
        name = groups.names[number]
        found[name] = GroupResult(len(own), float(own.mean()), Interval(float(ends.low), float(ends.high)))
        kept[name] = own
    return GroupAccuracies(groups.source, found, kept)


def worst_change_interval(before: GroupAccuracies, after: GroupAccuracies, *, seed: int = 0) -> Interval | None:
    """Return the 95 % interval of the change of the worst group's accuracy, whichever group that is before and after.

    The percentile interval of samples with replacement, drawn within each group (Efron and Tibshirani 1993, chapter 8: more
    than one sample), an image with both its values.

    Parameters
    ----------
    before, after : GroupAccuracies
        Of the same images.
    seed : int
        Of the samples.

    Returns
    -------
    Interval or None
        None where there is no worst group, and where the groups or images of the two are not the same.
    """
    if before.worst is None or after.worst is None:
        return None
    names = [name for name, found in before.groups.items() if found.n >= MIN_IMAGES]
    if any(name not in after.right or len(after.right[name]) != len(before.right[name]) for name in names):
        return None
    rng = np.random.default_rng(seed)
    drawn = np.empty((2, len(names), RESAMPLES))
    for row, name in enumerate(names):
        pairs = np.stack([before.right[name], after.right[name]]).astype(float)
        # Images of the same two values are drawn together.
        kinds, counts = np.unique(pairs, axis=1, return_counts=True)
        weights = rng.multinomial(pairs.shape[1], counts / counts.sum(), size=RESAMPLES)
        drawn[:, row] = kinds @ weights.T / pairs.shape[1]
    changes = drawn[1].min(0) - drawn[0].min(0)
    low, high = np.quantile(changes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
