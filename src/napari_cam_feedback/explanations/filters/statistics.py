"""Filters by class: where each is most active, histograms, contributions to classes, and activation under masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError, MaskError
from napari_cam_feedback.explanations.filters.features import Features, batch_for
from napari_cam_feedback.explanations.maps.gradients import HiResCam
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class ClassHistograms:
    """How often a filter's mean activation takes which value, class by class.

    Attributes
    ----------
    edges : ndarray
        (B + 1,) float64, common to all classes.
    counts : ndarray
        (K, B) int64; images without a label are not counted.
    """

    edges: np.ndarray
    counts: np.ndarray


def check_filter(number: int, filters: int) -> None:
    """Check that there is a filter of that number; raises ConfigError."""
    if not 0 <= number < filters:
        raise ConfigError(f"There is no filter {number}; the target layer's filters are 0 to {filters - 1}.")


def top_images(
    features: Features, number: int, count: int = 9, *, by: Literal["mean", "maximum"] = "mean", label: int | None = None
) -> np.ndarray:
    """Return the items in which a filter is most active, the most active first.

    Parameters
    ----------
    features : Features
        Of the split.
    number : int
        Filter.
    count : int
        How many at most.
    by : str
        ``mean`` over the image, or its ``maximum``.
    label : int, optional
        Images of this class only.

    Returns
    -------
    ndarray
        int64 indices into the dataset.

    Raises
    ------
    ConfigError
        There is no such filter.
    """
    check_filter(number, features.filters)
    values = (features.mean if by == "mean" else features.maximum)[:, number]
    rows = np.arange(len(features)) if label is None else np.flatnonzero(features.labels == label)
    order = np.argsort(-values[rows], kind="stable")[:count]
    return features.indices[rows[order]]


def class_histograms(features: Features, number: int, bins: int = 32) -> ClassHistograms:
    """Count a filter's mean activations in equal bins between the least and the greatest, for each class.

    Raises
    ------
    ConfigError
        There is no such filter.
    """
    check_filter(number, features.filters)
    values = features.mean[:, number].astype(np.float64)
    edges = np.histogram_bin_edges(values, bins)
    counts = [np.histogram(values[features.labels == label], edges)[0] for label in range(len(features.class_names))]
    return ClassHistograms(edges, np.stack(counts).astype(np.int64))


def class_means(features: Features) -> np.ndarray:
    """Return the mean activation of each filter over the images of each class, (K, F) float32; NaN without images."""
    found = np.full((len(features.class_names), features.filters), np.nan, np.float32)
    for label in range(len(found)):
        rows = features.labels == label
        if rows.any():
            found[label] = features.mean[rows].mean(0, dtype=np.float64)
    return found


def class_contributions(
    classifier: Classifier, features: Features, dataset: Dataset | None = None, *, per_class: int = 8
) -> np.ndarray | None:
    """Return what each filter contributes to each class's logit, on average over the images of the class.

    With a linear head after global average pooling that is W[c, d] times the mean activation of filter d over the images
    of class c; over the filters it sums to the mean logit less the bias. Other models have no fixed weights: then it is
    HiResCAM's, d logit_c / d a_d times a_d summed over places, averaged over some images of class c. The two agree where
    there is a head.

    Parameters
    ----------
    classifier : Classifier
        That the features are of.
    features : Features
        Of a split with labels.
    dataset : Dataset, optional
        Needed without a linear head, to read images from.
    per_class : int
        Images of each class that gradients are taken of, without a linear head; the first ones.

    Returns
    -------
    ndarray or None
        (K, F) float32, NaN for classes without images; None where there is neither head nor dataset.

    Raises
    ------
    ModelError
        The logits do not depend on the target layer.
    """
    means = class_means(features)
    if classifier.head is not None:
        return classifier.head.weight.detach().float().cpu().numpy() * means
    if dataset is None:
        return None
    found = np.full(means.shape, np.nan, np.float32)
    inputs = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    method = HiResCam()
    for label in range(len(means)):
        rows = np.flatnonzero(features.labels == label)[:per_class]
        parts = []
        for _, batch in inputs.batches(features.indices[rows], batch_for(classifier.preprocessing.size)):
            maps = method(classifier, batch, torch.full((len(batch), 1), label))
            parts.append(maps.contributions[:, 0].float().cpu().numpy() * maps.activations[0, 0].numel())
        if parts:
            found[label] = np.concatenate(parts).mean(0)
    return found


@dataclass(frozen=True)
class MaskActivation:
    """How active the filters are where masks are, and elsewhere.

    Attributes
    ----------
    inside, outside : ndarray
        (F,) float32, mean activation over the places under the masks, and over the others of the same images.
    spread : ndarray
        (F,) float32, standard deviation of the activation over all places of these images.
    images : int
        Images with a mask that were looked at.
    """

    inside: np.ndarray
    outside: np.ndarray
    spread: np.ndarray
    images: int

    @property
    def excess(self) -> np.ndarray:
        """(F,) float32, `inside` less `outside` in standard deviations of the filter; 0 for one that is constant."""
        difference = self.inside - self.outside
        return np.divide(difference, self.spread, out=np.zeros_like(difference), where=self.spread > 0)

    @property
    def order(self) -> np.ndarray:
        """(F,) int64, filters by `excess`, those that look at the masks most first."""
        return np.argsort(-self.excess, kind="stable")


@takes_monitor
def activation_under_masks(
    classifier: Classifier, dataset: Dataset, masks: Mapping[str, np.ndarray], *, monitor: Monitor = QUIET
) -> MaskActivation:
    """Find which filters look at what is masked, over all masked images.

    Parameters
    ----------
    classifier : Classifier
        Whose filters.
    dataset : Dataset
        Where the items are.
    masks : mapping
        Key to (H, W) bool; a `MaskStore` will do. Masks of other datasets' items are left out.
    monitor : Monitor, optional
        As of `features_of`; what was seen until a stop counts.

    Raises
    ------
    MaskError
        No image of the dataset has a mask, or one is not of its image's size.
    ModelError
        The target layer has no places.
    """
    classifier.check_places("activation under a mask")
    indices = np.array(sorted(dataset.index_of(key) for key in masks if key in dataset.keys), np.int64)
    inputs = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    inside = outside = squares = np.zeros(0)
    places_inside = places_outside = images = 0
    for picked, batch in inputs.batches(indices, batch_for(classifier.preprocessing.size)):
        at_input = []
        for index in picked:
            key, size = dataset.keys[int(index)], dataset.image_size(int(index))
            mask = np.asarray(masks[key]) != 0
            if mask.shape != tuple(size):
                shape = "x".join(str(n) for n in mask.shape)
                raise MaskError(
                    f"The mask of {key} is {shape} pixels and its image {size[0]}x{size[1]}; paint it on its own image."
                )
            at_input.append(classifier.preprocessing.mask(mask))
        _, activations = classifier.forward_with_activations(batch)
        small = masks_at_layer(torch.stack(at_input), (activations.shape[2], activations.shape[3])).to(activations.device)
        # Summed within images where they are, over images in double precision, which not every device has.
        values, at = activations.float(), small.float()
        under = torch.einsum("nfhw,nhw->nf", values, at).cpu().numpy().sum(0, dtype=np.float64)
        rest = torch.einsum("nfhw,nhw->nf", values, 1 - at).cpu().numpy().sum(0, dtype=np.float64)
        square = values.square().sum((2, 3)).cpu().numpy().sum(0, dtype=np.float64)
        inside, outside, squares = (inside + under, outside + rest, squares + square) if images else (under, rest, square)
        places_inside += int(small.sum())
        places_outside += small.numel() - int(small.sum())
        images += len(picked)
        monitor.progress(images, len(indices))
        if monitor.stopped:
            break
    if not places_inside:
        raise MaskError("None of these images has a mask yet; paint what is irrelevant on some of them first.")
    places = places_inside + places_outside
    variance = np.maximum(squares / places - np.square((inside + outside) / places), 0)
    # What rounding leaves of a constant filter is no spread.
    variance[variance <= 1e-6 * squares / places] = 0
    return MaskActivation(
        (inside / places_inside).astype(np.float32),
        (outside / max(places_outside, 1)).astype(np.float32),
        np.sqrt(variance).astype(np.float32),
        images,
    )
