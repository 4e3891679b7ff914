"""Opening our dock widgets from code: tabbed at the right, so that napari's canvas stays large."""

from __future__ import annotations

from typing import Any

PLUGIN = "napari-cam-feedback"
#: The dock that leads, and its steps in the order of the work.
LEADING = "CAM feedback"
OPEN, LOOK, PAINT, RETUNE, COMPARE = STEPS = ("Open", "Look", "Paint", "Retune", "Compare")


def open_dock(viewer: Any, name: str) -> Any:
    """Open one of our docks, or bring it to the front; returns its widget.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer.
    name : str
        As in the manifest: CAM feedback, Filters, Concepts, Train.
    """
    # Without the plugin proxy, so that napari hands the widget a viewer as it does from its own menu.
    real = getattr(viewer, "__wrapped__", viewer)
    dock, widget = real.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
    dock.show()
    dock.raise_()
    return widget


def open_step(viewer: Any, step: str) -> Any:
    """Open the leading dock at one of its steps; returns its widget.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer.
    step : str
        One of `STEPS`.
    """
    widget = open_dock(viewer, LEADING)
    widget.show_step(step)
    return widget
