"""Did it help? Accuracy, right-reasons measures, comparison of versions."""

from napari_cam_feedback.evaluate.comparison import Comparison, ComparisonRow, compare, reasons_rows
from napari_cam_feedback.evaluate.evaluation import ClassResult, Evaluation, SplitResult, evaluate
from napari_cam_feedback.evaluate.fills import FILLS, MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluate.inpainting import Inpainter, load_inpainter
from napari_cam_feedback.evaluate.measures import MEASURES, REASONS, Measure, show, show_specificity
from napari_cam_feedback.evaluate.pictures import Picture, picture_before_after
from napari_cam_feedback.evaluate.predictions import Predictions, predict
from napari_cam_feedback.evaluate.report import write_report
from napari_cam_feedback.evaluate.right_reasons import RightReasons, check_mask, right_reasons

__all__ = [
    "FILLS",
    "MEASURES",
    "MEASURING_FILLS",
    "REASONS",
    "ClassResult",
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "Inpainter",
    "Measure",
    "Picture",
    "Predictions",
    "RightReasons",
    "SplitResult",
    "check_mask",
    "compare",
    "evaluate",
    "get_fill",
    "load_inpainter",
    "picture_before_after",
    "predict",
    "reasons_rows",
    "right_reasons",
    "show",
    "show_specificity",
    "write_report",
]
