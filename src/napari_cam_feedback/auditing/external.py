"""A second hospital: what a classifier reaches on other data than its own, by measures that need no mask.

A classifier that goes by what its own data happen to offer reaches less where that is missing. How large the loss is, in
which classes, and whether predictions there hang more on border, corners or colours says where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.auditing.cues import CUES
from napari_cam_feedback.auditing.usage import MAX_ASKED, used_share
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.splits import TEST, TRAIN, VAL
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.evaluation.intervals import LEVEL, Interval, rate_interval
from napari_cam_feedback.evaluation.predictions import Predictions, predict
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, Part, takes_monitor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Images of a class on either side below which its recall is not compared.
MIN_OF_CLASS = 5
#: Cues that can be taken away from an image.
_USABLE = tuple(cue for cue in CUES if cue.place is not None or cue.name == "brightness and colour")


@dataclass(frozen=True)
class ExternalRow:
    """A measure on the classifier's own data and on the other.

    Attributes
    ----------
    measure : str
        ``accuracy``, ``recall``, ``confidence``, ``overconfidence`` or ``changed without``.
    of : str
        The class or the cue that it is of; empty where it is of all images.
    own, external : float
        0 to 1; overconfidence -1 to 1.
    own_interval, external_interval : Interval or None
        Of each, 95 %.
    change : Interval or None
        Of external less own, at a level at which those of all classes, or all cues, hold together; None where it is not
        measured.
    more_is_worse : bool or None
        None where neither direction is worse.
    """

    measure: str
    of: str
    own: float
    external: float
    own_interval: Interval | None
    external_interval: Interval | None
    change: Interval | None
    more_is_worse: bool | None

    @property
    def worse(self) -> bool:
        """Whether it is worse on the other data beyond chance."""
        if self.change is None or self.more_is_worse is None:
            return False
        return self.change.low > 0 if self.more_is_worse else self.change.high < 0

    @property
    def name(self) -> str:
        """The measure and what it is of, for tables."""
        words = {"changed without": "predictions changed by taking away"}.get(self.measure, self.measure)
        return f"{words}: {self.of}" if self.of else words

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        ends = {
            "own_interval": self.own_interval,
            "external_interval": self.external_interval,
            "change_interval": self.change,
        }
        return {
            "measure": self.measure,
            "of": self.of or None,
            "own": self.own,
            "external": self.external,
            "change": self.external - self.own,
            **{name: None if each is None else each.to_json() for name, each in ends.items()},
            "worse": self.worse,
        }


@dataclass(frozen=True)
class ExternalReport:
    """What a classifier reaches on its own data and on other.

    Attributes
    ----------
    split : str
        The split of its own data.
    own_n, external_n : int
        Labelled images measured on either side.
    rows : tuple of ExternalRow
        The measures.
    notes : tuple of str
        What limits the comparison, a sentence each.
    skipped : dict
        Key and sentence for each image of the other data that could not be read.
    """

    split: str
    own_n: int
    external_n: int
    rows: tuple[ExternalRow, ...]
    notes: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def drops(self) -> tuple[str, ...]:
        """What is worse on the other data beyond chance, a sentence each, the largest first."""
        worse = sorted((row for row in self.rows if row.worse), key=lambda row: -abs(row.external - row.own))
        return tuple(_sentence(row) for row in worse)

    @property
    def summary(self) -> str:
        """One sentence on whether anything drops there."""
        accuracy = self.rows[0]
        text = f"Accuracy {accuracy.own:.3f} on the {self.own_n} images of {self.split}, {accuracy.external:.3f} on the "
        text += f"{self.external_n} of the other data"
        return f"{text}; nothing is worse there beyond chance." if not self.drops else f"{text}. Worse there:"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "split": self.split,
            "own_n": self.own_n,
            "external_n": self.external_n,
            "rows": [row.to_json() for row in self.rows],
            "drops": list(self.drops),
            "notes": list(self.notes),
            "skipped": self.skipped,
        }


def _sentence(row: ExternalRow) -> str:
    assert row.change is not None
    ends = f"{row.change.low:+.2f} to {row.change.high:+.2f}"
    if row.measure == "changed without":
        return (
            f"Taking away {row.of} changes {row.external:.0%} of the predictions there and {row.own:.0%} here ({ends}): "
            "look there for what misleads the model."
        )
    if row.measure == "recall":
        return f"Of the images of {row.of}, {row.external:.0%} are told right there and {row.own:.0%} here ({ends})."
    return f"The {row.measure} is {row.external:.3f} there and {row.own:.3f} here ({ends})."


def difference_interval(own: tuple[int, int], external: tuple[int, int], level: float = LEVEL) -> Interval:
    """Return the interval of the difference of two rates of different images, external less own.

    Method 10 of Newcombe (1998), *Interval estimation for the difference between independent proportions*, Statistics in
    Medicine 17, 873-890: from the ends of Wilson's intervals of both.

    Parameters
    ----------
    own, external : tuple of int
        How many of how many images; the latter above 0.
    level : float
        Coverage, 0 to 1.
    """
    from scipy.stats import binomtest

    (first, low_1, high_1), (second, low_2, high_2) = (
        (hits / n, *binomtest(hits, n).proportion_ci(level, method="wilson")) for hits, n in (own, external)
    )
    change = second - first
    return Interval(
        float(change - np.hypot(second - low_2, high_1 - first)), float(change + np.hypot(high_2 - second, first - low_1))
    )


@takes_monitor
def evaluate_external(
    classifier: Classifier,
    dataset: Dataset,
    external: Dataset,
    *,
    split: str | None = None,
    seed: int = 0,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> ExternalReport:
    """Compare what a classifier reaches on its own data with what it reaches on other, by measures that need no mask.

    Accuracy, recall of each class, confidence (mean probability of the class predicted) and overconfidence (confidence less
    accuracy), and the share of predictions that change when border, a corner, the surroundings, or brightness and colour
    are taken away.

    Parameters
    ----------
    classifier : Classifier
        What is measured.
    dataset, external : Dataset
        Its own data and the other, of the same classes.
    split : str, optional
        Of its own data; by default test, else val, else train. Of the other, all labelled images are measured.
    seed : int
        Of the intervals, and of the images that cues are taken away from.
    monitor : Monitor, optional
        Told of parts done; once stopped, the work ends with a `DataError`.
    fabric : Fabric, optional
        Launched, to share the predictions.

    Raises
    ------
    DataError
        One of the two has no labelled image that can be read, or it was stopped.
    """
    names = dataset.split_names
    split = split or next((name for name in (TEST, VAL, TRAIN) if name in names), names[0])
    steps = 2 + 2 * len(_USABLE)
    sides = []
    for number, (data, part) in enumerate(((dataset, split), (external, None))):
        indices = data.indices(part)
        indices = indices[data.labels[indices] >= 0]
        found = predict(classifier, data, indices=indices, monitor=Part(monitor, silent=True), fabric=fabric)
        _go_on(monitor, number + 1, steps)
        if not len(found.indices):
            reason = next(iter(found.skipped.values()), "its images have no labels.")
            raise DataError(f"Nothing can be measured on {data.source or 'the data'}: {reason}")
        sides.append(found)
    rows = [*_of_all(sides, seed), *_of_classes(sides, classifier.class_names)]
    for number, cue in enumerate(_USABLE):
        counts = []
        for side, (data, found) in enumerate(zip((dataset, external), sides, strict=True)):
            share = used_share(classifier, data, cue, found.indices, seed)
            assert share is not None
            n = min(MAX_ASKED, len(found.indices))
            counts.append((round(share * n), n))
            _go_on(monitor, 3 + 2 * number + side, steps)
        rows.append(_rate_row("changed without", cue.name, counts[0], counts[1], len(_USABLE), more_is_worse=True))
    return ExternalReport(
        split,
        len(sides[0].indices),
        len(sides[1].indices),
        tuple(rows),
        _notes(split, dataset, external, sides),
        sides[1].skipped,
    )


def _go_on(monitor: Monitor, done: int, of: int) -> None:
    if monitor.stopped:
        raise DataError("The comparison with the other data was stopped; nothing of it was measured.")
    monitor.progress(done, of, "comparing with the other data")


def _rate_row(
    measure: str, of: str, own: tuple[int, int], external: tuple[int, int], together: int, *, more_is_worse: bool
) -> ExternalRow:
    ends = [rate_interval(np.arange(n) < hits) for hits, n in (own, external)]
    # So many are looked at, of which the worst are named (Bonferroni).
    change = difference_interval(own, external, 1 - (1 - LEVEL) / together)
    return ExternalRow(measure, of, own[0] / own[1], external[0] / external[1], ends[0], ends[1], change, more_is_worse)


def _of_all(sides: Sequence[Predictions], seed: int) -> list[ExternalRow]:
    right = [found.predicted == found.labels for found in sides]
    counts = [(int(each.sum()), len(each)) for each in right]
    sure = [found.probabilities.max(1).astype(float) for found in sides]
    ends = [rate_interval(each, seed=seed) for each in sure]
    means = [float(each.mean()) for each in sure]
    over = [mean - hits / n for mean, (hits, n) in zip(means, counts, strict=True)]
    return [
        _rate_row("accuracy", "", counts[0], counts[1], 1, more_is_worse=False),
        ExternalRow("confidence", "", means[0], means[1], ends[0], ends[1], None, None),
        ExternalRow("overconfidence", "", over[0], over[1], None, None, None, None),
    ]


def _of_classes(sides: Sequence[Predictions], class_names: Sequence[str]) -> list[ExternalRow]:
    counts = []
    for number, name in enumerate(class_names):
        own, external = (
            (int((found.predicted[found.labels == number] == number).sum()), int((found.labels == number).sum()))
            for found in sides
        )
        if min(own[1], external[1]) >= MIN_OF_CLASS:
            counts.append((name, own, external))
    return [_rate_row("recall", name, own, external, len(counts), more_is_worse=False) for name, own, external in counts]


def _notes(split: str, dataset: Dataset, external: Dataset, sides: Sequence[Predictions]) -> tuple[str, ...]:
    notes = [f"Of the other data: {note}" for note in external.notes]
    if split == TRAIN:
        notes.append(
            "The model may have learnt from the images of train, which flatters it here; compare with a split test."
        )
    own, other = (set(np.unique(found.labels).tolist()) for found in sides)
    for missing, where in ((own - other, "the other data"), (other - own, split)):
        if missing:
            names = [dataset.class_names[number] for number in sorted(missing)]
            notes.append(f"There are no images in {where} of {', '.join(names[:5])}{', …' if len(names) > 5 else ''}.")
    return tuple(notes)
