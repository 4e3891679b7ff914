"""The record of one run on disk: its settings, its history, its results, and where wanted the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback import __version__
from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.evaluation import Comparison
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.files import csv_of_mappings, read_json, refuse_links, write_json, write_text
from napari_cam_feedback.models import save_classifier
from napari_cam_feedback.old_names import current_names
from napari_cam_feedback.projects.manifest import now
from napari_cam_feedback.retuning import RetuneResult
from napari_cam_feedback.retuning.config import RESOLVED
from napari_cam_feedback.retuning.images.style_file import save_style

#: Folder of a run's masks.
MASKS = "masks"
#: File of what a run took out, where that lies over whole images.
STYLE = "style.safetensors"
#: Folder of a run's other models.
CHECKPOINTS = "checkpoints"


def save_run(
    folder: str | os.PathLike[str],
    result: RetuneResult,
    comparison: Comparison | None = None,
    *,
    masks: Mapping[str, np.ndarray],
    extra: dict[str, Any] | None = None,
    weights: bool = True,
) -> None:
    """Write a run: ``config.json``, ``history.csv``, ``painted.csv``, ``masks``, ``result.json``, the model, checkpoints.

    Where a style was taken out, ``style.safetensors`` is what it is.

    Parameters
    ----------
    folder : path
        Made if need be.
    result : RetuneResult
        The run.
    comparison : Comparison, optional
        Before and after on whole splits, for ``result.json``.
    masks : mapping
        Key to (H, W) bool, a `MaskStore` where author and time are known. The masks that the run learnt from and was judged
        by are kept with it as they were when it began, since the user may paint on.
    extra : dict, optional
        Further plain values for ``result.json``.
    weights : bool
        Whether to write the classifier too, the other checkpoints of the front, and the models between the given weights
        and the best ones.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    folder = Path(folder)
    for name in (CHECKPOINTS, MASKS):
        refuse_links(folder, folder / name / "any")
    write_json(folder / "config.json", {**result.config.model_dump(mode="json"), RESOLVED: result.resolved})
    write_text(folder / "history.csv", csv_of_mappings(result.history))
    write_text(folder / "painted.csv", csv_of_mappings(result.painted_history))
    copy_masks(result.masks, folder / MASKS, about=masks)
    if result.style is not None:
        save_style(result.style, folder / STYLE)
    content = {
        **result.to_json(),
        **(extra or {}),
        "comparison": None if comparison is None else comparison.to_json(),
        "program": __version__,
        "time": now(),
    }
    write_json(folder / "result.json", content)
    if weights:
        save_classifier(result.classifier, folder / "model.safetensors")
        for check in (*(checkpoint.check for checkpoint in result.checkpoints), *result.path):
            which = check.iteration, check.share
            # The start is the model that the user has, and the one returned is there already.
            if check.iteration != 0 and which != (result.selected_iteration, result.selected_share):
                save_classifier(result.classifier_at(*which), folder / CHECKPOINTS / checkpoint_file(*which))


def run_records(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return what ``result.json`` holds of each run in a project's folder, kept or discarded, the oldest first.

    One that cannot be read is left out: it says nothing, and is no reason to keep what the others say.
    """
    found = []
    for path in sorted((Path(folder) / "runs").glob("*/result.json")):
        with suppress(FeedbackError):
            content = current_names(read_json(path))
            if isinstance(content, dict):
                found.append(content)
    return found


def checkpoint_file(iteration: int, share: float = 1.0) -> str:
    """Return the name of a checkpoint's file; the percent after the dash say how far it is from the given weights."""
    return f"{iteration:05d}.safetensors" if share == 1 else f"{iteration:05d}-{100 * share:.0f}.safetensors"


def copy_masks(masks: Mapping[str, np.ndarray], folder: Path, *, about: Mapping[str, np.ndarray] | None = None) -> None:
    """Copy masks into a folder of masks, with author and time where they are known.

    Parameters
    ----------
    masks : mapping
        Key to (H, W) bool.
    folder : path
        Where to; made if need be.
    about : mapping, optional
        A `MaskStore` says who painted those that are still the same in it, and when.

    Raises
    ------
    StorageError
        One cannot be written.
    """
    store = MaskStore(folder)
    with store.batch():
        for key, mask in masks.items():
            known: dict[str, Any] = {}
            # One that is gone or broken by now is no reason to lose the run.
            with suppress(KeyError, FeedbackError):
                if isinstance(about, MaskStore) and np.array_equal(about[key], mask):
                    known = about.info(key)
            store.put(key, mask, author=known.get("author") or "", time=known.get("time"))
