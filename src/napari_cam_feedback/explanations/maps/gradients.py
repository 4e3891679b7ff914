"""Attribution methods that weigh the activations by the gradients of a class's logit."""

from __future__ import annotations

from abc import abstractmethod

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.explanations.maps.base import AttributionMethod, MapBatch, fill_in_predicted
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch


class GradientMethod(AttributionMethod):
    """Sum over the filters of a weight times the activation; a subclass says how gradients become weights.

    The graph is needed only above the target layer, so this costs little more than a forward pass: the layer's output is
    cut from what lies below and made a leaf (see `ActivationTap`).
    """

    @abstractmethod
    def weigh(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Return the weights of the activations.

        Parameters
        ----------
        activations : Tensor
            (N, F, h, w) a.
        gradients : Tensor
            (N, F, h, w) d logit_c / d a, each image's for its class.

        Returns
        -------
        Tensor
            (N, F), or (N, F, h, w) where places of a filter are weighed differently.
        """

    def __call__(self, classifier: Classifier, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> MapBatch:
        """Return signed maps; see `AttributionMethod`."""
        inputs = inputs.to(classifier.device)
        # Whoever calls may have switched gradients off, as is the custom around predictions.
        with torch.inference_mode(False), torch.enable_grad():
            with classifier.tap(cut=True) as tap:
                logits = classifier.module(inputs)
                leaf = tap.take()
            chosen = fill_in_predicted(logits.detach(), classes)
            if not logits.requires_grad:
                raise ModelError(
                    f"The logits do not depend on layer {classifier.target_layer!r}; choose another target layer."
                )
            activations = leaf.detach()
            maps, contributions = [], []
            for column in range(chosen.shape[1]):
                # Images do not see each other in evaluation mode, so one backward pass serves the whole batch.
                total = logits.gather(1, chosen[:, column : column + 1]).sum()
                (gradients,) = torch.autograd.grad(total, leaf, retain_graph=column + 1 < chosen.shape[1])
                weights = self.weigh(activations, gradients)
                axes = "nf" if weights.ndim == 2 else "nfhw"
                maps.append(torch.einsum(f"{axes},nfhw->nhw", weights, activations))
                contributions.append(torch.einsum(f"{axes},nfhw->nf", weights, activations) / activations[0, 0].numel())
        return MapBatch(logits.detach(), chosen, activations, torch.stack(contributions, 1), torch.stack(maps, 1))


class GradCam(GradientMethod):
    """Gradient-weighted class activation map, sum_d GAP(d logit_c / d a_d) a_d (Selvaraju et al. 2017, equations 1, 2).

    The paper's final ReLU is left to the display: raw maps keep their sign. With a linear head after global average
    pooling it is CAM divided by the number of places.
    """

    name = "gradcam"
    title = "Grad-CAM"
    description = "the mean gradient of each filter times its activation; any network"

    def weigh(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """GAP(g_d), equation 1."""
        return gradients.mean((2, 3))


class HiResCam(GradientMethod):
    """High-resolution CAM, sum_d (d logit_c / d a_d) * a_d, place by place (Draelos and Carin 2020, arXiv 2011.08891).

    Where only linear layers and pooling follow the target layer, its sum over places is the logit without the bias.
    """

    name = "hirescam"
    title = "HiResCAM"
    description = "gradients times activations, place by place; shows what the logit was computed from"

    def weigh(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """g_d, as it is."""
        return gradients


class LayerCam(GradientMethod):
    """LayerCAM, sum_d relu(d logit_c / d a_d) * a_d, place by place (Jiang et al. 2021)."""

    name = "layercam"
    title = "LayerCAM"
    description = "positive gradients times activations, place by place; fine detail in early layers"

    def weigh(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """relu(g_d)."""
        return gradients.relu()


class XGradCam(GradientMethod):
    """XGrad-CAM, each filter's gradients averaged in proportion to its activation (Fu et al. 2020, arXiv 2008.02312).

    The weight of filter d is sum_ij a_dij g_dij / sum_ij a_dij; zero where a filter's activations sum to zero.
    """

    name = "xgradcam"
    title = "XGrad-CAM"
    description = "gradients averaged where the filter is active, times its activation"

    def weigh(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """The mean of g_d, weighted by a_d."""
        total = activations.sum((2, 3))
        # An activation that sums to nothing (a dead filter) has no such mean, and nothing to weigh.
        silent = total.abs() <= 1e-12 * activations[0, 0].numel()
        return torch.where(silent, 0.0, (activations * gradients).sum((2, 3)) / torch.where(silent, 1.0, total))


class GradCamPlusPlus(GradientMethod):
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063, equation 19).

    The weight of filter d is sum_ij alpha_dij relu(g_dij) with alpha_dij = g_dij^2 / (2 g_dij^2 + sum_ab a_dab g_dij^3),
    zero where g_dij is zero. The paper takes the gradient of exp(logit); that factor, the same for the whole map of an
    image, is left out, since it overflows.
    """

    name = "gradcam++"
    title = "Grad-CAM++"
    description = "positive gradients, weighted so that several objects of a class show alike"

    def weigh(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """sum_ij alpha_dij relu(g_dij)."""
        # Divided by g^2, which underflows: alpha = 1 / (2 + sum(a) g). Only positive gradients count in the end.
        below = 2 + activations.sum((2, 3), keepdim=True) * gradients
        alpha = torch.where(below == 0, 0.0, 1 / torch.where(below == 0, 1.0, below))
        return (alpha * gradients.relu()).sum((2, 3))
