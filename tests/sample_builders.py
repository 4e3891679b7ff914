"""The samples, made once for all tests of a file, and their images and masks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from napari_cam_feedback.data import make_sample

SPLITS = ("train", "val", "test", "test-clean")


@lru_cache
def made(name, *, shortcut=True):
    return make_sample(name, shortcut=shortcut)


def images_of(data, split):
    return np.stack([data.read(i) for i in data.indices(split)])


def masks_of(data, split):
    return np.stack([data.known_mask(i) for i in data.indices(split)])
