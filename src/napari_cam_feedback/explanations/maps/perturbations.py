"""Attribution methods without gradients: what the logit does when a filter is shown alone, or taken away."""

from __future__ import annotations

from abc import abstractmethod

from napari_cam_feedback.explanations.maps.base import AttributionMethod, MapBatch, fill_in_predicted
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

# Altered copies of one image that run through the network together; bounds the memory.
COPIES = 32


class PerturbationMethod(AttributionMethod):
    """Sum over the filters of a weight times the activation; the weights come from altered forward passes.

    One forward pass for each filter and image: hundreds of times the cost of a gradient method.
    """

    slow = True

    @abstractmethod
    def weigh(
        self, classifier: Classifier, image: torch.Tensor, activations: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return each filter's weight for each class.

        Parameters
        ----------
        classifier : Classifier
            What to explain.
        image : Tensor
            (1, C, H, W) one input.
        activations : Tensor
            (1, F, h, w) of it.
        logits : Tensor
            (1, K) of it.

        Returns
        -------
        Tensor
            (F, K).
        """

    def __call__(self, classifier: Classifier, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> MapBatch:
        """Return signed maps; see `AttributionMethod`."""
        inputs = inputs.to(classifier.device)
        logits, activations = classifier.forward_with_activations(inputs)
        with torch.no_grad():
            chosen = fill_in_predicted(logits, classes)
            weights = torch.stack(
                [
                    self.weigh(classifier, inputs[n : n + 1], activations[n : n + 1], logits[n : n + 1])[:, chosen[n]].T
                    for n in range(len(inputs))
                ]
            )
            maps = torch.einsum("ntf,nfhw->nthw", weights, activations)
            contributions = weights * activations.mean((2, 3))[:, None]
        return MapBatch(logits, chosen, activations, contributions, maps)


class ScoreCam(PerturbationMethod):
    """Score-CAM (Wang et al. 2020, algorithm 1): each filter's weight is the logit of the image seen through it.

    The filter's activation, scaled to the image and to 0 ... 1, is multiplied onto the input; the logits of a class under
    all filters go through a softmax over the filters. (The paper's baseline, the same for all filters, falls out of
    that softmax.) Filters without any contrast show nothing of the image.
    """

    name = "scorecam"
    title = "Score-CAM"
    description = "the logit of the image seen through each filter; no gradients, slow"

    def weigh(
        self, classifier: Classifier, image: torch.Tensor, activations: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """softmax_d of the logits of the image times filter d."""
        scores = []
        for part in activations[0].split(COPIES):
            windows = torch.nn.functional.interpolate(
                part[:, None], size=image.shape[-2:], mode="bilinear", align_corners=False
            )
            low, high = windows.amin((2, 3), keepdim=True), windows.amax((2, 3), keepdim=True)
            windows = (windows - low) / (high - low).clamp(min=1e-12)
            scores.append(classifier.logits(image * windows))
        return torch.cat(scores).float().softmax(0)


class AblationCam(PerturbationMethod):
    """Ablation-CAM (Desai and Ramaswamy 2020): each filter's weight is the share of the logit that goes with it.

    (logit - logit without the filter) / logit. The division by the logit, the same for all filters of an image, would turn
    the map's sign with the sign of the logit; its absolute value is taken.
    """

    name = "ablationcam"
    title = "Ablation-CAM"
    description = "how much the logit drops without each filter; no gradients, slow"

    def weigh(
        self, classifier: Classifier, image: torch.Tensor, activations: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """(logit - logit without filter d) / |logit|."""
        filters = activations.shape[1]
        without = []
        for part in torch.arange(filters, device=activations.device).split(COPIES):
            altered = activations.expand(len(part), -1, -1, -1).clone()
            altered[torch.arange(len(part), device=part.device), part] = 0
            without.append(classifier.logits_from(altered, image))
        drop = logits - torch.cat(without)
        return drop / logits.abs().clamp(min=1e-6)
