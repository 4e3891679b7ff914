"""The penalties on what the target layer does under a mask, as plain functions of tensors."""

from __future__ import annotations

from napari_cam_feedback.torch_loader import torch


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
    return (activations.abs() * masks[:, None]).sum() / activations.shape[0]


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
    total = (activations.abs() * masks[:, None]).sum((1, 2, 3))
    mean = total / (activations.shape[1] * (places + 1))
    return (mean * base ** (true_probability / threshold)).mean()


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
