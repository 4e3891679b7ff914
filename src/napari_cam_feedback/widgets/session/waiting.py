"""Telling that a retune's result waits in the project that was opened, also where the leading dock is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_cam_feedback.projects import Project


def waiting_sentence(project: Project) -> str:
    """Return a sentence where results wait to be kept or discarded; an empty text where none does."""
    from napari_cam_feedback.projects.undecided import undecided_files

    count = len(undecided_files(project))
    if not count:
        return ""
    waits = "The result of a retune waits" if count == 1 else f"The results of {count} retunes wait"
    return f"{waits} to be kept or discarded; see the step Compare of CAM feedback."
