"""What the plugin adds to napari's own menus: File > New Layer, Layers > Annotate and Layers > Classify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cam_feedback.widgets.viewer.docks import LOOK, OPEN, PAINT, open_step
from napari_cam_feedback.widgets.viewer.layers import mask_colormap

if TYPE_CHECKING:
    import napari


def paint_irrelevant(viewer: napari.viewer.Viewer) -> None:
    """Open the tools of painting, on the image that is shown."""
    from napari_cam_feedback.widgets.session.session import session_of

    session = session_of(viewer)
    open_step(viewer, OPEN if session.project is None else PAINT)
    session.paint()


def look_at_classifier(viewer: napari.viewer.Viewer) -> None:
    """Open the step in which a model and its images are chosen, or looked at where that was done."""
    from napari_cam_feedback.widgets.session.session import session_of

    open_step(viewer, OPEN if session_of(viewer).project is None else LOOK)


def new_mask_layer(viewer: napari.viewer.Viewer) -> None:
    """Add an empty Labels layer as large as the selected image, else as the topmost one, to draw a mask in and keep.

    It is the user's own: *From a layer* takes it over, and saving it as PNG gives a mask.
    """
    from napari.layers import Image, Labels
    from napari.utils.notifications import show_warning

    selected = viewer.layers.selection.active
    images = [layer for layer in (*reversed(list(viewer.layers)), selected) if isinstance(layer, Image)]
    if not images:
        show_warning("There is no image to draw a mask for; open one first.")
        return
    image = images[-1]
    shape = image.data.shape[-3:-1] if image.rgb else image.data.shape[-2:]
    layer = Labels(
        np.zeros(tuple(int(side) for side in shape), np.uint8), name="mask", colormap=mask_colormap(), opacity=0.6
    )
    viewer.add_layer(layer)
    layer.mode = "paint"
