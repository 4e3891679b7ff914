"""The tools that paint by a click, or by dragging a box: shown before it is done, painted into the mask's own layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.widgets.paint.preview import Preview
from napari_cam_feedback.widgets.paint.regions import BOX, HEAT, SUPERPIXEL, Regions
from napari_cam_feedback.widgets.viewer.layers import MASK

# A mouse that moved farther between pressing and letting go has dragged the image.
_CLICK_PIXELS = 4
_THREE_D = "Masks are painted in the plane; leave the 3D view (Ctrl+Y) first."


class PaintTools(QObject):
    """One tool at a time, or none, in one viewer.

    Parameters
    ----------
    session : Session
        Whose mask is painted.

    Signals
    -------
    changed
        Another tool is in hand, or none.
    said : str, bool
        A sentence for the user, and whether something is wrong.
    """

    changed = Signal()
    said = Signal(str, bool)

    def __init__(self, session: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.tool: str | None = None
        self.regions = Regions(session)
        self.regions.on_ready = self.refresh
        self.preview = Preview(session)
        self._place: tuple[int, int] | None = None
        self._layer: Any = None
        session.item_changed.connect(self._item_changed)
        session.opened.connect(self.put_down)
        session.closing.connect(self.close)

    # Which tool -----------------------------------------------------------------------------------

    def take(self, tool: str) -> None:
        """Take a tool into the hand; the one that is in it is put down."""
        if tool == self.tool:
            self.put_down()
            return
        self._let_go()
        layer = self._session.take_up("pan_zoom")
        if layer is None:
            self.said.emit("No image is shown that can be painted; choose one first.", True)
            self.changed.emit()
            return
        self.tool = tool
        viewer = self._session.viewer
        viewer.mouse_drag_callbacks.append(self.pressed)
        viewer.mouse_move_callbacks.append(self.moved)
        self._watch(layer)
        self._item_changed()
        self.changed.emit()

    def put_down(self) -> None:
        """Have no tool in hand."""
        if self.tool is not None:
            self._let_go()
            self.changed.emit()

    def _let_go(self) -> None:
        if self.tool is None:
            return
        self.tool, self._place = None, None
        self._watch(None)
        viewer = self._session.viewer
        if viewer is not None:
            for callbacks, own in ((viewer.mouse_drag_callbacks, self.pressed), (viewer.mouse_move_callbacks, self.moved)):
                if own in callbacks:
                    callbacks.remove(own)
        self.preview.close()

    def _watch(self, layer: Any) -> None:
        """Notice when the user takes up one of napari's own tools, which puts ours down."""
        if self._layer is not None:
            self._layer.events.mode.disconnect(self._mode_changed)
            self._layer.mouse_pan = str(self._layer.mode) == "pan_zoom"
        self._layer = layer
        if layer is not None:
            # A box is drawn by the drag that would move the image.
            layer.mouse_pan = self.tool != BOX
            layer.events.mode.connect(self._mode_changed)

    def _mode_changed(self, event: Any = None) -> None:
        if self._layer is not None and str(self._layer.mode) != "pan_zoom":
            self.put_down()

    def _item_changed(self) -> None:
        self._place = None
        self.regions.forget()
        if self.tool is None:
            return
        self.preview.show(None)
        layer = self._session.layers.get(MASK)
        if layer is not self._layer:
            self._watch(layer)
        if self.tool == SUPERPIXEL:
            self.regions.prepare()
        self.said.emit(self.remark(), False)

    def remark(self) -> str:
        """Return what is to be known before the image that is shown is painted; empty where there is nothing."""
        dataset, index = self._session.dataset, self._session.index
        if dataset is None or index is None or dataset.item(index).learnable:
            return ""
        if dataset.labels[index] < 0:
            return "This image has no label: it can be painted, but is not learnt from."
        return "This is a test image: it can be painted, but is not learnt from."

    # The mouse ------------------------------------------------------------------------------------

    def moved(self, viewer: Any, event: Any) -> None:
        """Show what a click here would paint."""
        place = self._place_of(event.position)
        if place == self._place:
            return
        self._place = place
        self.refresh()

    def refresh(self) -> None:
        """Show anew what a click would paint, as when a setting was changed."""
        if self.tool is None:
            return
        if self._place is None or self.tool == BOX or self._session.viewer.dims.ndisplay != 2:
            self.preview.show(None)
            return
        self.preview.show(self.regions.hover(self.tool, self._place))

    def pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        """Tell a click from a drag, which moves the image as ever."""
        if event.button not in (1, None):
            return
        start, moved, erase = np.asarray(event.pos, float), False, "Shift" in event.modifiers
        corner = np.asarray(event.position, float)
        yield
        while event.type == "mouse_move":
            moved = moved or bool(np.abs(np.asarray(event.pos, float) - start).max() > _CLICK_PIXELS)
            if self.tool == BOX and viewer.dims.ndisplay == 2:
                self.preview.show(self._box(corner, np.asarray(event.position, float)))
            yield
        if self.tool == BOX:
            self.preview.show(None)
            if moved:
                self.draw_box(corner, np.asarray(event.position, float), erase=erase)
            else:
                self.said.emit("Drag from one corner of the box to the other.", True)
        elif not moved:
            self.click(event.position, erase=erase)

    def click(self, position: Any, *, erase: bool = False) -> None:
        """Paint what the tool finds at a place of the viewer's world, or take it away."""
        session, tool = self._session, self.tool
        if tool is None:
            return
        if session.viewer.dims.ndisplay != 2:
            self.said.emit(_THREE_D, True)
            return
        place = self._place_of(position)
        if place is None:
            return

        self._find(tool, place, erase)

    def hottest(self) -> None:
        """Paint the hot region around the heatmap's maximum, as a click there would: for those who have no mouse at hand."""
        explanation = self._session.explanation
        place = (0, 0) if explanation is None else divmod(int(explanation.map.argmax()), explanation.map.shape[1])
        self._find(HEAT, place, False)

    def _find(self, tool: str, place: tuple[int, int], erase: bool) -> None:
        """Paint what a tool finds at a pixel, or take it away."""
        session, key = self._session, self._session.key

        def then(region: np.ndarray | None, sentence: str) -> None:
            # In a large image the user may have moved on meanwhile.
            if session.key != key:
                return
            if region is None:
                self.said.emit(sentence, True)
            else:
                self._fill(region, erase)

        self.regions.find(tool, place, then)

    def draw_box(self, one: Any, other: Any, *, erase: bool = False) -> None:
        """Paint the box between two places of the viewer's world, or take it away."""
        if self._session.viewer.dims.ndisplay != 2:
            self.said.emit(_THREE_D, True)
            return
        box = self._box(one, other)
        if box is None:
            self.said.emit("This box is outside the image.", True)
        else:
            self._fill(box, erase)

    def _fill(self, region: np.ndarray, erase: bool) -> None:
        session = self._session
        layer = session.layers.get(MASK)
        if layer is not None:
            # Ctrl+Z goes to the layer that is selected.
            session.viewer.layers.selection.active = layer
        changed = session.fill_region(region, erase=erase)
        self._tell(changed, erase)

    def _box(self, one: Any, other: Any) -> np.ndarray | None:
        """Return the pixels, (H, W) bool, that a box between two places of the world touches; None where it has none."""
        layer = self._session.layers.get(MASK)
        if layer is None:
            return None
        corners = np.stack([np.asarray(layer.world_to_data(place), float)[-2:] for place in (one, other)])
        size = np.array(layer.data.shape[-2:])
        # A pixel reaches half a pixel to each side of its place.
        low, high = np.round(corners.min(0)).astype(int), np.round(corners.max(0)).astype(int)
        if (high < 0).any() or (low >= size).any():
            return None
        region = np.zeros(tuple(size), bool)
        low = np.maximum(low, 0)
        region[low[0] : high[0] + 1, low[1] : high[1] + 1] = True
        return region

    def _tell(self, changed: int, erase: bool) -> None:
        if not changed:
            said = "Nothing is painted here that could be taken away." if erase else "This is painted already."
        else:
            pixels = "1 pixel" if changed == 1 else f"{changed:,} pixels"
            said = f"{pixels} {'taken away' if erase else 'painted'}; Ctrl+Z undoes it."
        self.said.emit(" ".join(part for part in (said, self.remark()) if part), False)

    def _place_of(self, position: Any) -> tuple[int, int] | None:
        """Return the pixel at a place of the viewer's world; None outside the image."""
        layer = self._session.layers.get(MASK)
        if layer is None:
            return None
        row, column = (round(float(value)) for value in layer.world_to_data(position)[-2:])
        height, width = layer.data.shape[-2:]
        return (row, column) if 0 <= row < height and 0 <= column < width else None

    def close(self) -> None:
        """Put the tool down and end the work in the background."""
        self.put_down()
        self.regions.close()
