"""The penalties on what a network does with what is under a mask, as plain functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.torch_loader import torch

#: Below this a sum is taken for nothing; what is divided by it has been brought to the order of 1 before.
_NOTHING = 1e-12


def pas(activations: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Penalised activations, (1/N) sum |m' a| (Ferrada 2019, PAS).

    Parameters
    ----------
    activations : Tensor
        (N, F, h, w) float.
    masks : Tensor
        (N, h, w) bool, irrelevant places.

    Returns
    -------
    Tensor
        Scalar, without the factor lambda.
    """
    return _under(activations, masks).sum() / activations.shape[0]


def pasa(
    activations: torch.Tensor,
    masks: torch.Tensor,
    true_probability: torch.Tensor,
    *,
    base: float = 0.4,
    threshold: float = 0.7,
) -> torch.Tensor:
    """Adaptive PAS, the mean over images of Act * base^(p_y / threshold) (Ferrada 2019, PASA).

    Act = sum |m' a| / (F (|m'| + 1)) is the mean activation under the mask. With base < 1 the penalty falls as the true
    class gets likelier; with base > 1 it rises, which is needed where the model is sure already.

    Parameters
    ----------
    activations : Tensor
        (N, F, h, w) float.
    masks : Tensor
        (N, h, w) bool, irrelevant places.
    true_probability : Tensor
        (N,) float in 0..1, probability of the true class.
    base, threshold : float
        B and th.

    Returns
    -------
    Tensor
        Scalar.
    """
    places = masks.sum((1, 2))
    total = _under(activations, masks)
    mean = total / (activations.shape[1] * (places + 1))
    return (mean * base ** (true_probability / threshold)).mean()


def _under(activations: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the sum of |m' a| of each image (N,); the filters are summed first, which needs no masked copy of them."""
    return (activations.abs().sum(1) * masks).sum((1, 2))


def actdiff(features: torch.Tensor, refilled_features: torch.Tensor) -> torch.Tensor:
    """Activation difference, the mean over images of ||z(x) - z(x~)||_2 (Viviano et al. 2021, equation 2).

    Parameters
    ----------
    features, refilled_features : Tensor
        (N, F) float, pooled features of the images and of the same images with the masked part refilled.

    Returns
    -------
    Tensor
        Scalar.
    """
    # The norm has no gradient at zero, where an image does not change at all.
    return (features - refilled_features).square().sum(1).add(1e-12).sqrt().mean()


def tap(layers: Sequence[torch.Tensor], masks: torch.Tensor) -> torch.Tensor:
    """Targeted activation penalty: PAS on several layers at once (Zhang et al. 2024, TAP).

    The mean over layers and images of the mean |a| under m', in units of the layer's mean |a| over all places. That unit
    (a constant for the gradient) is ours: without it the layer with the most filters, places or the largest numbers would
    be the only one to count.

    Parameters
    ----------
    layers : sequence of Tensor
        (N, F, h, w) float each, of its own F, h and w.
    masks : Tensor
        (N, H, W) bool in input pixels.

    Returns
    -------
    Tensor
        Scalar; about 1 where the network does under the mask what it does elsewhere.
    """
    terms = []
    for activations in layers:
        places = masks_at_layer(masks, (activations.shape[2], activations.shape[3]))
        count = activations.shape[1] * places.sum((1, 2)).clamp_min(1)
        under = _under(activations, places) / count
        terms.append(under.mean() / activations.detach().abs().mean().clamp_min(_NOTHING))
    return torch.stack(terms).mean()


def rrr(network: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Right for the right reasons, the mean over images of sum (m df/dx)^2 (Ross et al. 2017).

    f is the logit of the predicted class, where the paper takes the sum of all log probabilities: that has no gradient left
    where the model is sure, and a model that learnt a shortcut is sure.

    Parameters
    ----------
    network : callable
        Inputs (N, C, h, w) to logits (N, K), with a graph that can be differentiated twice.
    inputs : Tensor
        (N, C, h, w) float.
    masks : Tensor
        (N, h, w) bool, irrelevant pixels.

    Returns
    -------
    Tensor
        Scalar, without the factor lambda.
    """
    inputs = inputs.detach().requires_grad_(True)
    logits = network(inputs).float()
    chosen = logits.gather(1, logits.argmax(1, keepdim=True))
    (gradient,) = torch.autograd.grad(chosen.sum(), inputs, create_graph=True)
    return (gradient.float().square() * masks[:, None]).sum() / len(inputs)


def gradcam(logits: torch.Tensor, classes: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    """Signed Grad-CAM maps that can be learnt from (Selvaraju et al. 2017, equations 1 and 2 without the final ReLU).

    Parameters
    ----------
    logits : Tensor
        (N, K), computed from the activations.
    classes : Tensor
        (N,) int64, whose logit is explained.
    activations : Tensor
        (N, F, h, w), in the graph of the logits.

    Returns
    -------
    Tensor
        (N, h, w) float; gradients pass through the activations and through their weights.
    """
    total = logits.gather(1, classes[:, None]).sum()
    (gradients,) = torch.autograd.grad(total, activations, create_graph=True)
    return (gradients.mean((2, 3), keepdim=True) * activations).sum(1).float()


def rrr_gradcam(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Share of the maps' squares under the masks, the mean over images of sum (m' M)^2 / sum M^2.

    After RRR-G (Schramowski et al. 2020) and RRR-GradCAM (Friedrich et al. 2023), which sum (m' M)^2 of Grad-CAM maps M of
    the predicted class, stretched to 0..1. Here M keeps its sign, so that evidence against the class counts too, and is
    divided by its norm: a smaller map, as of weaker activations, is no better, and no noise is stretched.

    Parameters
    ----------
    maps : Tensor
        (N, h, w) float, signed.
    masks : Tensor
        (N, h, w) bool.

    Returns
    -------
    Tensor
        Scalar in 0..1.
    """
    squares = _scaled(maps).square()
    return _share(squares, masks)


def energy(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Share of the positive part of the maps under the masks, the mean over images of sum m' M+ / sum M+.

    The energy pointing game as a loss (Rao et al. 2023), which wants the positive attribution of the true class inside a
    box; the mask says where it is not to be. A map without a positive part counts zero.

    Parameters
    ----------
    maps : Tensor
        (N, h, w) float, signed.
    masks : Tensor
        (N, h, w) bool.

    Returns
    -------
    Tensor
        Scalar in 0..1.
    """
    return _share(_scaled(maps).relu(), masks)


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    # Shares do not depend on the scale, so that it can be a constant for the gradient; it keeps squares from underflowing.
    return maps / maps.detach().abs().amax((1, 2), keepdim=True).clamp_min(1e-30)


def _share(amounts: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    inside = (amounts * masks).sum((1, 2))
    return (inside / amounts.sum((1, 2)).clamp_min(_NOTHING)).mean()
