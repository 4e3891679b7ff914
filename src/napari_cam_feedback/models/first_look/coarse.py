"""Target layers whose maps are so coarse that a heatmap shows little, and the finer layer to choose."""

from __future__ import annotations

import math

from napari_cam_feedback.errors import Remark
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.layers import LayerInfo

#: Up to so many places (4x4) a map is said to be coarse.
MAX_COARSE_PLACES = 16


def finer_layer(classifier: Classifier) -> LayerInfo | None:
    """Return the last layer before the target layer with finer maps through which everything passes; None without one."""
    layers = classifier.layers
    place = next((n for n, info in enumerate(layers) if info.name == classifier.target_layer), len(layers))
    finer = [info for info in layers[:place] if math.prod(info.layout.grid) > MAX_COARSE_PLACES and info.runs == 1]
    whole = [info for info in finer if info.whole]
    return (whole or finer)[-1] if finer else None


def coarse_remark(classifier: Classifier) -> Remark | None:
    """Say in one sentence that the target layer's maps are coarse, and what gives finer ones; None where they are not."""
    target = next((info for info in classifier.layers if info.name == classifier.target_layer), None)
    if target is None or not target.layout.has_places or math.prod(target.layout.grid) > MAX_COARSE_PLACES:
        return None
    finer = finer_layer(classifier)
    said = f"The maps of layer {target.name} are coarse, with {_grid(target)} places"
    if finer is None:
        return Remark(f"{said}; larger images give finer ones.", ("size",))
    return Remark(f"{said}; for finer ones choose {finer.name}, with {_grid(finer)}.", ("layer",))


def shared_remark(classifier: Classifier) -> Remark | None:
    """Say that the target layer runs several times for one image; None where it runs once."""
    target = next((info for info in classifier.layers if info.name == classifier.target_layer), None)
    if target is None or target.runs == 1:
        return None
    return Remark(f"Layer {target.name} runs {target.runs} times for one image; what it puts out last is looked at.")


def layer_remarks(classifier: Classifier) -> list[Remark]:
    """Return what is to be said of the target layer."""
    return [each for each in (coarse_remark(classifier), shared_remark(classifier)) if each]


def _grid(info: LayerInfo) -> str:
    return f"{info.layout.rows}x{info.layout.columns}"
