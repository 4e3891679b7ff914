"""Opening napari with our leading dock on a project or a sample: what the demo ends in, and what Open Sample does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.viewer.docks import LOOK, OPEN, open_step

if TYPE_CHECKING:
    from napari_cam_feedback.widgets.steps.dock import CamFeedbackWidget


def open_project_window(folder: str | Path) -> None:
    """Open napari on a project, with the leading dock; returns when its window is closed."""
    import napari

    viewer = napari.Viewer()
    show_project(viewer, Path(folder))
    napari.run()


def show_project(viewer: Any, folder: Path) -> CamFeedbackWidget:
    """Open the leading dock in `viewer`, start loading a project, and go on to *Look* once it is there."""
    widget = _leading(viewer)
    widget.open.choose_project(folder)
    widget.open.load()
    return widget


def show_sample(viewer: Any, name: str) -> CamFeedbackWidget:
    """Do the same with a sample and its model."""
    widget = _leading(viewer)
    widget.open.choose_sample(name)
    widget.open.load()
    return widget


def show_files(viewer: Any, *, model: Path | None = None, data: Path | None = None) -> CamFeedbackWidget:
    """Choose a model's file or its images in the leading dock, and start loading where the other one is chosen too."""
    widget = _leading(viewer)
    widget.open.choose_part(model=model, data=data)
    return widget


def _leading(viewer: Any) -> CamFeedbackWidget:
    """Return the leading dock's widget at *Open*, which goes on to *Look* when something is loaded."""
    widget: CamFeedbackWidget = open_step(viewer, OPEN)
    session = session_of(viewer)

    def loaded() -> None:
        session.opened.disconnect(loaded)
        open_step(viewer, LOOK)

    session.opened.connect(loaded)
    return widget
