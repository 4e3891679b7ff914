"""What painted patches do where nothing is painted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core_builders import looking_classifier
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.retuning.images.masked_set import MaskedSet, read_painted
from napari_cam_feedback.retuning.judging.moved import MOVES, accuracy_lost, moved

pytestmark = pytest.mark.unit
SIDE = 12
BRIGHT, DARK = 255, 0


def tagged() -> ArrayDataset:
    """Gray images with a 2x2 tag at the top left, white in the class bright and black in dark."""
    labels = np.arange(24) % 2
    images = np.full((24, SIDE, SIDE), 120, np.uint8)
    images[:, 1:3, :2] = np.where(labels, BRIGHT, DARK)[:, None, None]
    return ArrayDataset({"train": images, "val": images}, {"train": labels, "val": labels}, ("dark", "bright"))


def painted(data: ArrayDataset, cache: InputCache) -> MaskedSet:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[1:3, :2] = True
    return read_painted(data, dict.fromkeys(data.keys[:4], mask), cache)


def lost(rows: slice, columns: slice) -> tuple[float, ...]:
    """Return what is measured of a network that looks at some place alone."""
    pattern = np.zeros((SIDE, SIDE))
    pattern[rows, columns] = 1
    # The mean under the place, over the whole image: four pixels of gray 120 lie on the threshold.
    classifier, data = looking_classifier(pattern, 4 / SIDE**2 * 119 / 255), tagged()
    cache = InputCache(data, classifier.preprocessing)
    found = accuracy_lost(classifier, data, cache, data.indices("val"), painted(data, cache), seed=0)
    assert found is not None
    return found


def test_a_patch_is_moved_to_the_opposite_side_and_not_mirrored():
    data = tagged()
    cache = InputCache(data, looking_classifier(np.zeros((SIDE, SIDE)), 0.5).preprocessing)
    found = painted(data, cache)
    found.inputs[0, 0, 1, 0] = 0.25
    below = moved(found, rows=True, columns=False)
    assert torch.nonzero(below.masks[0]).tolist() == [[9, 0], [9, 1], [10, 0], [10, 1]]
    assert below.inputs[0, 0, 9, 0] == 0.25
    across = moved(found, rows=True, columns=True)
    assert torch.nonzero(across.masks[0]).tolist() == [[9, 10], [9, 11], [10, 10], [10, 11]]
    assert across.inputs[0, 0, 9, 10] == 0.25
    assert moved(found, rows=False, columns=False) is found


def test_only_where_the_network_looks_do_patches_take_accuracy():
    # Half of the images are told right without a patch: all are called bright.
    assert MOVES[0] == (False, False)
    assert lost(slice(1, 3), slice(2)) == (0.5, 0, 0, 0)
    assert lost(slice(9, 11), slice(10, 12)) == (0, 0, 0, 0.5)
    assert lost(slice(5, 7), slice(5, 7)) == (0, 0, 0, 0)


def test_patches_of_one_class_alone_tell_nothing():
    data = tagged()
    classifier = looking_classifier(np.zeros((SIDE, SIDE)), 0.5)
    cache = InputCache(data, classifier.preprocessing)
    same = painted(data, cache).take(np.array([0, 2]))
    assert accuracy_lost(classifier, data, cache, data.indices("val"), same, seed=0) is None
