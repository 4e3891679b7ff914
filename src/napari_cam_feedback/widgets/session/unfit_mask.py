"""The way out where an image has a mask on disk that cannot be shown over it: of another size, or broken."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import describe

if TYPE_CHECKING:
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.state import SessionState

REPLACED = "masks-replaced"


def folder_for_replaced(project: Project) -> Path:
    """Return a folder of the project for masks that are taken out now."""
    return project.folder / REPLACED / datetime.now().strftime("%Y%m%d-%H%M%S")


def put_stored_mask_aside(session: SessionState, key: str) -> None:
    """Take the mask that an image has on disk out of the project's, in the background; it is kept in a folder beside."""
    project = session.project
    if project is None:
        return
    folder = folder_for_replaced(project)

    def work() -> None:
        from napari_cam_feedback.feedback.masks.aside import put_aside

        if key in project.masks:
            put_aside(project.masks, key, folder)

    def then(_: object, error: Exception | None) -> None:
        if error is not None:
            session.notify(describe(error), "error")
        elif session.project is project:
            session.autosave.gone(key)
            session.notify(f"The mask of {key} that does not fit was removed; it is kept in {folder}.")

    session.disk.submit(f"put aside {key}", work, then)
