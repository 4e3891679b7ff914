"""Taking another checkpoint of a run than the best by its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluate.right_reasons import right_reasons
from napari_cam_feedback.retune.results import RetuneResult
from napari_cam_feedback.retune.verdict import judge


def checkpoint_name(iteration: int, share: float = 1.0) -> str:
    """Return a model of a run in words: its iteration, and how far its weights are on the way from the given ones."""
    parts = {0.75: "three quarters", 0.5: "half", 0.25: "a quarter"}
    if share == 1:
        return f"iteration {iteration}"
    return f"iteration {iteration}, {parts.get(share, f'{share:.0%}')} of the way from the given weights"


def take_checkpoint(
    result: RetuneResult,
    iteration: int,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    *,
    share: float = 1.0,
    stop: Callable[[], bool] | None = None,
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
        Key to (H, W) bool; those of the run's held-out images are used.
    share : float
        One that was looked at on the way from the given weights to the best ones (`result.path`); 1 for the checkpoint
        itself.
    stop : callable, optional
        Asked now and then; True leaves the measures on the held-out images as far as they are.

    Returns
    -------
    RetuneResult
        Its classifier, measures and verdict are those of the checkpoint.

    Raises
    ------
    KeyError
        None is of that iteration and share.
    """
    checks = {(check.iteration, check.share): check for check in (*(c.check for c in result.checkpoints), *result.path)}
    after = checks[iteration, share]
    classifier = result.classifier_at(iteration, share)
    held_out = np.array([dataset.index_of(key) for key in result.held_out_keys], np.int64)
    painted = {key: np.asarray(masks[key]) != 0 for key in result.held_out_keys}
    # In the middle of a run some of them were not measured.
    reasons = right_reasons(classifier, dataset, held_out, painted, seed=result.config.seed, stop=stop)
    if reasons is not None:
        after = replace(after, held_out=reasons)
    verdict = judge(result.before, after, held_out=result.held_out_keys != result.painted_keys)
    info = classifier.info.get("retune")
    if isinstance(info, dict):
        info["verdict"] = verdict.name
    return replace(
        result, classifier=classifier, after=after, verdict=verdict, selected_iteration=iteration, selected_share=share
    )
