"""What speaks for painting an image: five signals from 0 to 1, and the choice of images that stand for many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_cam_feedback.feedback.suggestions.clusters import MapCluster, half_area
from napari_cam_feedback.feedback.suggestions.scan import MapScan

#: Images that the chosen ones are to stand for, at most; of more, as many are drawn.
MAX_REPRESENTED = 2000
# Images of another predicted class are stood for by half: the same mark may tell of another class.
_OTHER_CLASS = 0.5
# An image that stands for many is taken though little speaks for it: what any image is worth beside its signals.
_BASE = 0.25


class SuggestWeights(BaseModel):
    """How much each signal counts; only their proportions matter.

    Attributes
    ----------
    shortcut : float
        Right and certain, with the evidence in a compact place: what a shortcut looks like.
    doubt : float
        Misclassified, or uncertain.
    displaced : float
        Evidence away from where it usually is for the class.
    cluster : float
        One of a small, tight group of like maps.
    filters : float
        Strong response of filters that are marked irrelevant; counts only where some are marked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shortcut: float = Field(1.0, ge=0)
    doubt: float = Field(0.25, ge=0)
    displaced: float = Field(0.1, ge=0)
    cluster: float = Field(0.25, ge=0)
    filters: float = Field(1.0, ge=0)


@dataclass(frozen=True)
class Signals:
    """The signals of N images, each (N,) float64 in 0..1, and the numbers behind them.

    Attributes
    ----------
    shortcut : ndarray
        Place among all images, from 0 to 1, of certainty times compactness (1 - 2 `half`); 0 where misclassified.
    doubt : ndarray
        1 where misclassified, else 1 less the margin between the two most probable classes.
    displaced : ndarray
        Place among all images of `moved`.
    cluster : ndarray
        (1 - share of the class's images that are in its group) times the group's tightness; 0 where a class has one group.
    filters : ndarray or None
        Place among all images of the mean activation of the filters marked irrelevant, in standard deviations of each; None
        where none is marked.
    half : ndarray
        Least share of the image that holds half of the evidence.
    moved : ndarray
        Share of the evidence that would have to move to make the map the class's mean map: half the sum of the absolute
        differences (total variation distance).
    """

    shortcut: np.ndarray
    doubt: np.ndarray
    displaced: np.ndarray
    cluster: np.ndarray
    filters: np.ndarray | None
    half: np.ndarray
    moved: np.ndarray

    def weighted(self, weights: SuggestWeights) -> dict[str, np.ndarray]:
        """Return what each signal adds to the score, (N,) each; scores are 0 to 1."""
        parts = {
            name: (getattr(weights, name), getattr(self, name)) for name in SuggestWeights.model_fields if self._has(name)
        }
        total = sum(weight for weight, _ in parts.values()) or 1.0
        return {name: weight / total * values for name, (weight, values) in parts.items()}

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None


def signals_of(
    scan: MapScan, clusters: tuple[MapCluster, ...], member: np.ndarray, irrelevant: tuple[int, ...] = ()
) -> Signals:
    """Compute the signals.

    Parameters
    ----------
    scan : MapScan
        Of the images.
    clusters, member : tuple of MapCluster, ndarray
        As `cluster_maps` returns them.
    irrelevant : tuple of int
        Filters marked irrelevant.
    """
    half = half_area(scan.maps)
    compact = np.clip(1 - 2 * half, 0, 1)
    lure = np.where(scan.wrong, 0.0, scan.certainty * compact)
    moved = np.zeros(len(scan))
    evidence = scan.maps.sum((1, 2)) > 0
    for predicted in np.unique(scan.predicted):
        rows = (scan.predicted == predicted) & evidence
        mean = scan.maps[rows].mean(0, dtype=np.float64) if rows.any() else 0.0
        moved[rows] = 0.5 * np.abs(scan.maps[rows] - mean).sum((1, 2))
    small = np.zeros(len(scan))
    for cluster in clusters:
        small[member == cluster.number] = (1 - cluster.share) * cluster.tightness
    filters = None
    if irrelevant:
        marked = scan.filters[:, list(irrelevant)].astype(np.float64)
        spread = marked.std(0)
        filters = places(np.divide(marked - marked.mean(0), spread, out=np.zeros_like(marked), where=spread > 0).mean(1))
    return Signals(
        shortcut=np.where(scan.wrong, 0.0, places(lure)),
        doubt=np.where(scan.wrong, 1.0, 1 - scan.margin.astype(np.float64)),
        displaced=places(moved),
        cluster=small,
        filters=filters,
        half=half,
        moved=moved,
    )


def places(values: np.ndarray) -> np.ndarray:
    """Return each value's place among all from 0 (least) to 1 (greatest), equal ones alike; zeros where all are equal."""
    from scipy.stats import rankdata

    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values))
    return (rankdata(values) - 1) / (len(values) - 1)


def descriptors(scan: MapScan) -> np.ndarray:
    """Return what is compared of two images, float32 (N, D) of length 1: where the evidence lies, and what is there.

    The first part is the square root of the map, so that products are Bhattacharyya coefficients; the second is `looks` in
    standard deviations of each filter, at length 1, so that products are cosines. Both weigh the same.
    """
    where = np.sqrt(scan.maps.reshape(len(scan), -1))
    spread = scan.looks.std(0)
    what = np.divide(scan.looks - scan.looks.mean(0), spread, out=np.zeros_like(scan.looks), where=spread > 0)
    length = np.linalg.norm(what, axis=1, keepdims=True)
    what = np.divide(what, length, out=what, where=length > 0)
    return (np.concatenate([where, what], axis=1) / np.sqrt(2)).astype(np.float32)


def choose(scan: MapScan, scores: np.ndarray, taken: np.ndarray, count: int, *, seed: int = 0) -> list[int]:
    """Choose images that have high scores and together stand for many: greedy facility location.

    An image is stood for by the chosen (or painted) one that it is most like; each step takes the image that adds most to
    the sum of these similarities, times its score plus a quarter. So the second of two like images is worth little once the
    first is chosen. (Submodular greedy choice: Wei, Iyer and Bilmes 2015, "Submodularity in data subset selection and
    active learning".)

    Parameters
    ----------
    scan : MapScan
        Of the images.
    scores : ndarray
        (N,) float in 0..1.
    taken : ndarray
        (N,) bool, images that are painted already.
    count : int
        How many to choose.
    seed : int
        Which images are to be stood for, where there are more than `MAX_REPRESENTED`.

    Returns
    -------
    list of int
        Rows of the chosen images, in their order.
    """
    points = descriptors(scan)
    crowd = np.arange(len(scan))
    if len(crowd) > MAX_REPRESENTED:
        crowd = np.sort(np.random.default_rng(seed).permutation(len(crowd))[:MAX_REPRESENTED])
    near = np.clip(points[crowd] @ points.T, 0, 1) ** 2
    near *= np.where(scan.predicted[crowd][:, None] == scan.predicted, 1, np.float32(_OTHER_CLASS))
    best = near[:, taken].max(1, initial=0.0)
    free = ~taken
    found: list[int] = []
    while len(found) < count and free.any():
        gain = np.maximum(near - best[:, None], 0).sum(0)
        worth = np.where(free, gain * (_BASE + scores), -1.0)
        if gain[free].max() <= 1e-6 * len(crowd):
            # All are stood for; what is left are the scores.
            worth = np.where(free, scores, -1.0)
        row = int(worth.argmax())
        found.append(row)
        free[row] = False
        best = np.maximum(best, near[:, row])
    return found
