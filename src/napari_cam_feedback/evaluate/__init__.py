"""Did it help? Accuracy, right-reasons measures, comparison of versions."""

from napari_cam_feedback.evaluate.comparison import MEASURES, Comparison, ComparisonRow, compare
from napari_cam_feedback.evaluate.evaluation import ClassResult, Evaluation, SplitResult, evaluate
from napari_cam_feedback.evaluate.fills import FILLS, MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluate.pictures import Picture, picture_before_after
from napari_cam_feedback.evaluate.predictions import Predictions, predict
from napari_cam_feedback.evaluate.report import show, write_report
from napari_cam_feedback.evaluate.right_reasons import RightReasons, check_mask, right_reasons

__all__ = [
    "FILLS",
    "MEASURES",
    "MEASURING_FILLS",
    "ClassResult",
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "Picture",
    "Predictions",
    "RightReasons",
    "SplitResult",
    "check_mask",
    "compare",
    "evaluate",
    "get_fill",
    "picture_before_after",
    "predict",
    "right_reasons",
    "show",
    "write_report",
]
