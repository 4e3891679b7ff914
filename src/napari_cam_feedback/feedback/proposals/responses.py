"""How strongly the filters respond that are active under the paint, of the network that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.explanations.filters.features import batch_for
from napari_cam_feedback.feedback.proposals.exemplars import Donor
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class FilterResponse:
    """A weighted sum of filters that tells painted places from others.

    Attributes
    ----------
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

    weights: torch.Tensor
    offset: float
    unit: float
    inside: float

    def __call__(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the response (N, h, w) of activations (N, F, h, w)."""
        raw = torch.einsum("nfhw,f->nhw", activations.float(), self.weights.to(activations.device))
        return (raw - self.offset) / self.unit


def learn_response(classifier: Classifier, donors: Sequence[Donor], inputs: InputCache) -> FilterResponse:
    """Learn which filters are active under the paint; raises ModelError where the target layer has no places."""
    classifier.check_places("proposals")
    preprocessing = classifier.preprocessing
    batches = inputs.batches([donor.index for donor in donors], batch_for(preprocessing.size))
    activations = torch.cat([classifier.forward_with_activations(batch)[1].float().cpu() for _, batch in batches])
    at_input = torch.stack([preprocessing.mask(donor.mask) for donor in donors])
    at_layer = masks_at_layer(at_input, (activations.shape[2], activations.shape[3]))
    weights, offset, unit = discriminant(activations, at_layer)
    response = FilterResponse(weights, offset, unit, 1.0)(activations)
    enlarged = [preprocessing.to_image(response[n], donor.mask.shape).numpy() for n, donor in enumerate(donors)]
    inside = float(np.median([values[donor.mask].mean() for values, donor in zip(enlarged, donors, strict=True)]))
    return FilterResponse(weights, offset, unit, max(inside, 1e-6))


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
