"""How much a model uses what a cue is: predictions that change when it is taken away."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.auditing.cues import Cue
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.perturbations.fills import surround_fill
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

#: Images that a model is asked about at most.
MAX_ASKED = 100


def used_share(classifier: Classifier, dataset: Dataset, cue: Cue, indices: np.ndarray, seed: int) -> float | None:
    """Return on which share of some images the prediction changes when a cue's place is refilled from around it.

    Brightness and colour are taken away by giving each image the mean and the deviation of all.

    Parameters
    ----------
    classifier : Classifier
        The model.
    dataset : Dataset
        The images.
    cue : Cue
        What is taken away.
    indices : ndarray
        (N,) int64 items, some of which are asked about.
    seed : int
        Which, and the noise of the refill.

    Returns
    -------
    float or None
        0 to 1; None where the cue is at no place and cannot be taken away.
    """
    if cue.place is None and cue.name != "brightness and colour":
        return None
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    asked = np.sort(rng.choice(indices, min(MAX_ASKED, len(indices)), replace=False))
    cache = InputCache(dataset, classifier.preprocessing)
    inputs = torch.cat([batch for _, batch in cache.batches(asked, 32)])
    if cue.place is None:
        mean, deviation = (f(inputs, dim=(2, 3), keepdim=True) for f in (torch.mean, torch.std))
        changed = (inputs - mean) / deviation.clamp_min(1e-6) * deviation.mean(0) + mean.mean(0)
    else:
        place = torch.from_numpy(cue.place(*inputs.shape[2:]))
        changed = surround_fill(inputs, place.expand(len(inputs), -1, -1), generator)
    before, after = (
        torch.cat([classifier.logits(part).argmax(1).cpu() for part in each.split(32)]) for each in (inputs, changed)
    )
    return float((before != after).float().mean())
