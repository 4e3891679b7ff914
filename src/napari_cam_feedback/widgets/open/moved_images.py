"""Asking where a project's images are now, when they are not where they were."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_feedback.errors import ImagesMoved
from napari_cam_feedback.widgets.parts.basics import confirmed


def ask_for_images(parent: QWidget, error: ImagesMoved) -> Path | None:
    """Return where the user says that the images are now; None where they do not want to."""
    was = Path(error.images)
    question = f"The images of this project are no longer in {was}. Do you want to show where they are now?"
    if not confirmed(parent, "Images moved?", question):
        return None
    title, start = "Where the images are now", str(_nearest(was))
    if was.suffix:
        found, _ = QFileDialog.getOpenFileName(parent, title, start)
    else:
        found = QFileDialog.getExistingDirectory(parent, title, start)
    return Path(found) if found else None


def _nearest(path: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    return next((folder for folder in path.parents if folder.is_dir()), Path.home())
