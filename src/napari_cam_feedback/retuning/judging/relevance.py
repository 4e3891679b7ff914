"""Whether what is painted matters to the classifier, before anything is learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from napari_cam_feedback.evaluation.perturbations.backgrounds import of_other_classes
from napari_cam_feedback.evaluation.perturbations.shifts import choose_shifts, shifted
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.judging.forgetting import change_interval
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


def marks_mislead(classifier: Classifier, painted: MaskedSet, others: Iterable[torch.Tensor], seed: int) -> float:
    """Return how often an image of another class is taken for the painted one's with what is painted pasted on.

    Where only images of one class bear a mark, as a sticker that one clinic puts beside what it removes, they may be told
    without it, and it shows only on images of other classes. What lies elsewhere on the painted images is pasted on likewise
    as a control: a part of what they show makes some images look like theirs, too.

    Parameters
    ----------
    classifier : Classifier
        As it was before the retune.
    painted : MaskedSet
        All painted images, of one class.
    others : iterable of Tensor
        Batches (N, C, h, w) of images of other classes.
    seed : int
        Of patches, places and refills.

    Returns
    -------
    float
        Share of the images; 0 where patches from elsewhere do so as often, but for chance.
    """
    generator = torch.Generator().manual_seed(seed)
    target = int(painted.labels[0])
    moved = shifted(painted.masks, choose_shifts(painted.masks, painted.masks, generator))
    count, marked, by_mark_alone, by_other_alone = 0, 0, 0, 0
    for inputs in others:
        donors = torch.randint(len(painted), (len(inputs),), generator=generator)
        cleared = painted.clear_places(inputs, generator)
        before, mark, other = (
            classifier.logits(images).argmax(1).cpu() == target
            for images in (inputs, painted.paste(cleared, donors), replace(painted, masks=moved).paste(cleared, donors))
        )
        mark, other = mark & ~before, other & ~before
        count, marked = count + len(inputs), marked + int(mark.sum())
        by_mark_alone += int((mark & ~other).sum())
        by_other_alone += int((other & ~mark).sum())
    return marked / count if count and change_interval(by_other_alone, by_mark_alone, count)[0] > 0 else 0.0
