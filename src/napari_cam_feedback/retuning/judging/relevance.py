"""Whether what is painted matters to the classifier on the painted images themselves, before anything is learnt."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.evaluation.perturbations.backgrounds import of_other_classes
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.torch_loader import torch

#: Painted images looked at at most, and patches of others tried on each.
MAX_IMAGES, DONORS = 50, 5
#: Fewer painted images say nothing here: their patches may all say the same by chance.
MIN_IMAGES = 5
#: Up to this share of changed predictions, what is painted hardly matters. On samples with 10 and 20 masks it was 0.22 and
#: more with masks in their place, and 0.11 at most (mostly 0.05 and less) with masks beside the shortcut.
HARDLY = 0.1


def marks_matter(classifier: Classifier, painted: MaskedSet, seed: int) -> float | None:
    """Return how often a prediction changes when what is painted on an image is taken out, or swapped for another's.

    Where the masks lie on the wrong images, or beside what the model uses, hardly any does.

    Parameters
    ----------
    classifier : Classifier
        As it was before the retune.
    painted : MaskedSet
        All painted images.
    seed : int
        Of the choice of images and patches, and of the refill.

    Returns
    -------
    float or None
        The greater of two shares of changed predictions, means over the images: refilled from the surroundings; and with the
        painted patches of up to five images of other classes pasted on besides, each where it was. None with fewer than five
        images, and where what is painted is all that surrounds an object, which cannot be pasted.
    """
    if painted.surroundings or len(painted) < MIN_IMAGES:
        return None
    generator = torch.Generator().manual_seed(seed)
    if len(painted) > MAX_IMAGES:
        painted = painted.take(np.sort(np.random.default_rng(seed).permutation(len(painted))[:MAX_IMAGES]))
    sampling_weights = of_other_classes(painted.labels, painted.labels)
    refilled, swapped = [], []
    for row in range(len(painted)):
        others = torch.nonzero(sampling_weights[row])[:, 0]
        donors = others[torch.randperm(len(others), generator=generator)[:DONORS]]
        own = painted.take(np.full(max(1, len(donors)), row))
        cleared = own.cleared(generator)
        trials = torch.cat([own.inputs[:1], cleared, painted.paste(cleared[: len(donors)], donors)])
        before, *after = classifier.logits(trials).argmax(1).cpu().tolist()
        changed = [found != before for found in after]
        refilled.append(np.mean(changed[: len(cleared)]))
        if len(donors):
            swapped.append(np.mean(changed[len(cleared) :]))
    return float(max(np.mean(refilled), np.mean(swapped) if swapped else 0.0))
