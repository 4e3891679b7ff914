"""Which layers of a viewer are ours: known by the layer itself, since napari copies and links what is in its metadata.

*Duplicate layer* copies a layer's ``metadata``, *Convert* hands it to a layer of another type, and *Link layers* makes two
layers share it. So the mark in the metadata tells other programs, and this file's table tells us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from napari.layers import Layer

#: Key in ``layer.metadata`` by which other programs tell our layers from the user's; holds {"role": …, "key": …}.
NAMESPACE = "napari_cam_feedback"

# What the program sets itself, and what a layer linked to ours must not take from it or give to it.
_NEVER_LINKED = ("metadata", "editable")

_MARKS: WeakKeyDictionary[Layer, dict[str, Any]] = WeakKeyDictionary()


def tag(role: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    """Return metadata that tells other programs what a layer of ours is."""
    return {NAMESPACE: {"role": role, "key": key, **more}}


def mark(layer: Layer, role: str, key: str | None = None, **more: Any) -> None:
    """Make a layer ours, or say what it shows now; before it is put into a viewer.

    Parameters
    ----------
    layer : Layer
        Image, Labels or Vectors.
    role : str
        What it is for.
    key : str, optional
        The item that it shows.
    **more
        Anything else to be known of it.
    """
    unlink(layer, _NEVER_LINKED)
    content = tag(role, key, **more)
    _MARKS[layer] = content[NAMESPACE]
    layer.metadata = content


def mark_of(layer: Layer) -> dict[str, Any]:
    """Return what `mark` was told of a layer of ours; empty for any other."""
    found = _MARKS.get(layer)
    if found is not None:
        return found
    # napari makes the blank image of a sample itself, out of plain values.
    said = layer.metadata.get(NAMESPACE)
    return said if isinstance(said, dict) and said.get("blank") else {}


def role_of(layer: Layer) -> str | None:
    """Return the role of one of our layers, None for a layer that is not ours."""
    return mark_of(layer).get("role")


def is_copy(layer: Layer) -> bool:
    """Whether a layer that is not ours carries the mark of one that is: a duplicate, or a converted one."""
    return role_of(layer) is None and NAMESPACE in layer.metadata


def disown(layer: Layer) -> str | None:
    """Take our mark off a copy of one of our layers; returns the role of the layer that it was made from."""
    unlink(layer, _NEVER_LINKED)
    said = layer.metadata.pop(NAMESPACE, None)
    return said.get("role") if isinstance(said, dict) else None


def unlink(layer: Layer, attributes: tuple[str, ...]) -> None:
    """Undo the user's *Link layers* for some attributes of a layer; the others stay linked."""
    from napari.experimental import unlink_layers

    unlink_layers([layer], attributes)


def find_layers(viewer: Any, role: str) -> list[Layer]:
    """Return our layers of that role, from the bottom to the top."""
    return [layer for layer in viewer.layers if role_of(layer) == role]


def find_layer(viewer: Any, role: str) -> Layer | None:
    """Return our topmost layer of that role, or None."""
    found = find_layers(viewer, role)
    return found[-1] if found else None
