"""Did it help? Accuracy, right-reasons measures, comparison of versions."""

from napari_cam_feedback.evaluate.comparison import MEASURES, Comparison, ComparisonRow, compare
from napari_cam_feedback.evaluate.evaluation import ClassResult, Evaluation, SplitResult, evaluate
from napari_cam_feedback.evaluate.fills import FILLS, MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluate.predictions import Predictions, predict
from napari_cam_feedback.evaluate.right_reasons import KnownMasks, RightReasons, check_mask, right_reasons

__all__ = [
    "FILLS",
    "MEASURES",
    "MEASURING_FILLS",
    "ClassResult",
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "KnownMasks",
    "Predictions",
    "RightReasons",
    "SplitResult",
    "check_mask",
    "compare",
    "evaluate",
    "get_fill",
    "predict",
    "right_reasons",
]
