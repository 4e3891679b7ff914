"""The layer in which a tool shows what a click would paint."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_cam_feedback.widgets.viewer.identity import find_layers, mark
from napari_cam_feedback.widgets.viewer.layers import mask_colormap

#: Role and name of the layer.
PREVIEW = "a click paints this"


class Preview:
    """Shows a region in a layer of its own, no larger than the region, so that it follows the mouse in large images too.

    Parameters
    ----------
    session : Session
        Whose viewer.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def show(self, region: np.ndarray | None) -> None:
        """Show a region, (H, W) bool; nothing where it is None or empty."""
        viewer = self._session.viewer
        if viewer is None:
            return
        layer = next(iter(find_layers(viewer, PREVIEW)), None)
        if region is None or not region.any():
            if layer is not None:
                layer.visible = False
            return
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        top, left = int(rows[0]), int(columns[0])
        data = region[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
        if layer is None:
            layer = self._make(data)
        else:
            layer.data = data
        layer.translate = (top, left)
        layer.visible = True
        # Strokes go to the mask, never here; new data make a layer editable again.
        layer.editable = False

    def close(self) -> None:
        """Take the layer out of the viewer."""
        viewer = self._session.viewer
        if viewer is not None:
            for layer in find_layers(viewer, PREVIEW):
                viewer.layers.remove(layer)

    def _make(self, data: np.ndarray) -> Any:
        from napari.layers import Labels

        viewer = self._session.viewer
        layer = Labels(data, name=PREVIEW, colormap=mask_colormap(), opacity=0.35)
        mark(layer, PREVIEW, self._session.key)
        selected = viewer.layers.selection.active
        viewer.add_layer(layer)
        if selected is not None and selected in viewer.layers:
            viewer.layers.selection.active = selected
        return layer
