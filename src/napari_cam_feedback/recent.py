"""The projects that this user opened last, remembered for the next time; no torch, so that a window can ask at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.files import read_json, write_json
from napari_cam_feedback.locking import writing

#: Names the folder of the list instead of the place that the system has for such things.
FOLDER_VARIABLE = "NAPARI_CAM_FEEDBACK_STATE"
MAX_PROJECTS = 12
_PROGRAM = "napari-cam-feedback"
# Of `projects.manifest`, which would load torch with its room.
_PROJECT_FILE = "project.json"


@dataclass(frozen=True)
class RecentProject:
    """A project that was open before.

    Attributes
    ----------
    folder : Path
        Where it was.
    there : bool
        Whether it still is.
    """

    folder: Path
    there: bool


def recent_file() -> Path:
    """Return the file of the list: ``recent.json`` where this system keeps what a program remembers of a user."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return (Path(folder) if folder else platformdirs.user_state_path(_PROGRAM, appauthor=False)) / "recent.json"


def recent_projects() -> list[RecentProject]:
    """Return the projects that were open, the last first, those that are gone among them; none where the list is broken."""
    return [RecentProject(folder, (folder / _PROJECT_FILE).is_file()) for folder in _read()]


def note_project(folder: str | os.PathLike[str]) -> None:
    """Put a project at the head of the list; raises StorageError where it cannot be written."""
    newest = Path(folder).absolute()
    # Windows are often opened at the same time, as by a script.
    with writing(recent_file()):
        _write([newest, *(other for other in _read() if other != newest)])


def _read() -> list[Path]:
    try:
        content = read_json(recent_file())
    except StorageError:
        return []
    folders = content.get("projects") if isinstance(content, dict) else None
    return [Path(folder) for folder in folders if isinstance(folder, str) and folder] if isinstance(folders, list) else []


def _write(folders: list[Path]) -> None:
    write_json(recent_file(), {"schema": 1, "projects": [str(folder) for folder in folders[:MAX_PROJECTS]]})
