"""What painted patches do at places where nothing is painted: the part of a shortcut that no mask has shown.

A retune teaches a network to leave what the masks show where they show it. Whether it leaves the same mark in another
corner, too, hangs on the network. So each patch is moved to the opposite side of its image: up and down, left and right, and
both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.perturbations.fills import surround_fill
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.sampling import some_of
from napari_cam_feedback.torch_loader import torch

#: Validation images that are looked at, at most and at least, and their pixels.
MAX_IMAGES, MIN_IMAGES, MAX_PIXELS = 200, 40, 2e6
#: Share of the image beyond which all places, the opposite ones among them, are not refilled together.
MAX_CLEARED = 0.4
#: Whether up is changed with down, and left with right.
MOVES = ((False, False), (True, False), (False, True), (True, True))


def accuracy_lost(
    classifier: Classifier, dataset: Dataset, cache: InputCache, validation: np.ndarray, painted: MaskedSet, seed: int
) -> tuple[float, ...] | None:
    """Return the accuracy that patches of other classes take, for each of `MOVES`.

    Parameters
    ----------
    classifier : Classifier
        What is measured.
    dataset, cache
        Images and their inputs.
    validation : ndarray
        (V,) int64 labelled items. The patches are put on some of them, after the painted places and those opposite were
        refilled.
    painted : MaskedSet
        All painted images.
    seed : int
        Of the choice of patches.

    Returns
    -------
    tuple of float, or None
        Accuracy without a patch less that with one, never below 0. None where what is painted is no patch: surroundings, a
        half-transparent mark, a style; or where all is of one class.
    """
    if painted.surroundings or painted.overlay is not None or len(torch.unique(painted.labels)) < 2:
        return None
    height, width = cache.preprocessing.size
    validation = some_of(validation, int(min(MAX_IMAGES, max(MIN_IMAGES, MAX_PIXELS / (height * width)))))
    sets = [moved(painted, rows, columns) for rows, columns in MOVES]
    places = torch.stack([each.masks.any(0) for each in sets]).any(0)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    labels = painted.labels.numpy()
    right = np.zeros(1 + len(sets))
    for picked, inputs in cache.batches(validation, 64):
        truth = dataset.labels[picked]
        donors = torch.tensor([int(rng.choice(np.flatnonzero(labels != k))) for k in truth])
        if float(places.float().mean()) <= MAX_CLEARED:
            cleared = surround_fill(inputs, places.expand(len(inputs), -1, -1), generator)
        else:
            cleared = painted.clear_places(inputs, generator)
        for number, shown in enumerate([cleared, *(each.paste(cleared, donors) for each in sets)]):
            right[number] += (classifier.logits(shown).argmax(1).cpu().numpy() == truth).sum()
    return tuple(float(max(lost, 0.0)) for lost in (right[0] - right[1:]) / max(len(validation), 1))


def moved(painted: MaskedSet, rows: bool, columns: bool) -> MaskedSet:
    """Return painted images whose patches lie at the opposite side: the box around each is moved, nothing is mirrored."""
    if not rows and not columns:
        return painted
    masks, inputs = torch.zeros_like(painted.masks), painted.inputs.clone()
    height, width = masks.shape[1:]
    for number, mask in enumerate(painted.masks):
        if not mask.any():  # what is painted is smaller than a pixel of the input
            continue
        ys, xs = (torch.nonzero(mask.any(axis))[:, 0] for axis in (1, 0))
        (top, bottom), (left, right) = ((int(each[0]), int(each[-1]) + 1) for each in (ys, xs))
        y, x = height - bottom if rows else top, width - right if columns else left
        to = slice(y, y + bottom - top), slice(x, x + right - left)
        masks[(number, *to)] = mask[top:bottom, left:right]
        inputs[(number, slice(None), *to)] = painted.inputs[number, :, top:bottom, left:right]
    return replace(painted, masks=masks, inputs=inputs)
