"""Keeping a run that was made outside of a project, as a version of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.files import read_json, refuse_links, write_json, write_text
from napari_cam_feedback.models import load_classifier, save_classifier
from napari_cam_feedback.old_names import current_header, current_names
from napari_cam_feedback.projects.manifest import Version
from napari_cam_feedback.projects.runs import MASKS, copy_masks
from napari_cam_feedback.projects.versions import ProjectFolder
from napari_cam_feedback.retuning import RetuneConfig, make_config, settings_of

WEIGHTS = "model.safetensors"


class _Verdict(BaseModel):
    name: str


class _RunRecord(BaseModel):
    """What is needed of a run's ``result.json``."""

    model_config = ConfigDict(extra="ignore")

    verdict: _Verdict
    selected_iteration: int
    painted: list[str]
    started_from: str | None = None


def keep_run(
    project: ProjectFolder, run: str | os.PathLike[str], *, parent: str | None = None, trust: bool = False
) -> Version:
    """Make the model of a run a version of a project, the current one, with a copy of the run's record.

    Parameters
    ----------
    project : ProjectFolder
        Gets the version.
    run : path
        The folder that ``retune --out`` or `save_run` wrote; it stays as it is.
    parent : str, optional
        The version that was retuned; by default the one whose weights the run began with.
    trust : bool
        The user agrees that the code runs that makes the network, where a file of theirs does.

    Raises
    ------
    StorageError
        There is no finished run, it began with no version of the project, is for other classes, or cannot be copied.
    FeedbackError
        Its model cannot be loaded.
    """
    run = Path(run)
    content, config = _read(run)
    classifier = load_classifier(run / WEIGHTS, device="cpu", trust=trust)
    found = next((v.id for v in project.versions if v.fingerprint and v.fingerprint == content.started_from), None)
    came_from = found if parent is None else project.version(parent).id
    if came_from is None:
        raise StorageError(
            f"The run in {run} began with a model that is no version of the project; say which one it is.", field="parent"
        )
    names = project.classifier(project.available[0].id, device="cpu", trust=trust).class_names
    if classifier.class_names != names:
        raise StorageError(
            f"The model in {run} is for the classes {', '.join(classifier.class_names)}, the project's for "
            f"{', '.join(names)}; keep it in a project of its own."
        )

    fence = Fence(run)

    def record(folder: Path, kept: str) -> None:
        if (run / "history.csv").is_file():
            try:
                history = (run / "history.csv").read_text(encoding="utf-8")
            except ValueError as error:
                raise StorageError(f"{run / 'history.csv'} is not text in UTF-8; restore or remove it.") from error
            write_text(folder / "history.csv", current_header(history))
        for name in ("config.json", "painted.csv"):
            if (run / name).is_file():
                leak = fence.leak(run / name)
                if leak is not None:
                    raise StorageError(leak)
                shutil.copyfile(run / name, folder / name)
        if (run / MASKS).is_dir():
            refuse_links(run, run / MASKS / "any")
            masks = MaskStore(run / MASKS)
            copy_masks(masks, folder / MASKS, about=masks)
        result: dict[str, Any] = current_names(read_json(run / "result.json"))
        write_json(folder / "result.json", {**result, "parent": came_from, "kept": kept})

    return project.add_version(
        came_from,
        method=config.method,
        iterations=content.selected_iteration,
        masks=len(content.painted),
        settings=config.model_dump(mode="json", exclude_defaults=True, exclude={"method"}),
        verdict=content.verdict.name,
        fingerprint=classifier.fingerprint(),
        save=lambda path: save_classifier(classifier, path),
        record=record,
    )


def _read(run: Path) -> tuple[_RunRecord, RetuneConfig]:
    for name in ("result.json", "config.json", WEIGHTS):
        if not (run / name).is_file():
            raise StorageError(f"There is no finished run in {run}: {name} is missing; name the folder that retune wrote.")
    try:
        content = _RunRecord.model_validate(read_json(run / "result.json"))
    except ValidationError as error:
        raise StorageError(f"{run / 'result.json'} is broken; restore it, or retune again.") from error
    values = read_json(run / "config.json")
    if not isinstance(values, dict):
        raise StorageError(f"{run / 'config.json'} is broken; restore it, or retune again.")
    return content, make_config(settings_of(values))
