"""Image, map and mask of an item lie on each other, wherever the user moves one of them in the view.

A mask that lies beside its image would be painted where nothing of it is meant: what is saved are its pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Layer

#: What says where a layer lies in the view, and tells when it is changed.
PLACE = ("scale", "translate", "rotate", "shear", "affine")


def lay_on(layer: Layer, image: Layer) -> bool:
    """Lay a layer where another one of the same pixels lies; return whether it lay elsewhere."""
    moved = False
    for name in PLACE:
        here, there = (_plain(getattr(each, name)) for each in (layer, image))
        if not np.array_equal(here, there):
            setattr(layer, name, there)
            moved = True
    return moved


def _plain(place: object) -> np.ndarray:
    return np.array(getattr(place, "affine_matrix", place), float)
