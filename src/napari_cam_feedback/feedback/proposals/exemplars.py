"""The painted images that others are compared with, and the places in which they were painted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.explanations.filters.features import batch_for
from napari_cam_feedback.feedback.masks.size import check_mask
from napari_cam_feedback.models.classifier import Classifier

#: Painted images that are learnt from, at most; of more, as many are drawn with the seed.
MAX_DONORS = 64
#: Masks that overlap by at least so much (intersection over union) are in the same place.
SAME_PLACE = 0.5


@dataclass(frozen=True)
class Donor:
    """A painted image.

    Attributes
    ----------
    index, key : int, str
        The item.
    image : ndarray
        (H, W) or (H, W, 3) as read.
    mask : ndarray
        (H, W) bool.
    place : int
        Number of its place among `Donors.places`.
    """

    index: int
    key: str
    image: np.ndarray
    mask: np.ndarray
    place: int


@dataclass(frozen=True)
class Place:
    """Where one or more painted images were painted, in the network's input.

    Attributes
    ----------
    donor : int
        Number of the donor whose mask stands for the place: the first.
    count : int
        How many of the painted images were painted there.
    """

    donor: int
    count: int


@dataclass(frozen=True)
class Donors:
    """All painted images that are learnt from.

    Attributes
    ----------
    donors : tuple of Donor
        The images.
    places : tuple of Place
        Where they were painted, the most frequent place first.
    """

    donors: tuple[Donor, ...]
    places: tuple[Place, ...]


def read_donors(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    *,
    keys: list[str],
    seed: int = 0,
    inputs: InputCache | None = None,
) -> Donors:
    """Read painted images.

    Parameters
    ----------
    classifier : Classifier
        In whose input places are compared, so that images of several sizes can have the same.
    dataset : Dataset
        Where the items are.
    masks : mapping
        Key to (H, W) bool.
    keys : list of str
        The painted images to learn from.
    seed : int
        Which of them, where there are more than `MAX_DONORS`.
    inputs : InputCache, optional
        Its `skipped` tells which images could not be read.

    Raises
    ------
    MaskError
        Nothing is painted, or a mask is not of its image's size.
    """
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    if len(keys) > MAX_DONORS:
        keys = sorted(np.random.default_rng(seed).permutation(np.array(keys, object))[:MAX_DONORS].tolist())
    found = {dataset.index_of(key): np.asarray(masks[key]) != 0 for key in keys}
    found = {index: mask for index, mask in sorted(found.items()) if mask.any()}
    for index, mask in found.items():
        check_mask(dataset, index, mask)
    read = [
        index for picked, _ in inputs.batches(found, batch_for(classifier.preprocessing.size)) for index in picked.tolist()
    ]
    if not read:
        raise MaskError("No training or validation image is painted yet; paint what is irrelevant on one or more first.")
    places, member = _places([classifier.preprocessing.mask(found[index]).numpy() for index in read])
    donors = tuple(
        Donor(index, dataset.keys[index], dataset.read(index), found[index], member[n]) for n, index in enumerate(read)
    )
    return Donors(donors, places)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return intersection over union of two masks (H, W) bool; 0 where both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def _places(masks: list[np.ndarray]) -> tuple[tuple[Place, ...], list[int]]:
    """Gather masks that lie in the same place; return the places and each mask's."""
    firsts: list[int] = []
    member: list[int] = []
    for n, mask in enumerate(masks):
        same = [p for p, first in enumerate(firsts) if overlap(masks[first], mask) >= SAME_PLACE]
        if not same:
            firsts.append(n)
        member.append(same[0] if same else len(firsts) - 1)
    counts = np.bincount(member, minlength=len(firsts))
    order = np.argsort(-counts, kind="stable")
    number = {int(old): new for new, old in enumerate(order)}
    return tuple(Place(firsts[p], int(counts[p])) for p in order), [number[m] for m in member]
