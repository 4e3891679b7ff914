"""Masks made from a filter: where its map is above a percentile. They are ordinary masks, to be edited like any other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.filters.features import batch_for
from napari_cam_feedback.explanations.filters.gallery import seen_area
from napari_cam_feedback.explanations.filters.statistics import check_filter
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor

Over = Literal["image", "split"]

#: Images, and pixels of each, drawn with a seed, from which the threshold over a split is taken.
THRESHOLD_IMAGES = 500
THRESHOLD_PIXELS = 4096


def author_of(number: int) -> str:
    """Return what the index of the masks notes as the author of masks made from a filter."""
    return f"filter {number}"


@dataclass(frozen=True)
class FilterMask:
    """A mask made from a filter.

    Attributes
    ----------
    index, key : int, str
        The item.
    mask : ndarray
        (H, W) bool in image pixels; empty where nothing of the filter's map exceeds the threshold.
    threshold : float
        Activation above which a pixel is masked.
    """

    index: int
    key: str
    mask: np.ndarray
    threshold: float


@dataclass
class SavedMasks:
    """What became of masks that were to be saved.

    Attributes
    ----------
    written : list of str
        Keys of the masks saved.
    kept : list of str
        Keys that had a mask already, which was left as it is.
    empty : list of str
        Keys whose mask would have been empty.
    """

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        parts = [f"{len(self.written)} {_masks(len(self.written))} saved"]
        if self.kept:
            parts.append(f"{len(self.kept)} {_images(len(self.kept))} had a mask already, which was kept")
        if self.empty:
            parts.append(f"the filter stands out nowhere in {len(self.empty)} {_images(len(self.empty))}")
        return "; ".join(parts) + "."


@takes_monitor
def filter_masks(
    classifier: Classifier,
    dataset: Dataset,
    indices: Iterable[int],
    number: int,
    *,
    percentile: float = 70.0,
    over: Over = "image",
    split: str | None = "train",
    seed: int = 0,
    inputs: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> Iterator[FilterMask]:
    """Make masks of where a filter's map, brought to image pixels, is above a percentile; nothing is saved.

    Parameters
    ----------
    classifier : Classifier
        Whose filter.
    dataset : Dataset
        Where the items are.
    indices : iterable of int
        Which items; those that cannot be read are left out, see ``inputs.skipped``.
    number : int
        Filter.
    percentile : float
        0 up to 100 (excluded); a pixel is masked where the map is strictly above it, so a filter that is 0 in most places is
        masked only where it is active.
    over : str
        ``image`` (the default, as in Ferrada 2019): of each image's own map, which marks some of every image, and needs no
        other image. ``split``: of the maps of a split, one threshold for all, which leaves images empty where the filter
        is quieter than elsewhere; see `split_threshold`.
    split, seed : str, int
        For ``split``: whose maps, None for all; and which of them.
    inputs : InputCache, optional
        Inputs read before.
    monitor : Monitor, optional
        Told of masks made and in all.
        Once stopped, the work ends.

    Raises
    ------
    ConfigError
        There is no such filter or percentile; raised before the first mask.
    ModelError
        The target layer has no places; raised before the first mask.
    """
    _check(classifier, number, percentile, over)
    return _masks_of(
        classifier,
        dataset,
        np.fromiter(indices, np.int64),
        number,
        percentile,
        over,
        split,
        seed,
        inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0),
        monitor,
    )


def _masks_of(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    number: int,
    percentile: float,
    over: Over,
    split: str | None,
    seed: int,
    inputs: InputCache,
    monitor: Monitor,
) -> Iterator[FilterMask]:
    common: float | None = None
    if over == "split":
        common = split_threshold(
            classifier, dataset, number, percentile, split=split, seed=seed, inputs=inputs, monitor=monitor
        )
        if common is None:
            return
    done = 0
    for found in _maps(classifier, dataset, indices, number, inputs):
        for index, values, seen in found:
            threshold = _percentile(values[seen], percentile) if common is None else common
            # Bilinear weights leave rounding errors on a plateau, which are not above it.
            above = values > threshold + 1e-5 * float(np.abs(values).max(initial=0.0))
            yield FilterMask(index, dataset.keys[index], above & seen, threshold)
        done += len(found)
        monitor.progress(done, len(indices))
        if monitor.stopped:
            return


@takes_monitor
def split_threshold(
    classifier: Classifier,
    dataset: Dataset,
    number: int,
    percentile: float = 70.0,
    *,
    split: str | None = "train",
    seed: int = 0,
    inputs: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> float | None:
    """Return a percentile of a filter's maps over a split, in image pixels.

    It is taken from up to `THRESHOLD_IMAGES` images and `THRESHOLD_PIXELS` pixels of each, drawn with the seed, so that
    every image counts alike; None where it was stopped.

    Raises
    ------
    ConfigError
        There is no such filter or percentile.
    ModelError
        The target layer has no places.
    DataError
        There is no such split, or no image of it can be read.
    """
    _check(classifier, number, percentile, "split")
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    rng = np.random.default_rng(seed)
    indices = dataset.indices(split)
    indices = np.sort(rng.permutation(indices)[:THRESHOLD_IMAGES])
    values: list[np.ndarray] = []
    for found in _maps(classifier, dataset, indices, number, inputs):
        values += [rng.choice(map_[seen], min(THRESHOLD_PIXELS, int(seen.sum())), replace=False) for _, map_, seen in found]
        if monitor.stopped:
            return None
    if not values:
        raise DataError(
            f"No image of the split {split} could be read: {next(iter(inputs.skipped.values()), 'it has none.')}"
        )
    least = min(len(part) for part in values)
    return _percentile(np.concatenate([part[:least] for part in values]), percentile)


def save_filter_masks(masks: Iterable[FilterMask], store: MaskStore, *, author: str | None = None) -> SavedMasks:
    """Save masks made from a filter; one that was there already, painted or imported, is never overwritten.

    Parameters
    ----------
    masks : iterable of FilterMask
        As `filter_masks` yields them.
    store : MaskStore
        Where to.
    author : str, optional
        Noted in the index, as ``filter 12``.

    Raises
    ------
    StorageError
        A mask could not be written; those before it are.
    """
    result = SavedMasks()
    for found in masks:
        if found.key not in store and not found.mask.any():
            result.empty.append(found.key)
        elif store.add(found.key, found.mask, author=author):
            result.written.append(found.key)
        else:
            result.kept.append(found.key)
    return result


def _check(classifier: Classifier, number: int, percentile: float, over: str) -> None:
    check_filter(number, classifier.layout.filters)
    classifier.check_places("masks")
    if not 0 <= percentile < 100:
        raise ConfigError(f"The percentile cannot be {percentile:g}; choose one from 0 to below 100.")
    if over not in ("image", "split"):
        raise ConfigError(f"A percentile cannot be taken over {over!r}; choose image or split.")


def _maps(
    classifier: Classifier, dataset: Dataset, indices: np.ndarray, number: int, inputs: InputCache
) -> Iterator[list[tuple[int, np.ndarray, np.ndarray]]]:
    """Yield, batch by batch, item, map (H, W) float32 and what the network sees (H, W) bool."""
    preprocessing = classifier.preprocessing
    for picked, batch in inputs.batches(indices, batch_for(preprocessing.size)):
        _, activations = classifier.forward_with_activations(batch)
        maps = activations[:, number].float().cpu()
        found = []
        for n, index in enumerate(picked.tolist()):
            size = dataset.image_size(index)
            found.append((index, preprocessing.to_image(maps[n], size).numpy(), seen_area(preprocessing, size)))
        yield found


def _percentile(values: np.ndarray, percentile: float) -> float:
    # Of a value that occurs, so that a plateau at the percentile is not above it.
    return float(np.percentile(values, percentile, method="lower"))


def _masks(count: int) -> str:
    return "mask" if count == 1 else "masks"


def _images(count: int) -> str:
    return "image" if count == 1 else "images"
