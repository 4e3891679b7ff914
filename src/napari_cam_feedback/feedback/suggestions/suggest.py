"""Which images to paint next, and why."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.splits import is_test
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.filters.marks import FilterMarks
from napari_cam_feedback.feedback.suggestions.clusters import MapCluster, cluster_maps
from napari_cam_feedback.feedback.suggestions.reasons import Reasons
from napari_cam_feedback.feedback.suggestions.scan import MAX_IMAGES, Progress, scan_maps
from napari_cam_feedback.feedback.suggestions.signals import SuggestWeights, choose, signals_of
from napari_cam_feedback.files import TableWriter, write_text
from napari_cam_feedback.models.classifier import Classifier

#: Suggestions made by default.
USUAL = 20


@dataclass(frozen=True)
class Suggestion:
    """An image worth painting.

    Attributes
    ----------
    rank : int
        From 1 on. The order is that in which painting them helps most, not that of the scores alone.
    index, key, split : int, str, str
        The item.
    label, predicted : int or None, int
        True class where known, and class predicted.
    certainty : float
        Probability of the class predicted.
    score : float
        0 to 1, the weighted mean of its signals.
    parts : dict
        What each signal adds to the score.
    reason : str
        Why, for people.
    cluster : int or None
        Number of its group of like maps.
    """

    rank: int
    index: int
    key: str
    split: str
    label: int | None
    predicted: int
    certainty: float
    score: float
    parts: dict[str, float]
    reason: str
    cluster: int | None


@dataclass(frozen=True)
class Suggestions:
    """What `suggest` found.

    Attributes
    ----------
    items : tuple of Suggestion
        The first is to be painted first.
    clusters : tuple of MapCluster
        Groups of like maps, the most conspicuous first.
    class_names : tuple of str
        The K classes.
    method : str
        Attribution method of the maps.
    looked_at, total : int
        Images looked at, and images that there are in the splits.
    seed : int
        With which images were drawn, where not all were looked at.
    skipped : dict
        Key and sentence for each image that could not be read.
    complete : bool
        False where it was stopped.
    """

    items: tuple[Suggestion, ...]
    clusters: tuple[MapCluster, ...]
    class_names: tuple[str, ...]
    method: str
    looked_at: int
    total: int
    seed: int
    skipped: dict[str, str] = field(default_factory=dict)
    complete: bool = True

    @property
    def keys(self) -> list[str]:
        """Keys of the suggested images, in their order."""
        return [item.key for item in self.items]

    @property
    def remark(self) -> str | None:
        """One sentence where not all images were looked at."""
        if not self.complete:
            return f"Stopped after {self.looked_at:,} of {self.total:,} images; the suggestions are among those."
        if self.looked_at + len(self.skipped) < self.total:
            return f"Looked at {self.looked_at:,} of {self.total:,} images, drawn with seed {self.seed}."
        return None

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write rank, key, split, label, predicted, certainty, score, what each signal adds, group (from 1) and reason."""
        signals = list(self.items[0].parts) if self.items else []
        text = io.StringIO()
        writer = TableWriter(text)
        columns = ["rank", "key", "split", "label", "predicted", "certainty", "score"]
        writer.writerow([*columns, *signals, "group", "reason"])
        for item in self.items:
            label = "" if item.label is None else self.class_names[item.label]
            numbers = [f"{value:.4f}" for value in (item.certainty, item.score, *(item.parts[name] for name in signals))]
            group = "" if item.cluster is None else item.cluster + 1
            row = [item.rank, item.key, item.split, label, self.class_names[item.predicted], *numbers, group, item.reason]
            writer.writerow(row)
        write_text(path, text.getvalue())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: ``suggestions``, ``groups`` of like maps (numbered from 1), and how they came about."""
        names = self.class_names
        return {
            "suggestions": [
                {
                    "rank": item.rank,
                    "key": item.key,
                    "split": item.split,
                    "label": None if item.label is None else names[item.label],
                    "predicted": names[item.predicted],
                    "certainty": item.certainty,
                    "score": item.score,
                    "signals": item.parts,
                    "group": None if item.cluster is None else item.cluster + 1,
                    "reason": item.reason,
                }
                for item in self.items
            ],
            "groups": [
                {
                    "group": cluster.number + 1,
                    "predicted": names[cluster.predicted],
                    "size": cluster.size,
                    "of": cluster.of,
                    "wrong": cluster.wrong,
                    "tightness": cluster.tightness,
                    "compactness": cluster.compactness,
                }
                for cluster in self.clusters
            ],
            "method": self.method,
            "looked_at": self.looked_at,
            "total": self.total,
            "seed": self.seed,
            "skipped": self.skipped,
            "complete": self.complete,
        }


def suggest(
    classifier: Classifier,
    dataset: Dataset,
    painted: Collection[str] = (),
    n: int = USUAL,
    *,
    splits: Sequence[str] | None = None,
    marks: FilterMarks | None = None,
    weights: SuggestWeights | None = None,
    method: str | None = None,
    most: int = MAX_IMAGES,
    seed: int = 0,
    inputs: InputCache | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Suggestions:
    """Rank unpainted images by how much painting them should help.

    One pass over the images: each is predicted, and the map of the predicted class kept small. Its score is the weighted
    mean of the signals (see `Signals`); the images are then chosen one by one so that together, and with those painted,
    they stand for as many others as possible (see `choose`).

    Parameters
    ----------
    classifier : Classifier
        What is to be corrected.
    dataset : Dataset
        Images.
    painted : collection of str
        Keys of the images that are painted already, a `MaskStore` for example. They are never suggested, and images like
        them are suggested later.
    n : int
        How many to suggest, at most.
    splits : sequence of str, optional
        Whose images; by default all splits but those for testing, whose images are never suggested.
    marks : FilterMarks, optional
        Of this classifier; images in which the filters marked irrelevant respond strongly are preferred.
    weights : SuggestWeights, optional
        How much each signal counts.
    method : str, optional
        Attribution method; by default ``cam`` where the model allows it, else ``gradcam``.
    most : int
        Images looked at, at most; of more, as many are drawn with the seed, and `Suggestions.remark` says so.
    seed : int
        Of what is drawn.
    inputs : InputCache, optional
        Inputs read before.
    progress : callable, optional
        Called with images done and in all.
    stop : callable, optional
        Asked after each batch; True ends with suggestions from the images looked at.

    Raises
    ------
    ConfigError
        A split for testing is named, or a number makes no sense.
    DataError
        There is no such split, all of its images are painted, or none can be read.
    ModelError
        The classifier is for other classes, or its target layer has no places.
    """
    if n < 1:
        raise ConfigError(f"{n} images cannot be suggested; ask for 1 or more.")
    if most < 2:
        raise ConfigError(f"{most} images are too few to compare; look at 2 or more.")
    candidates = candidate_items(dataset, splits)
    done = np.array([dataset.keys[int(index)] in painted for index in candidates], bool)
    if done.all():
        raise DataError(
            "Every image of these splits is painted already."
            if len(done)
            else "There is no labelled image for training or validation to suggest; name the splits, or add labels."
        )
    scan = scan_maps(
        classifier,
        dataset,
        candidates,
        method=method,
        most=most,
        keep=candidates[done],
        seed=seed,
        inputs=inputs,
        progress=progress,
        stop=stop,
    )
    clusters, member = cluster_maps(scan, seed=seed, stop=stop if scan.complete else None)
    signals = signals_of(scan, clusters, member, marks.irrelevant if marks is not None else ())
    parts = signals.weighted(weights or SuggestWeights())
    scores = np.sum(list(parts.values()), axis=0)
    taken = np.isin(scan.indices, candidates[done])
    reasons = Reasons(scan, signals, clusters, member, classifier.class_names)
    items: list[Suggestion] = []
    for row in choose(scan, scores, taken, n, seed=seed):
        own = {name: float(values[row]) for name, values in parts.items()}
        item = dataset.item(int(scan.indices[row]))
        items.append(
            Suggestion(
                rank=len(items) + 1,
                index=item.index,
                key=item.key,
                split=item.split,
                label=item.label,
                predicted=int(scan.predicted[row]),
                certainty=float(scan.certainty[row]),
                score=float(scores[row]),
                parts=own,
                reason=reasons.reason(row, own),
                cluster=int(member[row]) if member[row] >= 0 else None,
            )
        )
    return Suggestions(
        items=tuple(items),
        clusters=clusters,
        class_names=classifier.class_names,
        method=scan.method,
        looked_at=len(scan),
        total=scan.total,
        seed=seed,
        skipped=scan.skipped,
        complete=scan.complete,
    )


def candidate_items(dataset: Dataset, splits: Sequence[str] | None = None) -> np.ndarray:
    """Return the items that may be suggested, int64: the labelled ones of some splits.

    By default of all splits but those for testing.

    Raises
    ------
    ConfigError
        A split for testing is named.
    DataError
        There is no such split.
    """
    learnable = dataset.learnable()
    if splits is None:
        return learnable
    for name in splits:
        if is_test(name):
            raise ConfigError(
                f"Images of the split {name} are not suggested, since painting them would spoil the test; "
                "choose train or val."
            )
    wanted = [dataset.indices(name) for name in dict.fromkeys(splits)]
    return np.intersect1d(learnable, np.concatenate([np.empty(0, np.int64), *wanted]))
