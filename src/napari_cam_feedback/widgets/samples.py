"""File > Open Sample: opens the leading dock and loads a sample with its trained model."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_cam_feedback.widgets.viewer.identity import tag
from napari_cam_feedback.widgets.viewer.layers import IMAGE, NAMES

LayerData = tuple[Any, dict[str, Any], str]


def open_tag_digits() -> list[LayerData]:
    """Open the sample of digits with a tag in a corner."""
    return _open("tag-digits")


def open_symbols() -> list[LayerData]:
    """Open the sample of Greek letters with a sign in the corner."""
    return _open("symbols")


def open_baggage() -> list[LayerData]:
    """Open the sample of weapons in radiographs of luggage."""
    return _open("baggage")


def open_crosses() -> list[LayerData]:
    """Open the sample of crosses with a bar at one side."""
    return _open("crosses")


def open_clothes() -> list[LayerData]:
    """Open the sample of photographs of clothes with a price tag."""
    return _open("clothes")


def _open(name: str) -> list[LayerData]:
    """Start loading a sample; without a window (a script), return its test images and masks as layers.

    napari wants at least one layer at once: a dark image, which the session takes over for its first item, or takes away
    where it has a layer for images already.
    """
    from napari import current_viewer

    from napari_cam_feedback.widgets.launch import show_sample

    viewer = current_viewer()
    if viewer is None:
        return _as_layers(name)
    show_sample(viewer, name)
    blank = np.zeros((28, 28), np.uint8)
    return [(blank, {"name": NAMES[IMAGE], "metadata": tag(IMAGE, blank=True), "contrast_limits": (0, 255)}, "image")]


def _as_layers(name: str) -> list[LayerData]:
    from napari_cam_feedback.data import make_sample

    dataset = make_sample(name)
    indices = dataset.indices("test")
    images = np.stack([dataset.read(int(i)) for i in indices])
    empty = np.zeros(images.shape[1:3], bool)
    masks = [dataset.known_mask(int(i)) for i in indices]
    stack = np.stack([empty if mask is None else mask for mask in masks]).astype(np.uint8)
    return [(images, {"name": name}, "image"), (stack, {"name": "irrelevant"}, "labels")]
