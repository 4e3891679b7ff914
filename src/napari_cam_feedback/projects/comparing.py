"""Comparing versions of a project: the masks to judge by, and the runs that lie between versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_cam_feedback.evaluation.report.painted_history import PAINTED_FILE
from napari_cam_feedback.projects.project import Project


def known_or_painted(project: Project) -> tuple[Mapping[str, np.ndarray] | None, Path | None]:
    """Return the masks that versions of a project are judged by, and their folder.

    Masks that came with the data tell about images that nobody painted, so they go first: then both are None, as
    `compare_models` and `report_facts` take it.
    """
    return (None, None) if project.dataset.has_known_masks else (project.masks, project.folder / "masks")


def runs_between(project: Project, versions: Sequence[str]) -> list[tuple[str, Path]]:
    """Return name and folder of the runs that lead from some versions of a project to others of them, the oldest first.

    The line of a version is followed up to another one of them; where it has none before it and none after it, up to the
    version that the project began with.

    Parameters
    ----------
    project : Project
        Whose versions they are.
    versions : sequence of str
        Their ids.

    Returns
    -------
    list of tuple
        ``v001 → v002`` and the run's folder; runs without a list of painted images are left out.

    Raises
    ------
    StorageError
        There is no such version.
    """
    lines: dict[str, list[str]] = {}
    ends: dict[str, str | None] = {}
    for name in versions:
        version, lines[name] = project.version(name), []
        while version.parent is not None and version.id not in lines[name]:
            lines[name].append(version.id)
            if version.parent in versions:
                break
            version = project.version(version.parent)
        ends[name] = version.parent if version.parent in versions else None
    # What led to a version that others come from lies before the comparison.
    wanted = {each for name, line in lines.items() if ends[name] or name not in ends.values() for each in line}
    found = []
    for version in project.versions:
        if version.id in wanted and version.run is not None:
            folder = project.folder / "runs" / version.run
            if (folder / PAINTED_FILE).is_file():
                found.append((f"{version.parent} → {version.id}", folder))
    return found
