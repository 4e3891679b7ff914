"""Opening napari with our docks on a project or a sample: what the demo ends in, and what Open Sample does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.viewer.docks import open_dock

_DOCKS = ("Browse", "Filters", "Retune", "Session")


def open_project_window(folder: str | Path) -> None:
    """Open napari on a project, with all docks; returns when its window is closed."""
    import napari

    viewer = napari.Viewer()
    show_project(viewer, Path(folder))
    napari.run()


def show_project(viewer: Any, folder: Path) -> SessionWidget:
    """Open all docks in `viewer`, start loading a project, and bring Browse to the front once it is there."""
    widget = open_docks(viewer)
    widget.choose_project(folder)
    widget.load()
    return widget


def show_sample(viewer: Any, name: str) -> SessionWidget:
    """Do the same with a sample and its model."""
    widget = open_docks(viewer)
    widget.choose_sample(name)
    widget.load()
    return widget


def open_docks(viewer: Any) -> SessionWidget:
    """Open all docks, Session in front until something is loaded, then Browse; returns the Session widget."""
    widgets = [open_dock(viewer, name) for name in _DOCKS]
    session = session_of(viewer)

    def loaded() -> None:
        session.opened.disconnect(loaded)
        open_dock(viewer, "Browse")

    session.opened.connect(loaded)
    return widgets[-1]
