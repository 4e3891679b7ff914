"""Attribution methods: how much each place of the target layer speaks for a class. Maps are signed and raw.

The graph is needed only above the target layer, so a gradient method costs little more than a forward pass: the layer's
output is cut from what lies below and made a leaf (see `ActivationTap`).
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.taps import ActivationTap
from napari_cam_feedback.torch_loader import torch


class MapBatch(NamedTuple):
    """What a method finds in a batch of N images.

    Attributes
    ----------
    logits : Tensor
        (N, K) float.
    classes : Tensor
        (N, T) int64, the classes explained.
    activations : Tensor
        (N, F, h, w) float, the target layer's output.
    weights : Tensor
        (N, T, F) float: weight of each filter's activation for each of the T classes asked for.
    maps : Tensor
        (N, T, h, w) float, signed.
    """

    logits: torch.Tensor
    classes: torch.Tensor
    activations: torch.Tensor
    weights: torch.Tensor
    maps: torch.Tensor


class AttributionMethod(ABC):
    """A way to attribute a class's logit to places of the target layer."""

    name: ClassVar[str]
    description: ClassVar[str]

    @abstractmethod
    def __call__(self, classifier: Classifier, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> MapBatch:
        """Return signed maps at the target layer's size.

        Parameters
        ----------
        classifier : Classifier
            What to explain.
        inputs : Tensor
            (N, C, H, W) float inputs.
        classes : Tensor, optional
            (N, T) int64 indices of the classes to explain, -1 for the predicted one; by default the predicted one (T = 1).

        Raises
        ------
        ModelError
            The method does not suit the model.
        """


def _fill_in_predicted(logits: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    predicted = logits.argmax(1, keepdim=True)
    if classes is None:
        return predicted
    classes = classes.to(logits.device)
    return torch.where(classes < 0, predicted, classes)


class Cam(AttributionMethod):
    """Class activation map, sum_d W[c, d] a_d (Zhou et al. 2016, equation 2).

    Needs a linear head after global average pooling: then the logit is the map's mean plus the bias.
    """

    name = "cam"
    description = "CAM: the linear head's weights times the activations (needs global average pooling)"

    def __call__(self, classifier: Classifier, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> MapBatch:
        head = classifier.head
        if head is None:
            raise ModelError(
                "CAM needs a model whose target layer goes through global average pooling into one linear layer; "
                "use gradcam, which any convolutional network allows."
            )
        logits, activations = classifier.forward_with_activations(inputs)
        with torch.inference_mode():
            chosen = _fill_in_predicted(logits, classes)
            weights = head.weight[chosen]
            maps = torch.einsum("ntf,nfhw->nthw", weights, activations)
        return MapBatch(logits, chosen, activations, weights, maps)


class GradCam(AttributionMethod):
    """Gradient-weighted class activation map, sum_d GAP(d logit_c / d a_d) a_d (Selvaraju et al. 2017, equations 1, 2).

    The paper's final ReLU is left to the display: raw maps keep their sign. With a linear head after global average
    pooling it is CAM divided by the number of places.
    """

    name = "gradcam"
    description = "Grad-CAM: gradients of the class's logit, averaged over places, times the activations"

    def __call__(self, classifier: Classifier, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> MapBatch:
        inputs = inputs.to(classifier.device)
        # Whoever calls may have switched gradients off, as is the custom around predictions.
        with torch.inference_mode(False), torch.enable_grad():
            with ActivationTap(classifier.module, classifier.target_layer, cut=True) as tap:
                logits = classifier.module(inputs)
                leaf = tap.take()
            chosen = _fill_in_predicted(logits.detach(), classes)
            if not logits.requires_grad:
                raise ModelError(
                    f"The logits do not depend on layer {classifier.target_layer!r}; choose another target layer."
                )
            gradients = []
            for column in range(chosen.shape[1]):
                # Images do not see each other in evaluation mode, so one backward pass serves the whole batch.
                total = logits.gather(1, chosen[:, column : column + 1]).sum()
                (gradient,) = torch.autograd.grad(total, leaf, retain_graph=column + 1 < chosen.shape[1])
                gradients.append(gradient.mean((2, 3)))
        weights = torch.stack(gradients, 1)
        activations = leaf.detach()
        maps = torch.einsum("ntf,nfhw->nthw", weights, activations)
        return MapBatch(logits.detach(), chosen, activations, weights, maps)


METHODS: dict[str, type[AttributionMethod]] = {method.name: method for method in (Cam, GradCam)}


def get_method(name: str) -> AttributionMethod:
    """Return the method of that name.

    Raises
    ------
    ConfigError
        There is none; the nearest names are given.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(METHODS)}."
        raise ConfigError(f"There is no explain method {name!r}; {hint}")
    return METHODS[name]()


def default_method(classifier: Classifier) -> str:
    """Return ``cam`` where the model allows it, else ``gradcam``."""
    return Cam.name if classifier.head is not None else GradCam.name
