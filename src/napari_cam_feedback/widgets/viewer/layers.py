"""Our layers in the viewer: their names, their looks, and showing one item in the same few of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.widgets.viewer.alignment import PLACE, lay_on
from napari_cam_feedback.widgets.viewer.identity import find_layer, find_layers, mark, mark_of, role_of, unlink
from napari_cam_feedback.widgets.viewer.map_style import MapLook
from napari_cam_feedback.widgets.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

IMAGE, CAM, CONTOUR, MASK = "image", "cam", "contour", "mask"
#: What the layers are called in the layer list.
NAMES = {IMAGE: "image", CAM: "CAM", CONTOUR: "CAM contour", MASK: "irrelevant"}
#: From the bottom to the top of the layer list.
ROLES = (IMAGE, CAM, CONTOUR, MASK)
#: Maps in cells of the grid: of one class among several, and before and after a retune.
CLASS_MAP, CAM_BEFORE, CAM_AFTER = "class map", "CAM before", "CAM after"

# Set for each image and map; a layer that the user has linked to ours must neither take them nor change them.
_OURS_ALONE = ("colormap", "contrast_limits", "contrast_limits_range")
#: Of the contour's line, as a share of the image's longer side.
CONTOUR_WIDTH = 1 / 250
#: Light blue is seen on dark and on light images, and is not the mask's.
CONTOUR_COLOUR = "#00e5ff"


def mask_colormap() -> Any:
    """Return a colormap in which every painted label has the one colour of a mask, as the user has set it."""
    from napari.utils.colormaps import DirectLabelColormap

    colour = preferences().mask_rgba
    return DirectLabelColormap(color_dict={0: "transparent", 1: colour, None: colour})


def shown_image(image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Return an image as napari shows it, and its contrast limits.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 3); uint8, uint16 or float.

    Returns
    -------
    ndarray
        The same; colour images as uint8, because napari ignores contrast limits for colours.
    tuple of float
        Black and white: the whole range of 8-bit images, the image's own range of others.
    """
    if image.dtype == np.uint8:
        return image, (0.0, 255.0)
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    if np.issubdtype(image.dtype, np.floating) and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if high <= low:
        high = low + 1.0
    if image.ndim == 3:
        stretched = (np.nan_to_num(image.astype(np.float32)) - low) * (255.0 / (high - low))
        return np.clip(stretched, 0, 255).astype(np.uint8), (0.0, 255.0)
    return image, (low, high)


def brush_size(size: tuple[int, int]) -> int:
    """Return a sensible diameter of the brush, in pixels, for an image of (H, W)."""
    return max(2, round(0.08 * min(size)))


