"""What a retune method is: something that adds a term to the loss, changes the images of a step, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.layers.target import default_layer
from napari_cam_feedback.retuning.images.masked_set import Batch
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    import numpy as np

    from napari_cam_feedback.models.classifier import Classifier
    from napari_cam_feedback.retuning.config import RetuneConfig
    from napari_cam_feedback.retuning.images.masked_set import MaskedSet
    from napari_cam_feedback.retuning.images.refill import Replacer


@dataclass
class Outputs:
    """What the network made of the painted images and of the extra images that a method asked for.

    Attributes
    ----------
    logits : Tensor
        (P, K) of the painted images.
    activations : Tensor or None
        (P, F, h, w) of the painted images at the target layer; None where no method needs the layer.
    extra_activations : Tensor or None
        (E, F, h, w) of this method's extra images.
    layers : dict of str to Tensor
        What the layers that a method asked for put out for the painted images, (P, ...), by dotted name.
    network : callable
        The network, for a further forward pass: inputs (M, C, h, w) to logits (M, K), with a graph.
    """

    logits: torch.Tensor
    activations: torch.Tensor | None = None
    extra_activations: torch.Tensor | None = None
    layers: dict[str, torch.Tensor] = field(default_factory=dict)
    network: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass
class Context:
    """What methods may know of a run.

    Attributes
    ----------
    config : RetuneConfig
        Settings.
    donors : MaskedSet
        All painted images that may be learnt from.
    replacer : Replacer
        Refills painted parts as the settings say.
    few_classes : bool
        Whether the training images show at most half of the network's classes.
    """

    config: RetuneConfig
    donors: MaskedSet
    replacer: Replacer
    few_classes: bool = False


class Method:
    """One way to use masks. Subclasses override as little as they need.

    Parameters
    ----------
    context : Context
        Settings and the painted images.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    #: Whether batch norm keeps its statistics unless the settings say otherwise.
    freezes_batch_norm: ClassVar[bool] = False
    #: Whether it looks at the activations of the target layer.
    needs_layer: ClassVar[bool] = False
    #: Whether these must be of places, not of the image as a whole.
    needs_places: ClassVar[bool] = False
    #: Whether its penalty is itself made of gradients.
    differentiates_twice: ClassVar[bool] = False
    #: Whether it has all images augmented.
    augments: ClassVar[bool] = False
    #: Whether the painted parts must be inpainted before the first step.
    needs_inpainting: ClassVar[bool] = False
    #: What to say where it has no wish for which images are drawn, and is of no use without.
    without_sampling_weights: ClassVar[str | None] = None
    #: Whether it can be used against what lies over whole images, where nothing is painted.
    takes_styles: ClassVar[bool] = False
    #: Whether it draws images with and without such a style equally often in each class, where nobody wishes otherwise.
    balances_styles: ClassVar[bool] = False
    #: Whether it can be joined with others by ``+``.
    composable: ClassVar[bool] = True
    #: Whether it solves for the weights at once, by `retuning.head_refit`, and takes no training steps.
    solves: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.donors = context.donors

    def check(self, classifier: Classifier) -> None:
        """Find out, before the first step, whether the classifier can be retuned so.

        Raises
        ------
        RetuneError
            It cannot; the sentence says why, and what to choose instead.
        """
        if not self.needs_places or classifier.layout.has_places:
            return
        placed = [info for info in classifier.layers if info.layout.has_places]
        layer = f"a layer with maps, such as {default_layer(placed)!r}, or " if placed else ""
        raise RetuneError(
            f"The method {self.name} must know where in the image an activation is, and layer {classifier.target_layer!r} "
            f"puts out {classifier.layout.filters} features of the image as a whole; choose {layer}the method actdiff or "
            "transplant."
        )

    def layers(self, classifier: Classifier) -> tuple[str, ...]:
        """Return dotted names of further layers whose outputs the penalty needs."""
        return ()

    def sampling_weights(self, wrong: Callable[[], np.ndarray]) -> np.ndarray | None:
        """Return how likely each training image is to be drawn, or None for all alike.

        Parameters
        ----------
        wrong : callable
            Returns bool (T,), which of the training images the classifier gets wrong at the start; costs a pass over them.

        Returns
        -------
        ndarray or None
            (T,) float that sum to 1.
        """
        return None

    def change(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch to train on."""
        return batch

    def extra_inputs(self, batch: Batch, generator: torch.Generator) -> torch.Tensor | None:
        """Return further images (P, C, h, w), one for each painted image, to send through the network for the penalty."""
        return None

    def intervene(self, activations: torch.Tensor, painted: slice, masks: torch.Tensor) -> torch.Tensor:
        """Return activations to go on with instead of the target layer's.

        Parameters
        ----------
        activations : Tensor
            (B, F, h, w) of all images of the step.
        painted : slice
            Rows of the P painted images.
        masks : Tensor
            (P, H, W) bool, their masks in input pixels.
        """
        return activations

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor | None:
        """Return a scalar to add to the cross-entropy, without its weight."""
        return None
