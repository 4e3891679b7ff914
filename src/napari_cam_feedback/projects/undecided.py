"""Finished retunes that wait in a project's folder to be kept or discarded, through restarts and crashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.files import unused
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.projects.versions import ProjectFolder
from napari_cam_feedback.retuning import RetuneResult
from napari_cam_feedback.retuning.result_file import read_result_file, save_result
from napari_cam_feedback.torch_loader import torch

#: Folder of a project that holds them, a file each.
UNDECIDED = "undecided"


@dataclass(frozen=True)
class Undecided:
    """A finished retune that nobody has decided on.

    Attributes
    ----------
    path : Path
        Its file.
    parent : str
        The version that was retuned.
    result : RetuneResult
        What came of it.
    masks : dict
        What it learnt from and was judged by: key to (H, W) bool.
    seconds : float
        That it took.
    """

    path: Path
    parent: str
    result: RetuneResult
    masks: dict[str, np.ndarray]
    seconds: float


def save_undecided(
    project: ProjectFolder,
    result: RetuneResult,
    *,
    parent: str,
    masks: Mapping[str, np.ndarray],
    seconds: float,
    path: Path | None = None,
) -> Path:
    """Write a finished retune into a project, and return its file.

    Parameters
    ----------
    project : ProjectFolder
        Whose version was retuned.
    result : RetuneResult
        The run.
    parent : str
        The version that was retuned.
    masks : mapping
        Key to (H, W) bool, of the painted images of the run.
    seconds : float
        That it took.
    path : Path, optional
        The file that it replaces: of the same run, before it was continued.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    if path is None:
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{result.config.method.replace('+', '-')}.pt"
        path = unused(project.folder / UNDECIDED / name)
    about = {"parent": parent, "seconds": float(seconds), "masks": {key: _packed(mask) for key, mask in masks.items()}}
    save_result(result, path, about)
    return path


def undecided_files(project: ProjectFolder) -> list[Path]:
    """Return the files of the retunes that wait in a project, the newest first."""
    return sorted((project.folder / UNDECIDED).glob("*.pt"), reverse=True)


def load_undecided(project: ProjectFolder, path: Path, load: Callable[[str], Classifier]) -> Undecided | None:
    """Read a retune that waits; None where its model is a version already, and then its file is removed.

    Parameters
    ----------
    project : ProjectFolder
        Whose it is.
    path : Path
        One of `undecided_files`.
    load : callable
        Loads a version by its id.

    Raises
    ------
    FeedbackError
        The file or a version cannot be read; the sentence says what to do.
    """
    found = read_result_file(path)
    about = found.about
    there = {version.id for version in project.available}
    result = found.result(load(about["parent"] if about["parent"] in there else project.current.id))
    # Whoever kept it was interrupted before the file was removed.
    if result.selected_iteration > 0 and result.classifier.fingerprint() in {each.fingerprint for each in project.versions}:
        path.unlink(missing_ok=True)
        return None
    masks = {key: _unpacked(value) for key, value in about["masks"].items()}
    learnt = {key: masks[key] for key in (*result.painted_keys, *result.held_out_keys) if key in masks}
    return Undecided(path, about["parent"], replace(result, masks=learnt), masks, about["seconds"])


def _packed(mask: np.ndarray) -> tuple[int, int, Any]:
    return mask.shape[0], mask.shape[1], torch.from_numpy(np.packbits(mask != 0))


def _unpacked(packed: tuple[int, int, Any]) -> np.ndarray:
    height, width, bits = packed
    return np.unpackbits(bits.numpy(), count=height * width).reshape(height, width).astype(bool)