class ItemLayers:
    """The layers of the current item: image, CAM and mask, and the CAM's contour where it is wanted.

    Moving replaces their data, which is much faster than new layers and keeps what the user set (opacity,
    colours, visibility, brush). A layer that was deleted is made again.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.

    Attributes
    ----------
    look : MapLook
        How maps are drawn; change it with `set_look`.
    aside : dict
        By role, of layers that the program hides for a while: whether the user had them shown.
    tell : callable
        Takes a sentence for the user and its level, as `Session.notify`.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self.look = MapLook.preferred()
        self._to_hide: set[str] = set()
        self.aside: dict[str, bool] = {}
        self._size: tuple[int, int] | None = None
        self._limits: tuple[float, float] | None = None
        self.tell: Callable[[str, str], object] = lambda text, level: None
        self._aligning = False
        #: Whether the map that was shown last was drawn as cells.
        self._cells = False

    @property
    def viewer(self) -> Any:
        """The viewer; None when it is gone."""
        return self._viewer()

    def get(self, role: str) -> Any:
        """Return the layer of that role, or None."""
        viewer = self.viewer
        return None if viewer is None else find_layer(viewer, role)

    def show_image(self, image: np.ndarray, key: str) -> Image:
        """Show an image; the view is fitted to it when its size is another than before."""
        data, limits = shown_image(image)
        self.drop_blank()
        layer = self.get(IMAGE)
        # napari cannot turn a gray layer into a colour one; and one whose data were set to what it cannot show stays broken.
        if layer is not None and (bool(layer.rgb) != (data.ndim == 3) or np.ndim(layer.data) != data.ndim):
            self.viewer.layers.remove(layer)
            layer = None
        if layer is None:
            from napari.layers import Image

            layer = Image(data, name=NAMES[IMAGE], rgb=data.ndim == 3, contrast_limits=limits)
            mark(layer, IMAGE, key)
            self._insert(layer, IMAGE)
        else:
            unlink(layer, _OURS_ALONE)
            layer.data = data
            mark(layer, IMAGE, key)
            # Limits that the user set by hand stay, as long as the images are of one kind.
            if data.ndim == 2 and limits != self._limits:
                layer.contrast_limits_range = limits
                layer.contrast_limits = limits
        self._limits = limits
        return layer

    def drop_blank(self, *, alone: bool = False) -> None:
        """Take away the dark image that a sample was opened with, where there is another: it would cover map and mask.

        Also where it is `alone`, since nothing came of opening the sample.
        """
        viewer = self.viewer
        there = [] if viewer is None else find_layers(viewer, IMAGE)
        for layer in there:
            if (alone or len(there) > 1) and mark_of(layer).get("blank"):
                viewer.layers.remove(layer)

    def show_cam(self, shown: np.ndarray, key: str, *, cells: bool | None = None) -> Image:
        """Show a map, (H, W) float32 in 0..1; zeros are invisible.

        With `cells` each place of a coarse map is drawn as a cell; None leaves it as it was.
        """
        cells = self._cells if cells is None else cells
        interpolation = "nearest" if cells else "linear"
        layer = self.get(CAM)
        if layer is None:
            from napari.layers import Image

            layer = Image(
                shown,
                name=NAMES[CAM],
                colormap=self.look.colours(),
                opacity=self.look.opacity,
                blending="translucent_no_depth",
                interpolation2d=interpolation,
                contrast_limits=(0, 1),
            )
            mark(layer, CAM, key)
            self._insert(layer, CAM)
        else:
            unlink(layer, _OURS_ALONE)
            if cells != self._cells:
                # Else it is as the user has set it.
                layer.interpolation2d = interpolation
            layer.data = shown
            mark(layer, CAM, key)
        self._cells = cells
        self._show_contour(shown, key)
        return layer

    def set_look(self, look: MapLook) -> None:
        """Draw maps so from now on, those that are shown too."""
        before, self.look = self.look, look
        viewer = self.viewer
        if viewer is None:
            return
        for layer in viewer.layers:
            role = role_of(layer)
            if role in (CAM, CLASS_MAP) and look.opacity != before.opacity:
                layer.opacity = look.opacity
            if role in (CAM, CLASS_MAP, CAM_BEFORE, CAM_AFTER) and look.colormap != before.colormap:
                if role == CAM:
                    unlink(layer, _OURS_ALONE)
                layer.colormap = look.colours()
        cam = self.get(CAM)
        if look.contour != before.contour and cam is not None:
            self._show_contour(cam.data, mark_of(cam)["key"])

    def hidden(self) -> list[str]:
        """Return the roles of those of our layers that the user has hidden, in the order of `ROLES`."""
        found = {role: layer for role in ROLES if (layer := self.get(role)) is not None}
        return [role for role, layer in found.items() if not self.aside.get(role, layer.visible)]

    def put_aside(self, roles: Iterable[str]) -> None:
        """Hide the layers of these roles until `bring_back`; the user's own choice is remembered."""
        for role in roles:
            layer = self.get(role)
            if layer is not None and role not in self.aside:
                self.aside[role] = bool(layer.visible)
                layer.visible = False

    def bring_back(self, roles: Iterable[str]) -> None:
        """Show the layers of these roles as the user had them before `put_aside`."""
        for role in roles:
            layer, shown = self.get(role), self.aside.pop(role, None)
            if layer is not None and shown is not None:
                layer.visible = shown

    def hide(self, roles: Iterable[str]) -> None:
        """Hide the layers of these roles and show the others; one that is not there yet, once it is made."""
        self._to_hide = set(roles) & set(ROLES)
        self.aside.clear()
        for role in ROLES:
            layer = self.get(role)
            if layer is not None:
                layer.visible = role not in self._to_hide
                self._to_hide.discard(role)

    def _show_contour(self, shown: np.ndarray, key: str | None) -> None:
        """Draw the line around where a map reaches the chosen share of its maximum, or remove it where none is wanted."""
        layer = self.get(CONTOUR)
        if self.look.contour is None:
            if layer is not None:
                self.viewer.layers.remove(layer)
            return
        from napari_cam_feedback.explanations.display import contour_segments

        # Shown maps reach from 0 to 1, so the share of the maximum is the level.
        pieces = contour_segments(shown, self.look.contour / 100)
        width = max(shown.shape) * CONTOUR_WIDTH
        if layer is None:
            from napari.layers import Vectors

            layer = Vectors(
                pieces, name=NAMES[CONTOUR], ndim=2, vector_style="line", edge_color=CONTOUR_COLOUR, edge_width=width
            )
            mark(layer, CONTOUR, key)
            self._insert(layer, CONTOUR)
            cam = self.get(CAM)
            layer.visible = cam is None or cam.visible
            if CAM in self.aside:
                self.aside[CONTOUR] = self.aside[CAM]
        else:
            layer.data = pieces
            layer.edge_width = width
            mark(layer, CONTOUR, key)

    def clear(self) -> None:
        """Show nothing in the layers that there are."""
        for role in (MASK, CAM, IMAGE):
            layer = self.get(role)
            if layer is not None:
                layer.data = np.zeros_like(layer.data)
        cam = self.get(CAM)
        if cam is not None:
            self._show_contour(cam.data, None)

    def show_mask(self, mask: np.ndarray, key: str | None) -> Labels:
        """Show a mask, (H, W) bool; undo starts afresh, so that it cannot reach into another item's mask."""
        data = mask.astype(np.uint8)
        layer = self.get(MASK)
        if layer is None:
            from napari.layers import Labels

            layer = Labels(data, name=NAMES[MASK], colormap=mask_colormap(), opacity=0.6)
            mark(layer, MASK, key)
            layer.brush_size = brush_size(mask.shape)
            self._insert(layer, MASK)
            self.viewer.layers.selection.active = layer
        else:
            layer.data = data
            mark(layer, MASK, key)
            forget_history(layer)
            if mask.shape != self._size:
                layer.brush_size = brush_size(mask.shape)
        return layer

    def fit(self, size: tuple[int, int]) -> None:
        """Fit the view to the image if its size has changed."""
        if size != self._size:
            self._size = size
            if self.viewer is not None:
                self.viewer.reset_view()

    def _moved(self, event: Any) -> None:
        """Lay map and mask on the image again where one of them was moved; whoever moves the image moves all."""
        moved = self._align()
        if moved and event.source is not self.get(IMAGE) and role_of(event.source) is not None:
            self.tell(f"“{event.source.name}” lies on its image again: move that, and all of it moves.", "info")

    def _align(self) -> bool:
        image = self.get(IMAGE)
        if image is None or self._aligning:
            return False
        self._aligning = True
        try:
            others = [layer for role in (CAM, CONTOUR, MASK) if (layer := self.get(role)) is not None]
            moved = [lay_on(layer, image) for layer in others]
            return any(moved)
        finally:
            self._aligning = False

    def _insert(self, layer: Layer, role: str) -> None:
        """Add a layer at its place among ours: image below CAM below mask."""
        viewer = self.viewer
        for name in PLACE:
            getattr(layer.events, name).connect(self._moved)
        above = ROLES[ROLES.index(role) + 1 :]
        places = [viewer.layers.index(found) for other in above if (found := self.get(other)) is not None]
        selected = viewer.layers.selection.active
        if role in self._to_hide:
            self._to_hide.discard(role)
            layer.visible = False
        viewer.layers.insert(min(places) if places else len(viewer.layers), layer)
        self._align()
        if selected is not None and selected in viewer.layers:
            viewer.layers.selection.active = selected


def forget_history(layer: Labels) -> None:
    """Empty a Labels layer's undo history by public means: make it not editable, and editable again."""
    if not layer.editable:
        return
    mode = layer.mode
    layer.editable = False
    layer.editable = True
    if layer.mode != mode:
        layer.mode = mode
