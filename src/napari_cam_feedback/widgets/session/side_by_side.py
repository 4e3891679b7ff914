"""Before and after a retune: the current image with either CAM over it, side by side, and their difference."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.session.grid_layers import GridLayers
from napari_cam_feedback.widgets.tasks.turns import Pieces
from napari_cam_feedback.widgets.viewer.identity import find_layers, mark, mark_of
from napari_cam_feedback.widgets.viewer.layers import CAM_AFTER, CAM_BEFORE, shown_image

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_cam_feedback.explanations import Explanation, ExplanationCache
    from napari_cam_feedback.explanations.targets import Target
    from napari_cam_feedback.widgets.session.session import Session

OWNER = "comparison"
#: The difference of two maps in 0..1 is shown with at least this range on either side.
MIN_DIFFERENCE_LIMIT = 0.3
#: Roles of the comparison layers, and their names unless they are given others.
LAYER_NAMES = (CAM_BEFORE, CAM_AFTER, "CAM difference")
#: Role of the image below each of them.
BELOW = "image below a comparison"
#: So that the two maps can be compared, whatever the user changes of one changes for the other; what does not belong to
#: a colour scale changes for the difference too.
_LINKED = ("contrast_limits", "gamma", "colormap")
_LINKED_FOR_ALL = ("opacity", "blending", "interpolation2d")


@dataclass(frozen=True)
class Pair:
    """One image as two classifiers see it, with maps ready to be shown.

    Attributes
    ----------
    before, after : Explanation
        Of the same item, class and method.
    maps : dict
        Layer name to (H, W) float32: ``CAM before`` and ``CAM after`` in 0..1, ``CAM difference``, after minus before,
        in -1..1.
    """

    before: Explanation
    after: Explanation
    maps: dict[str, np.ndarray]


class ExplanationPairs:
    """Pairs of explanations, the class being the one that the classifier *before* is asked about.

    So "predicted" is the class that *before* predicts, of whichever of the two the map is. It has the `classifier`, `peek`
    and `get` of an `ExplanationCache`, so that the same loader can drive it.

    Parameters
    ----------
    before, after : ExplanationCache
        Of two classifiers and one dataset.
    """

    def __init__(self, before: ExplanationCache, after: ExplanationCache, capacity: int = 16) -> None:
        self.before, self.after = before, after
        # Whose forward passes the loader may break off; the other's maps are mostly there already.
        self.classifier = after.classifier
        self._capacity = capacity
        self._kept: OrderedDict[tuple[int, Any, str], Pair] = OrderedDict()
        self._given: Explanation | None = None
        self._lock = threading.Lock()

    def note(self, explanation: Explanation) -> None:
        """Use this explanation of the classifier before instead of making it anew."""
        self._given = explanation

    def peek(self, index: int, target: Target, method: str) -> Pair | None:
        """Return a pair if it is there already; never computes."""
        with self._lock:
            return self._kept.get((index, target, method))

    def get(self, index: int, target: Target, method: str) -> Pair:
        """Return a pair, made now if need be; raises what `ExplanationCache.get` raises."""
        from napari_cam_feedback.explanations import cam_display

        found = self.peek(index, target, method)
        if found is not None:
            return found
        before = self._given
        if before is None or (before.index, _asked(before, target), before.method) != (index, before.target, method):
            before = self.before.get(index, target, method)
        after = self.after.get(index, before.target, method)
        shown = [cam_display(before.shown), cam_display(after.shown)]
        pair = Pair(before, after, dict(zip(LAYER_NAMES, [*shown, shown[1] - shown[0]], strict=True)))
        with self._lock:
            self._kept[index, target, method] = pair
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return pair


def _asked(explanation: Explanation, target: Target) -> int | None:
    """Return the class that a target is, for the classifier that an explanation is of."""
    named = {"predicted": explanation.predicted, "true": explanation.label}
    return named.get(target) if isinstance(target, str) else target


class ComparisonLayers(GridLayers):
    """The CAMs of the current image before and after, and their difference, beside it in napari's grid.

    They follow the user from image to image until they are hidden. `described` tells what the two classifiers make of the
    current image, whether the layers are shown or not.

    Parameters
    ----------
    session : Session
        Whose image is compared.
    owner : str
        Who shows them: layers of another owner are left alone.
    """

    def __init__(self, session: Session, parent: QObject | None = None, *, owner: str = OWNER) -> None:
        super().__init__(session, owner, parent)
        self._pairs: ExplanationPairs | None = None
        self._names = LAYER_NAMES

    def use(self, pairs: ExplanationPairs | None, names: tuple[str, str, str] = LAYER_NAMES) -> None:
        """Compare these two from now on; None ends the comparison.

        Parameters
        ----------
        pairs : ExplanationPairs or None
            The two.
        names : tuple of str
            What the layers are called.
        """
        self.hide()
        self._pairs, self._names = pairs, names
        self._use(pairs)
        self._follow_current()

    def close(self) -> None:
        """End the thread."""
        self._pairs = None
        super().close()

    def _ready(self) -> bool:
        return self._pairs is not None

    def _follow(self, explanation: Explanation) -> None:
        pairs = self._pairs
        if pairs is None:
            return
        if self._session.explanation_cache is pairs.before:
            pairs.note(explanation)
        # The session's class is that of its own classifier, which need not be one of the two.
        predicted = self._session.target == "predicted" or (self._session.target == "true" and explanation.label is None)
        self._ask(pairs, (explanation.index, "predicted" if predicted else explanation.target, explanation.method))

    def _show(self, found: Pair) -> Pieces:
        self.described.emit(describe_pair(found, self._session.class_names))
        if not self._on:
            return
        grid = grid_of(self._session)
        image, limits = shown_image(found.before.image)
        for place, role in enumerate(LAYER_NAMES):
            if self._find(BELOW, place) is None and grid.make_room(self._owner):
                self._image(place, image, limits, found.before.key)
                yield
            if self._find(role) is None and grid.make_room(self._owner):
                self._layer(place, found)
                yield
        with grid.changes():
            images = [self._image(place, image, limits, found.before.key) for place in range(len(LAYER_NAMES))]
            layers = [self._layer(place, found) for place in range(len(LAYER_NAMES))]
            cells = [layer for cell in zip(images, layers, strict=True) for layer in cell]
            grid.show(self._owner, cells, self._left, stride=2, named=layers)
        self._session.viewer.layers.link_layers(images, _LINKED)
        # Those that are linked already stay as they are; a layer that goes is unlinked by napari.
        self._session.viewer.layers.link_layers(layers[:2], _LINKED)
        self._session.viewer.layers.link_layers(layers, _LINKED_FOR_ALL)

    def _find(self, role: str, place: int | None = None) -> Any:
        for layer in find_layers(self._session.viewer, role):
            about = mark_of(layer)
            if about.get("owner") == self._owner and about.get("place") == place:
                return layer
        return None

    def _image(self, place: int, image: np.ndarray, limits: tuple[float, float], key: str) -> Image:
        """The image below a map; whatever the user changes of how one is shown changes for the others."""
        from napari.layers import Image

        viewer, layer = self._session.viewer, self._find(BELOW, place)
        if layer is not None and bool(layer.rgb) != (image.ndim == 3):
            viewer.layers.remove(layer)
            layer = None
        if layer is None:
            layer = Image(image, name=f"image below {self._names[place]}", rgb=image.ndim == 3, contrast_limits=limits)
            mark(layer, BELOW, key, owner=self._owner, place=place)
            grid_of(self._session).add_hidden(self._owner, layer, self.hide)
            return layer
        if layer.data is not image:
            layer.data = image
        mark(layer, BELOW, key, owner=self._owner, place=place)
        if image.ndim == 2:
            layer.contrast_limits_range = limits
            layer.contrast_limits = limits
        return layer

    def _layer(self, place: int, pair: Pair) -> Image:
        from napari.layers import Image

        role = LAYER_NAMES[place]
        data = pair.maps[role]
        layer = self._find(role)
        difference = place == 2
        # Symmetric, so that nothing is "as before"; a floor keeps tiny changes from looking like large ones.
        largest = max(float(np.abs(data).max(initial=0)), MIN_DIFFERENCE_LIMIT)
        limits = (-largest, largest) if difference else (0.0, 1.0)
        # Cells are drawn as cells.
        interpolation = "nearest" if pair.before.coarse else "linear"
        if layer is not None:
            if layer.data is not data:
                layer.data = data
            layer.interpolation2d = interpolation
            mark(layer, role, pair.before.key, owner=self._owner)
            if difference:
                layer.contrast_limits = limits
            return layer
        layer = Image(
            data,
            name=self._names[place],
            colormap=difference_colormap() if difference else self._session.layers.look.colours(),
            contrast_limits=limits,
            opacity=self._session.layers.look.opacity,
            blending="translucent_no_depth",
            interpolation2d=interpolation,
        )
        mark(layer, role, pair.before.key, owner=self._owner)
        if difference:
            layer.contrast_limits_range = (-1.0, 1.0)
        grid_of(self._session).add_hidden(self._owner, layer, self.hide)
        return layer

    def _remove(self) -> None:
        for role in LAYER_NAMES:
            layer = self._find(role)
            if layer is not None:
                self._session.viewer.layers.remove(layer)
        for place in range(len(LAYER_NAMES)):
            layer = self._find(BELOW, place)
            if layer is not None:
                self._session.viewer.layers.remove(layer)


def describe_pair(pair: Pair, class_names: Sequence[str]) -> str:
    """Return one sentence on what the two classifiers make of one image."""
    before, after = pair.before, pair.after
    names = [class_names[n] if n < len(class_names) else str(n) for n in (before.predicted, after.predicted)]
    predicted = f"still predicted {names[0]}" if names[0] == names[1] else f"predicted {names[0]}, now {names[1]}"
    target = class_names[before.target] if before.target < len(class_names) else str(before.target)
    change = f"{before.probabilities[before.target]:.2f} → {after.probabilities[before.target]:.2f}"
    truth = ""
    if before.label is not None and before.label < len(class_names):
        truth = f", truly {class_names[before.label]}"
    return f"This image: {predicted}{truth}. The CAMs are of class {target}, whose probability went {change}."


def difference_colormap() -> Any:
    """Return a diverging colormap: blue where the map lost, red where it gained, nothing where it stayed."""
    from napari.utils.colormaps import Colormap

    anchors = [(0.35, 0.75, 1.0, 1), (0.05, 0.3, 0.75, 1), (0, 0, 0, 0), (0.75, 0.12, 0.08, 1), (1.0, 0.65, 0.4, 1)]
    return Colormap(anchors, name="after minus before")
