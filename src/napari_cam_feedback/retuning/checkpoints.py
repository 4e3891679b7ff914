"""Taking another checkpoint of a run than the best by its score."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.interrupt import Interrupted, interruptible
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.retuning.images.masked_set import read_feedback
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics
from napari_cam_feedback.retuning.judging.run_images import run_images
from napari_cam_feedback.retuning.judging.style_verdict import judge_style
from napari_cam_feedback.retuning.judging.validation import Validator
from napari_cam_feedback.retuning.judging.verdict import judge
from napari_cam_feedback.retuning.results import RetuneResult
from napari_cam_feedback.torch_loader import torch


def checkpoint_name(iteration: int, share: float = 1.0) -> str:
    """Return a model of a run in words: its iteration, and how far its weights are on the way from the given ones."""
    parts = {0.75: "three quarters", 0.5: "half", 0.25: "a quarter"}
    if share == 1:
        return f"iteration {iteration}"
    return f"iteration {iteration}, {parts.get(share, f'{share:.0%}')} of the way from the given weights"


@takes_monitor
def take_checkpoint(
    result: RetuneResult,
    iteration: int,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    *,
    share: float = 1.0,
    monitor: Monitor = QUIET,
) -> RetuneResult:
    """Return the same run as if it had ended with one of its other checkpoints.

    Parameters
    ----------
    result : RetuneResult
        The run.
    iteration : int
        Of one of `result.checkpoints`.
    dataset : Dataset
        As in the run.
    masks : mapping
        Key to (H, W) bool, as in the run.
    share : float
        One that was looked at on the way from the given weights to the best ones (`result.path`); 1 for the checkpoint
        itself.
    monitor : Monitor, optional
        Asked all the time; stopped, the measures stay as they were in the middle of the run.

    Returns
    -------
    RetuneResult
        Its classifier, measures and verdict are those of the checkpoint; of the one that the run has chosen the very same
        ones as the run's.

    Raises
    ------
    KeyError
        None is of that iteration and share.
    RetuneError
        Painted or validation images cannot be read any more.
    """
    checks = {(check.iteration, check.share): check for check in (*(c.check for c in result.checkpoints), *result.path)}
    after = checks[iteration, share]
    classifier = result.classifier_at(iteration, share)
    with suppress(Interrupted):
        after = _complete(result, classifier, after, dataset, masks, monitor)
    if not _against_style(result, masks):
        held_out = result.held_out_keys != result.painted_keys
        verdict = judge(result.before, after, held_out=held_out, troubles=result.troubles)
    else:
        verdict = judge_style(result.before, after, troubles=result.troubles)
    info = classifier.info.get("retune")
    if isinstance(info, dict):
        info["verdict"] = verdict.name
    return replace(
        result, classifier=classifier, after=after, verdict=verdict, selected_iteration=iteration, selected_share=share
    )


def _against_style(result: RetuneResult, masks: Mapping[str, np.ndarray]) -> bool:
    """Whether a run was against a style alone: its images were painted by nobody."""
    return result.style is not None and not any(key in masks for key in result.painted_keys)


def _complete(
    result: RetuneResult,
    classifier: Classifier,
    check: ValidationMetrics,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    monitor: Monitor,
) -> ValidationMetrics:
    """Return a check with every measure that a run takes at its end; raises `Interrupted` once it is to stop."""
    if check.held_out.random_flip_rate is not None:
        return check
    given = result.given.copy()
    # As they lay in the run: in another order sums differ in their last digits.
    for each in (given, classifier):
        each.module.to(memory_format=torch.channels_last)
    try:
        with interruptible(given.module, monitor), interruptible(classifier.module, monitor):
            validator = _validator_of(result, dataset, masks)
            validator.remember(given)
            return validator.complete(classifier, check)
    finally:
        classifier.module.to(memory_format=torch.contiguous_format)


def _validator_of(result: RetuneResult, dataset: Dataset, masks: Mapping[str, np.ndarray]) -> Validator:
    """Return what measured during a run, made anew: a result that kept it would keep its images in memory."""
    config, preprocessing = result.config, result.given.preprocessing
    cache = InputCache(dataset, preprocessing)
    keys = {*result.painted_keys, *result.held_out_keys}
    if _against_style(result, masks):
        painted = read_feedback(dataset, {}, result.style, cache, config.seed)
        return run_images(dataset, cache, painted, {}, config).validator
    painted = read_feedback(dataset, {key: np.asarray(masks[key]) != 0 for key in keys}, result.style, cache, config.seed)
    if set(painted.keys) != keys:
        raise RetuneError("Some painted images cannot be read any more; check that the dataset is still there.")
    return run_images(dataset, cache, painted, masks, config).validator
