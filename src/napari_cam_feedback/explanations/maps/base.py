"""Attribution maps: how much each place of the target layer speaks for a class. Maps are signed and raw.

What all methods share, and CAM; `gradient_methods` and `perturbation_methods` have the others, `methods` their names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.classifier import Classifier
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
    contributions : Tensor
        (N, T, F) float: the mean over places of each filter's part of the map, for each of the T classes asked for;
        their sum over the filters is the map's mean.
    maps : Tensor
        (N, T, h, w) float, signed.
    """

    logits: torch.Tensor
    classes: torch.Tensor
    activations: torch.Tensor
    contributions: torch.Tensor
    maps: torch.Tensor


class AttributionMethod(ABC):
    """A way to attribute a class's logit to places of the target layer.

    Attributes
    ----------
    name : str
        As the shell and scripts call it.
    title : str
        As people write it.
    description : str
        One line for a user who chooses.
    slow : bool
        Whether it takes hundreds of forward passes for an image.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    slow: ClassVar[bool] = False

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


def fill_in_predicted(logits: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    """Return the classes (N, T) int64 to explain: -1, and no classes at all, mean the predicted one."""
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
    title = "CAM"
    description = "the linear head's weights times the activations; needs global average pooling before it"

    def __call__(self, classifier: Classifier, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> MapBatch:
        head = classifier.head
        if head is None:
            raise ModelError(
                "CAM needs a model whose target layer goes through global average pooling into one linear layer; "
                "use gradcam, which any convolutional network allows."
            )
        logits, activations = classifier.forward_with_activations(inputs)
        with torch.no_grad():
            chosen = fill_in_predicted(logits, classes)
            weights = head.weight[chosen]
            maps = torch.einsum("ntf,nfhw->nthw", weights, activations)
            contributions = weights * activations.mean((2, 3))[:, None]
        return MapBatch(logits, chosen, activations, contributions, maps)
