"""Probabilities that can be compared between models: softmax at the temperature that fits the labels.

A network grows surer of all that it says while it learns, and less sure where it learns to match many others' answers. With
the temperature of Guo et al. (2017, "On calibration of modern neural networks", section 4.2) that makes no difference.
"""

from __future__ import annotations

import math

from scipy.optimize import minimize_scalar

from napari_cam_feedback.torch_loader import torch

#: Temperatures that are tried, in standard deviations of the logits of an image. Where every image is right, the least fits
#: best, and probabilities are nearly 0 or 1.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 20.0


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the temperature T at which softmax(logits / T) has the least cross-entropy.

    Parameters
    ----------
    logits : Tensor
        (N, K) float.
    labels : Tensor
        (N,) int64.
    """

    def cross_entropy(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / math.exp(log_temperature), labels))

    spread = max(float(logits.std(1).mean()), 1e-12)
    bounds = math.log(MIN_TEMPERATURE * spread), math.log(MAX_TEMPERATURE * spread)
    return math.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x)


def smooth(
    before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[float, float, float]:
    """Return what two sets of logits (N, K) say at a temperature.

    Mean probability of the true class before and after, and the mean total variation distance between the two.
    """
    old, new = ((logits / temperature).softmax(1) for logits in (before, after))
    true = labels[:, None]
    return float(old.gather(1, true).mean()), float(new.gather(1, true).mean()), float((old - new).abs().sum(1).mean() / 2)
