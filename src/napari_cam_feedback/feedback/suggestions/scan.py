"""One pass over the images for `suggest`: prediction, small attribution map, what lies under the map, and filters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.filters.features import batch_for
from napari_cam_feedback.explanations.maps.registry import default_method, get_method
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

#: Maps are kept with at most so many rows and columns.
GRID = 16
#: Images that are looked at, at most; of more, as many are drawn with the seed. With 2,048 filters they take 200 MB.
MAX_IMAGES = 10_000


@dataclass(frozen=True)
class MapScan:
    """What the network says of N images and where it looks.

    Attributes
    ----------
    indices : ndarray
        (N,) int64, items of the dataset, ascending.
    labels, predicted, second : ndarray
        (N,) int64: the true class, -1 where unknown; the class predicted; and the most probable other one.
    certainty, margin : ndarray
        (N,) float32: the probability of the predicted class, and how much more that is than the second one's.
    maps : ndarray
        (N, h, w) float32: the positive part of the predicted class's map, at most `GRID` places a side, as shares that sum
        to 1; zeros where there is no positive evidence.
    looks : ndarray
        (N, F) float32: mean activation of each filter, weighted by the positive part of the map: what the network sees where
        its evidence lies, wherever that is. Without positive evidence the plain mean.
    filters : ndarray
        (N, F) float32: mean activation of each filter.
    method : str
        Attribution method of the maps.
    total : int
        Images that could have been looked at; more than were, where a sample was drawn or the pass was stopped.
    skipped : dict
        Key and sentence for each image that could not be read.
    complete : bool
        False where it was stopped.
    """

    indices: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    second: np.ndarray
    certainty: np.ndarray
    margin: np.ndarray
    maps: np.ndarray
    looks: np.ndarray
    filters: np.ndarray
    method: str
    total: int
    skipped: dict[str, str] = field(default_factory=dict)
    complete: bool = True

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def wrong(self) -> np.ndarray:
        """(N,) bool, whether the class predicted is not the true one; False where that is unknown."""
        return (self.labels >= 0) & (self.labels != self.predicted)

    def take(self, rows: np.ndarray) -> MapScan:
        """Return the same of some rows (positions, or bool (N,))."""
        names = ("indices", "labels", "predicted", "second", "certainty", "margin", "maps", "looks", "filters")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


@takes_monitor
def scan_maps(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    *,
    method: str | None = None,
    most: int = MAX_IMAGES,
    keep: np.ndarray | None = None,
    seed: int = 0,
    inputs: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> MapScan:
    """Look at each image once. Memory is bounded by `most`, however many images there are.

    Parameters
    ----------
    classifier : Classifier
        What looks.
    dataset : Dataset
        Images.
    indices : ndarray
        (M,) int64 items to look at.
    method : str, optional
        Attribution method; by default ``cam`` where the model allows it, else ``gradcam``.
    most : int
        Images looked at, at most; of more, as many are drawn.
    keep : ndarray, optional
        Items that are looked at in any case, such as those painted.
    seed : int
        Which are drawn.
    inputs : InputCache, optional
        Inputs read before.
    monitor : Monitor, optional
        Told of images done and in all.
        Once stopped, the work ends with what there is.

    Raises
    ------
    DataError
        No image can be read.
    ModelError
        The classifier is for other classes, or its target layer has no places.
    """
    check_fits(classifier, dataset)
    classifier.check_places("suggestions")
    method = method or default_method(classifier)
    explainer = get_method(method)
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    chosen = draw(indices, most, keep, seed)
    parts: list[tuple[np.ndarray, ...]] = []
    tried = 0
    for picked, batch in inputs.batches(chosen, batch_for(classifier.preprocessing.size)):
        found = explainer(classifier, batch)
        parts.append((picked, *_tables(found.logits, found.maps[:, 0], found.activations)))
        tried = int(np.searchsorted(chosen, picked[-1])) + 1
        monitor.progress(tried, len(chosen))
        if tried < len(chosen) and monitor.stopped:
            break
    else:
        tried = len(chosen)
    missing = {dataset.keys[int(index)] for index in chosen[:tried]} & inputs.skipped.keys()
    skipped = {key: inputs.skipped[key] for key in sorted(missing)}
    if not parts:
        reason = next(iter(skipped.values()), "there is none in these splits without a mask.")
        raise DataError(f"No image could be looked at: {reason}")
    tables = (np.concatenate(part) for part in zip(*parts, strict=True))
    read, predicted, second, certainty, margin, maps, looks, filters = tables
    return MapScan(
        indices=read,
        labels=dataset.labels[read],
        predicted=predicted,
        second=second,
        certainty=certainty,
        margin=margin,
        maps=maps,
        looks=looks,
        filters=filters,
        method=method,
        total=len(indices),
        skipped=skipped,
        complete=tried == len(chosen),
    )


def draw(indices: np.ndarray, most: int, keep: np.ndarray | None, seed: int) -> np.ndarray:
    """Return up to `most` of some items, ascending; those to keep, up to half of `most`, are always among them."""
    indices = np.unique(indices)
    if len(indices) <= most:
        return indices
    rng = np.random.default_rng(seed)
    kept = np.intersect1d(indices, keep) if keep is not None else np.empty(0, np.int64)
    kept = rng.permutation(kept)[: most // 2]
    others = rng.permutation(np.setdiff1d(indices, kept))[: most - len(kept)]
    return np.sort(np.concatenate([kept, others]))


def _tables(logits: torch.Tensor, maps: torch.Tensor, activations: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Return predicted, second, certainty, margin, maps, looks, filters of a batch."""
    best = logits.float().softmax(1).topk(min(2, logits.shape[1]), dim=1)
    certainty = best.values[:, 0]
    margin = certainty - best.values[:, 1] if best.values.shape[1] > 1 else certainty
    positive, activations = maps.float().clamp_min(0), activations.float()
    mass = positive.sum((1, 2), keepdim=True)
    weights = positive / mass.clamp_min(torch.finfo(torch.float32).tiny)
    # Without any evidence the whole image counts.
    weights = torch.where(mass > 0, weights, torch.full_like(weights, 1 / weights[0].numel()))
    looks = torch.einsum("nfhw,nhw->nf", activations, weights)
    size = (min(GRID, maps.shape[1]), min(GRID, maps.shape[2]))
    small = torch.nn.functional.adaptive_avg_pool2d(positive[:, None], size)[:, 0]
    small = small / small.sum((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    found = (best.indices[:, 0], best.indices[:, -1], certainty, margin, small, looks, activations.mean((2, 3)))
    return tuple(part.cpu().numpy() for part in found)
