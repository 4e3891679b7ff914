"""Layers of the user's that look like ours, or are painted on: said once, since what is painted there is saved nowhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.widgets.viewer.identity import disown, find_layer, is_copy, role_of
from napari_cam_feedback.widgets.viewer.layers import MASK, NAMES
from napari_cam_feedback.widgets.viewer.shortcuts import key_of

if TYPE_CHECKING:
    from napari.layers import Layer


class UsersLayers:
    """Watches a viewer for copies of our layers and for strokes that are no feedback.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    tell : callable
        Takes a sentence for the user.
    painting : callable
        Whether there is an image that a mask is painted for.
    """

    def __init__(self, viewer: Any, tell: Callable[[str], None], painting: Callable[[], bool]) -> None:
        self._viewer = weakref.ref(viewer)
        self._tell = tell
        self._painting = painting
        self._told: weakref.WeakSet[Layer] = weakref.WeakSet()
        self._watched: weakref.WeakSet[Layer] = weakref.WeakSet()
        viewer.layers.events.inserted.connect(self._inserted)
        for layer in viewer.layers:
            self._watch(layer)

    def close(self) -> None:
        """Watch no longer."""
        viewer = self._viewer()
        if viewer is None:
            return
        viewer.layers.events.inserted.disconnect(self._inserted)
        for layer in list(self._watched):
            layer.events.paint.disconnect(self._painted)
        self._watched.clear()

    def _inserted(self, event: Any) -> None:
        layer = event.value
        if is_copy(layer):
            self._make_the_users(layer)
        self._watch(layer)

    def _watch(self, layer: Layer) -> None:
        from napari.layers import Labels

        if isinstance(layer, Labels) and role_of(layer) is None and layer not in self._watched:
            self._watched.add(layer)
            layer.events.paint.connect(self._painted)

    def _make_the_users(self, layer: Layer) -> None:
        """Give the user a copy of one of our layers for good, under a name that is not one of ours."""
        role = disown(layer)
        if role != MASK:
            # Whatever else is copied holds nothing that is saved.
            if layer.name in NAMES.values():
                layer.name = f"{layer.name} (yours)"
            return
        name = NAMES[MASK]
        viewer = self._viewer()
        if layer.name == name:
            layer.name = f"{name} (yours)"
        if viewer is not None and find_layer(viewer, MASK) is None:
            self._tell(
                f"“{layer.name}” is a layer of your own now, and is not saved. The mask is as it was, and its layer comes "
                f"back with the next image or the key {key_of('paint')}."
            )
        else:
            self._tell(f"“{layer.name}” is a layer of your own and is not saved; paint in “{name}”.")

    def _painted(self, event: Any) -> None:
        layer = event.source
        if layer in self._told or role_of(layer) is not None or not self._painting():
            return
        self._told.add(layer)
        self._tell(
            f"You paint in “{layer.name}”, a layer of your own, which is not saved as feedback. To mark what is irrelevant, "
            f"paint in “{NAMES[MASK]}” (key {key_of('paint')})."
        )
