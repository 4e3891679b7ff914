"""What the model uses: attribution maps and filters."""

from napari_cam_feedback.explain.inspect import (
    FILTER_ORDERS,
    FilterOrder,
    Inspection,
    Inspector,
    inspect_item,
)
from napari_cam_feedback.explain.layer_masks import masks_at_layer
from napari_cam_feedback.explain.maps import AttributionMethod, MapBatch
from napari_cam_feedback.explain.methods import METHODS, default_method, get_method
from napari_cam_feedback.explain.split_maps import Explanations, ItemMap, explain, iterate_maps
from napari_cam_feedback.explain.targets import Target, class_index, resolve_target
from napari_cam_feedback.explain.views import cam_display, has_evidence, mass_inside, unit_range

__all__ = [
    "FILTER_ORDERS",
    "METHODS",
    "AttributionMethod",
    "Explanations",
    "FilterOrder",
    "Inspection",
    "Inspector",
    "ItemMap",
    "MapBatch",
    "Target",
    "cam_display",
    "class_index",
    "default_method",
    "explain",
    "get_method",
    "has_evidence",
    "inspect_item",
    "iterate_maps",
    "masks_at_layer",
    "mass_inside",
    "resolve_target",
    "unit_range",
]
