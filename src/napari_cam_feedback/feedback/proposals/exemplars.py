"""What the painted images teach about where else to paint: the places, the filters, and the patches."""

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
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.torch_loader import torch

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
    mask : Tensor
        (h, w) bool at the target layer.
    donor : int
        Number of the donor whose mask stands for the place: the first.
    count : int
        How many of the painted images were painted there.
    """

    mask: torch.Tensor
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
    weights : Tensor
        (F,) float32: the response of a place is the weighted sum of its activations. The weight of a filter is its excess
        under the masks over its variance, as of a linear discriminant with a diagonal covariance; filters that are quieter
        there have no weight, for they tell what is not there.
    offset : float
        Mean response of places that are not masked; subtracted.
    unit : float
        Mean response of masked places, less the offset; responses are divided by it. So 0 is what is usual elsewhere, 1
        what is usual under the masks.
    inside : float
        Median over the painted images of the mean response under the mask, in their map enlarged to the image.
    """

    donors: tuple[Donor, ...]
    places: tuple[Place, ...]
    weights: torch.Tensor
    offset: float
    unit: float
    inside: float

    def response(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the response (N, h, w) of activations (N, F, h, w)."""
        raw = torch.einsum("nfhw,f->nhw", activations.float(), self.weights.to(activations.device))
        return (raw - self.offset) / self.unit


def read_donors(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    *,
    keys: list[str],
    seed: int = 0,
    inputs: InputCache | None = None,
) -> Donors:
    """Learn from painted images.

    Parameters
    ----------
    classifier : Classifier
        Whose filters.
    dataset : Dataset
        Where the items are.
    masks : mapping
        Key to (H, W) bool.
    keys : list of str
        The painted images to learn from.
    seed : int
        Which of them, where there are more than `MAX_DONORS`.
    inputs : InputCache, optional
        Inputs read before.

    Raises
    ------
    MaskError
        Nothing is painted, or a mask is not of its image's size.
    ModelError
        The target layer has no places.
    """
    classifier.check_places("proposals")
    inputs = inputs or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    if len(keys) > MAX_DONORS:
        keys = sorted(np.random.default_rng(seed).permutation(np.array(keys, object))[:MAX_DONORS].tolist())
    found = {dataset.index_of(key): np.asarray(masks[key]) != 0 for key in keys}
    found = {index: mask for index, mask in sorted(found.items()) if mask.any()}
    for index, mask in found.items():
        check_mask(dataset, index, mask)
    read: list[int] = []
    parts: list[torch.Tensor] = []
    for picked, batch in inputs.batches(found, batch_for(classifier.preprocessing.size)):
        read += picked.tolist()
        parts.append(classifier.forward_with_activations(batch)[1].float().cpu())
    if not read:
        raise MaskError("No training or validation image is painted yet; paint what is irrelevant on one or more first.")
    activations = torch.cat(parts)
    size = (activations.shape[2], activations.shape[3])
    at_input = torch.stack([classifier.preprocessing.mask(found[index]) for index in read])
    at_layer = masks_at_layer(at_input, size)
    places, member = _places(at_input, at_layer)
    donors = tuple(
        Donor(index, dataset.keys[index], dataset.read(index), found[index], member[n]) for n, index in enumerate(read)
    )
    weights, offset, unit = discriminant(activations, at_layer)
    response = (torch.einsum("nfhw,f->nhw", activations, weights) - offset) / unit
    enlarged = [classifier.preprocessing.to_image(response[n], d.mask.shape).numpy() for n, d in enumerate(donors)]
    inside = float(np.median([values[donor.mask].mean() for values, donor in zip(enlarged, donors, strict=True)]))
    return Donors(donors, places, weights, offset, unit, max(inside, 1e-6))


def discriminant(activations: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Return weights (F,), offset and unit of the response, see `Donors`.

    Parameters
    ----------
    activations : Tensor
        (N, F, h, w) float.
    masks : Tensor
        (N, h, w) bool.
    """
    flat, inside = activations.double().movedim(1, 3).flatten(0, 2), masks.flatten()
    under = flat[inside].mean(0)
    # A mask over everything leaves nothing to compare with.
    outside = flat[~inside] if bool((~inside).any()) else flat
    rest, variance = outside.mean(0), flat.var(0, unbiased=False)
    varies = variance > 1e-9 * flat.square().mean(0).clamp_min(1e-30)
    weights = torch.where(varies, (under - rest).clamp_min(0) / variance.clamp_min(1e-30), torch.zeros_like(variance))
    offset = float(rest @ weights)
    unit = float(under @ weights) - offset
    return weights.float(), offset, unit if unit > 1e-12 else 1.0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return intersection over union of two masks (H, W) bool; 0 where both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def _places(at_input: torch.Tensor, at_layer: torch.Tensor) -> tuple[tuple[Place, ...], list[int]]:
    """Gather masks that lie in the same place; return the places and each mask's."""
    firsts: list[int] = []
    member: list[int] = []
    for n, mask in enumerate(at_input):
        same = [p for p, f in enumerate(firsts) if overlap(at_input[f].numpy(), mask.numpy()) >= SAME_PLACE]
        if not same:
            firsts.append(n)
        member.append(same[0] if same else len(firsts) - 1)
    counts = np.bincount(member, minlength=len(firsts))
    order = np.argsort(-counts, kind="stable")
    number = {int(old): new for new, old in enumerate(order)}
    places = tuple(Place(at_layer[firsts[p]], firsts[p], int(counts[p])) for p in order)
    return places, [number[m] for m in member]
