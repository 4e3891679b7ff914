"""The maps of several classes side by side, each over the image, in napari's grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.session.grid_layers import GridLayers
from napari_cam_feedback.widgets.tasks.turns import Pieces
from napari_cam_feedback.widgets.viewer.identity import find_layers, mark, mark_of
from napari_cam_feedback.widgets.viewer.layers import CLASS_MAP, IMAGE, shown_image

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from napari_cam_feedback.explanations import Explanation
    from napari_cam_feedback.explanations.maps.class_maps import Classes, ClassMaps, ClassMapsCache
    from napari_cam_feedback.widgets.session.session import Session

OWNER = "classes"
CLASS_IMAGE = "class image"
#: So that they can be compared, whatever the user changes changes for all.
_LINKED = ("contrast_limits", "gamma", "colormap", "opacity")


class ClassLayers(GridLayers):
    """A cell of the grid for each class: the image and over it the class's map, all maps on one scale.

    They follow the user from image to image until they are hidden, or the grid is left in another way. `described` gives a
    sentence where the maps could not be made, an empty one where they are there.
    """

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(session, OWNER, parent)
        self._classes: Classes = 4
        self._explanation_cache: ClassMapsCache | None = None
        self._size: tuple[int, int, int, int] | None = None
        session.item_changed.connect(self._item_changed)
        session.version_changed.connect(self._forget)
        session.opened.connect(self._opened)

    def choose(self, classes: Classes) -> None:
        """Show so many of the most probable classes, or those of these indices."""
        self._classes = classes
        if self._on:
            self._follow_current()

    def close(self) -> None:
        """End the thread."""
        self._explanation_cache = None
        super().close()

    def _ready(self) -> bool:
        return self._session.classifier is not None

    # Following ------------------------------------------------------------------------------------

    def _opened(self) -> None:
        self.hide()
        self._forget()

    def _forget(self) -> None:
        """Look through another classifier; what the old one is at is of no use any more."""
        self._explanation_cache = None
        self._use(None)

    def _item_changed(self) -> None:
        """Show the next image at once, without maps until they are there; nothing of one that cannot be read."""
        self._forget_wanted()
        if not self._on or self._session.explanation is not None:
            return
        image = self._session.layers.get(IMAGE)
        key = self._session.key
        for layer in find_layers(self._session.viewer, CLASS_MAP):
            layer.data = np.zeros_like(layer.data)
            layer.name = f"{mark_of(layer)['place'] + 1}. …"
        for layer in find_layers(self._session.viewer, CLASS_IMAGE):
            # An image of another kind or size comes with its maps.
            same = image is not None and mark_of(image)["key"] == key and image.data.shape == layer.data.shape
            layer.data = image.data if same else np.zeros_like(layer.data)

    def _follow(self, explanation: Explanation) -> None:
        session = self._session
        if not self._on or session.classifier is None or session.dataset is None:
            return
        if self._explanation_cache is None:
            from napari_cam_feedback.explanations.maps.class_maps import ClassMapsCache

            self._explanation_cache = ClassMapsCache(session.classifier, session.dataset)
            self._use(self._explanation_cache)
        self._explanation_cache.note(explanation)
        self._ask(self._explanation_cache, (explanation.index, self._classes, explanation.method))

    # Layers ---------------------------------------------------------------------------------------

    def _show(self, found: ClassMaps) -> Pieces:
        if not self._on:
            return
        grid = grid_of(self._session)
        image, limits = shown_image(found.image)
        for place in range(len(found.classes)):
            if self._find(CLASS_IMAGE, place) is None and grid.make_room(OWNER):
                self._image(place, image, limits, found)
                yield
            if self._find(CLASS_MAP, place) is None and grid.make_room(OWNER):
                self._map(place, found)
                yield
        with grid.changes():
            self._remove(beyond=len(found.classes))
            cells: list[tuple[Image, Image]] = []
            for place in range(len(found.classes)):
                below = self._image(place, image, limits, found)
                cells.append((below, self._map(place, found)))
            grid.show(
                OWNER, [layer for cell in cells for layer in cell], self._left, stride=2, named=[above for _, above in cells]
            )
        self._link([above for _, above in cells])
        # Cells that are new, or that show an image of another size, are fitted to it; else the user's zoom stays.
        size = (image.shape[0], image.shape[1], found.step, len(cells))
        if self._size not in (None, size):
            self._session.viewer.reset_view()
        self._size = size
        self.described.emit("")

    def _find(self, role: str, place: int) -> Any:
        for layer in find_layers(self._session.viewer, role):
            if mark_of(layer)["place"] == place:
                return layer
        return None

    def _image(self, place: int, image: np.ndarray, limits: tuple[float, float], maps: ClassMaps) -> Image:
        from napari.layers import Image

        layer = self._find(CLASS_IMAGE, place)
        if layer is not None and bool(layer.rgb) != (image.ndim == 3):
            self._session.viewer.layers.remove(layer)
            layer = None
        if layer is None:
            layer = Image(image, name=f"image {place + 1}", rgb=image.ndim == 3, contrast_limits=limits)
            mark(layer, CLASS_IMAGE, maps.key, place=place)
            layer.scale = (maps.step, maps.step)
            grid_of(self._session).add_hidden(OWNER, layer, self.hide)
        else:
            if layer.data is not image:
                layer.data = image
            mark(layer, CLASS_IMAGE, maps.key, place=place)
            if image.ndim == 2:
                layer.contrast_limits_range = limits
                layer.contrast_limits = limits
        layer.scale = (maps.step, maps.step)
        return layer

    def _map(self, place: int, maps: ClassMaps) -> Image:
        from napari.layers import Image

        look = self._session.layers.look
        layer = self._find(CLASS_MAP, place)
        if layer is None:
            layer = Image(
                maps.shown[place],
                colormap=look.colours(),
                opacity=look.opacity,
                contrast_limits=(0, 1),
                blending="translucent_no_depth",
                interpolation2d="linear",
            )
            mark(layer, CLASS_MAP, maps.key, place=place)
            layer.scale = (maps.step, maps.step)
            grid_of(self._session).add_hidden(OWNER, layer, self.hide)
        else:
            if not np.may_share_memory(layer.data, maps.shown[place]):
                layer.data = maps.shown[place]
            mark(layer, CLASS_MAP, maps.key, place=place)
        layer.scale = (maps.step, maps.step)
        # With its place, since napari wants every name once.
        layer.name = f"{place + 1}. {describe_class(maps, place, self._session.class_names)}"
        return layer

    def _link(self, layers: Sequence[Layer]) -> None:
        if len(layers) > 1:
            stack = self._session.viewer.layers
            stack.unlink_layers(layers, _LINKED)
            stack.link_layers(layers, _LINKED)

    def _remove(self, beyond: int = 0) -> None:
        viewer = self._session.viewer
        for role in (CLASS_IMAGE, CLASS_MAP):
            for layer in find_layers(viewer, role):
                if mark_of(layer)["place"] >= beyond:
                    viewer.layers.remove(layer)

    def _left(self) -> None:
        self._wanted = self._size = None
        super()._left()


def describe_class(maps: ClassMaps, place: int, class_names: Sequence[str]) -> str:
    """Return a class, its probability, and that nothing speaks for it where that is so."""
    number = int(maps.classes[place])
    nothing = "" if maps.evidence[place] else ", no positive evidence"
    return f"{class_names[number]} ({maps.probabilities[number]:.2f}){nothing}"
