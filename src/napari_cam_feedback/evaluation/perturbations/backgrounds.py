"""Where what is painted is all that surrounds an object: that object before what surrounds others."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.torch_loader import torch

#: Share of the image beyond which what is painted is no mark but the surroundings of what counts.
MAX_SHARE_OF_MARK = 0.5
#: Shifted copies of the surroundings that are laid into the hole where the object was, before what is left gets their mean.
MAX_COPIES = 60


def without_objects(inputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return what surrounds each image's object (P, C, h, w); where the object was, more of the same.

    The hole is filled from copies of the image itself, shifted at random around its edges, so that its texture goes on.

    Parameters
    ----------
    inputs : Tensor
        (P, C, h, w) float.
    masks : Tensor
        (P, h, w) bool, true everywhere but on the object.
    """
    rng = np.random.default_rng(0)
    filled, known = inputs.clone(), masks.clone()
    for _ in range(MAX_COPIES):
        if known.all():
            break
        shift = (int(rng.integers(inputs.shape[2])), int(rng.integers(inputs.shape[3])))
        copy, there = inputs.roll(shift, (2, 3)), masks.roll(shift, (1, 2))
        taken = there & ~known
        filled = torch.where(taken[:, None], copy, filled)
        known |= taken
    count = masks.sum((1, 2)).clamp_min(1)[:, None, None, None]
    mean = (inputs * masks[:, None]).sum((2, 3), keepdim=True) / count
    return torch.where(known[:, None], filled, mean)


def before_others(
    inputs: torch.Tensor, masks: torch.Tensor, scenes: torch.Tensor, chosen: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Return each object before other surroundings (P, C, h, w), these mirrored at random.

    Parameters
    ----------
    inputs : Tensor
        (P, C, h, w) float, the objects.
    masks : Tensor
        (P, h, w) bool, true everywhere but on the object.
    scenes : Tensor
        (S, C, h, w), as `without_objects` gives them.
    chosen : Tensor
        (P,) int64, which of the scenes for each.
    generator : torch.Generator
        Of the mirroring.
    """
    behind = scenes[chosen]
    for axis in (2, 3):
        flip = torch.rand(len(behind), generator=generator) < 0.5
        behind = torch.where(flip[:, None, None, None], behind.flip(axis), behind)
    return torch.where(masks[:, None], behind, inputs)


def of_other_classes(labels: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return how likely each of S others (S,) is chosen for each of P labels (P,): float (P, S).

    Only those of other classes are; where there are none, all alike.
    """
    sampling_weights = (others[None] != labels[:, None]).float()
    sampling_weights[sampling_weights.sum(1) == 0] = 1
    return sampling_weights
