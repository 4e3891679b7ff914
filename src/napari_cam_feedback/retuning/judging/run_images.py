"""Which images a run learns from, and which judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.images.sampling import Schedule, schedule, some_of, split_images
from napari_cam_feedback.retuning.judging.validation import Validator


@dataclass(frozen=True)
class RunImages:
    """What a run learns from, and what judges it.

    Attributes
    ----------
    learnt, held_out : MaskedSet
        Painted images to learn from, and to judge by.
    train : ndarray
        (N,) int64 items to learn from.
    schedule : Schedule
        How many images there are a step, and in a check.
    validator : Validator
        Measures a classifier.
    """

    learnt: MaskedSet
    held_out: MaskedSet
    train: np.ndarray
    schedule: Schedule
    validator: Validator


def run_images(
    dataset: Dataset, cache: InputCache, painted: MaskedSet, masks: Mapping[str, np.ndarray], config: RetuneConfig
) -> RunImages:
    """Divide the images as the settings of a run say; the same at each call.

    Parameters
    ----------
    dataset, cache
        Images and their inputs.
    painted : MaskedSet
        All painted images.
    masks : mapping
        Key to (H, W) of at least these, nonzero where it is irrelevant.
    config : RetuneConfig
        The run's.

    Raises
    ------
    RetuneError
        There is nothing to learn from or to judge by.
    """
    learnt, held_out = painted.hold_out(config.seed)
    train, validation = split_images(dataset, learnt, held_out, config.seed)
    plan = schedule(config, len(train), cache.preprocessing.size, surroundings=painted.surroundings)
    held_masks = {key: np.asarray(masks[key]) != 0 for key in held_out.keys if key in masks}
    validation = some_of(validation, plan.validation)
    validator = Validator(dataset, cache, validation, held_out, painted, held_masks, config.seed)
    return RunImages(learnt, held_out, train, plan, validator)
