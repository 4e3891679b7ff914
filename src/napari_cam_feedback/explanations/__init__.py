"""What the model uses: attribution maps and filters."""

from napari_cam_feedback.explanations.display import (
    cam_display,
    common_display,
    contour_segments,
    has_evidence,
    mass_inside,
    unit_range,
)
from napari_cam_feedback.explanations.filters.accuracy_curve import AccuracyCurve, accuracy_curve
from napari_cam_feedback.explanations.filters.changes import FilterChanges, change_histograms, filter_changes
from napari_cam_feedback.explanations.filters.embedding import (
    EMBEDDING_METHODS,
    Embedding,
    embed,
    embedding_steps,
    umap_installed,
)
from napari_cam_feedback.explanations.filters.features import Features, features_of, iterate_features, load_features
from napari_cam_feedback.explanations.filters.gallery import ContactSheet, Gallery, Tile, contact_sheet, gallery
from napari_cam_feedback.explanations.filters.marks import FilterMarks, agreement, load_marks
from napari_cam_feedback.explanations.filters.ranking import FilterRanking, rank_filters
from napari_cam_feedback.explanations.filters.statistics import (
    activation_under_masks,
    class_contributions,
    class_histograms,
    class_means,
    top_images,
)
from napari_cam_feedback.explanations.filters.survey import FilterSurvey, survey_filters
from napari_cam_feedback.explanations.maps.base import AttributionMethod, MapBatch
from napari_cam_feedback.explanations.maps.class_maps import ClassMaps, ClassMapsCache, class_maps
from napari_cam_feedback.explanations.maps.explanation import (
    FILTER_ORDERS,
    Explanation,
    ExplanationCache,
    FilterOrder,
    explain_item,
)
from napari_cam_feedback.explanations.maps.registry import METHODS, default_method, get_method
from napari_cam_feedback.explanations.maps.split import Explanations, ItemMap, explain, iterate_maps
from napari_cam_feedback.explanations.maps.writing import MapsWritten, write_maps, writing_maps
from napari_cam_feedback.explanations.targets import Target, class_index, resolve_target
from napari_cam_feedback.explanations.tcav.config import ConceptTestConfig
from napari_cam_feedback.explanations.tcav.report import concept_chart, draw_concepts, save_chart
from napari_cam_feedback.explanations.tcav.result import ConceptResult, ConceptRow
from napari_cam_feedback.explanations.tcav.sets import ConceptSet, painted_concept, read_concept, read_concepts
from napari_cam_feedback.explanations.tcav.tcav import concepts, default_concept_layer
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.old_names import old_names

__all__ = [
    "EMBEDDING_METHODS",
    "FILTER_ORDERS",
    "METHODS",
    "AccuracyCurve",
    "AttributionMethod",
    "ClassMaps",
    "ClassMapsCache",
    "ConceptResult",
    "ConceptRow",
    "ConceptSet",
    "ConceptTestConfig",
    "ContactSheet",
    "Embedding",
    "Explanation",
    "ExplanationCache",
    "Explanations",
    "Features",
    "FilterChanges",
    "FilterMarks",
    "FilterOrder",
    "FilterRanking",
    "FilterSurvey",
    "Gallery",
    "ItemMap",
    "MapBatch",
    "MapsWritten",
    "Target",
    "Tile",
    "accuracy_curve",
    "activation_under_masks",
    "agreement",
    "cam_display",
    "change_histograms",
    "class_contributions",
    "class_histograms",
    "class_index",
    "class_maps",
    "class_means",
    "common_display",
    "concept_chart",
    "concepts",
    "contact_sheet",
    "contour_segments",
    "default_concept_layer",
    "default_method",
    "draw_concepts",
    "embed",
    "embedding_steps",
    "explain",
    "explain_item",
    "features_of",
    "filter_changes",
    "gallery",
    "get_method",
    "has_evidence",
    "iterate_features",
    "iterate_maps",
    "load_features",
    "load_marks",
    "masks_at_layer",
    "mass_inside",
    "painted_concept",
    "rank_filters",
    "read_concept",
    "read_concepts",
    "resolve_target",
    "save_chart",
    "survey_filters",
    "top_images",
    "umap_installed",
    "unit_range",
    "write_maps",
    "writing_maps",
]

__getattr__ = old_names(__name__)
