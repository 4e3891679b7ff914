"""What a step of the training takes: images, labels, and painted images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    import numpy as np

    from napari_cam_feedback.retuning.images.masked_set import MaskedSet


@dataclass
class Batch:
    """One step's images.

    Attributes
    ----------
    inputs : Tensor
        (N, C, h, w) training images.
    labels : Tensor
        (N,) int64.
    painted : MaskedSet
        P painted images.
    items : ndarray or None
        (N,) int64, which items of the dataset the training images are, before a method changed them.
    answers, painted_answers : Tensor or None
        (N, K) and (P, K), the given classifier's logits for the images as they were, rows of NaN where it was wrong; None
        where labels alone are the target (`retuning.optimisation.teacher`).
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    painted: MaskedSet
    items: np.ndarray | None = None
    answers: torch.Tensor | None = None
    painted_answers: torch.Tensor | None = None
