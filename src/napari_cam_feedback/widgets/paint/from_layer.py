"""The mask taken from an open layer of the user's own: labels, shapes, or a picture of two values."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_cam_feedback.widgets.viewer.identity import role_of


def layers_for(viewer: Any, size: tuple[int, int]) -> list[Any]:
    """Return the user's layers, the topmost first, from which a mask of (height, width) can be taken."""
    from napari.layers import Image, Labels, Shapes

    found = []
    for layer in reversed(list(viewer.layers)):
        if role_of(layer) is not None:
            continue
        if isinstance(layer, Shapes):
            found.append(layer)
        elif isinstance(layer, Labels) or (isinstance(layer, Image) and not layer.rgb and not layer.multiscale):
            shape = getattr(layer.data, "shape", ())
            if tuple(shape[-2:]) == tuple(size):
                found.append(layer)
    return found


def mask_from(layer: Any, viewer: Any, size: tuple[int, int]) -> np.ndarray:
    """Return what is marked in a layer, (H, W) bool of that size.

    Of a stack it is the slice that is shown. Any label, what is inside the shapes, or the brighter of a picture's two values
    counts; shapes keep their places in pixels.

    Raises
    ------
    ValueError
        A picture has more than two values; the sentence says so.
    """
    from napari.layers import Image, Shapes

    if isinstance(layer, Shapes):
        return np.asarray(layer.to_labels(labels_shape=size) != 0) if layer.nshapes else np.zeros(size, bool)
    data = layer.data
    if data.ndim > 2:
        data = data[tuple(int(step) for step in viewer.dims.current_step[: data.ndim - 2])]
    data = np.asarray(data)
    if isinstance(layer, Image):
        values = np.unique(data[:: max(1, size[0] // 512), :: max(1, size[1] // 512)])
        if len(values) > 2 or (len(np.unique(data)) > 2):
            raise ValueError(
                f"“{layer.name}” is a picture of many values; a mask needs a labels layer, shapes, or two values."
            )
        return np.asarray(data > data.min())
    return data != 0
