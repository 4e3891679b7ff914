"""Did it help? Accuracy, right-reasons measures, comparison of versions."""

from napari_cam_feedback.evaluate.certainty import (
    Certainty,
    Interval,
    change_interval,
    mcnemar,
    mean_interval,
    rate_interval,
)
from napari_cam_feedback.evaluate.comparison import Comparison, ComparisonRow, compare, reasons_rows
from napari_cam_feedback.evaluate.evaluation import ClassResult, Evaluation, SplitResult
from napari_cam_feedback.evaluate.fills import FILLS, MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluate.flips import KINDS, Flips, find_flips
from napari_cam_feedback.evaluate.inpainting import Inpainter, load_inpainter
from napari_cam_feedback.evaluate.kept import KeptPredictions
from napari_cam_feedback.evaluate.latex import class_table, escape_latex, latex_tables, measure_table
from napari_cam_feedback.evaluate.measures import MEASURES, REASONS, Measure, show, show_specificity
from napari_cam_feedback.evaluate.measuring import evaluate
from napari_cam_feedback.evaluate.painted_history import PaintedHistory, draw_painted_history, read_painted_history
from napari_cam_feedback.evaluate.pictures import Picture, picture_versions
from napari_cam_feedback.evaluate.predictions import Predictions, predict
from napari_cam_feedback.evaluate.provenance import package_versions, report_facts
from napari_cam_feedback.evaluate.report import write_report
from napari_cam_feedback.evaluate.right_reasons import ItemReasons, RightReasons, item_reasons, right_reasons
from napari_cam_feedback.evaluate.version_report import report_versions, summarise
from napari_cam_feedback.evaluate.versions import VersionComparison, compare_models

__all__ = [
    "FILLS",
    "KINDS",
    "MEASURES",
    "MEASURING_FILLS",
    "REASONS",
    "Certainty",
    "ClassResult",
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "Flips",
    "Inpainter",
    "Interval",
    "ItemReasons",
    "KeptPredictions",
    "Measure",
    "PaintedHistory",
    "Picture",
    "Predictions",
    "RightReasons",
    "SplitResult",
    "VersionComparison",
    "change_interval",
    "class_table",
    "compare",
    "compare_models",
    "draw_painted_history",
    "escape_latex",
    "evaluate",
    "find_flips",
    "get_fill",
    "item_reasons",
    "latex_tables",
    "load_inpainter",
    "mcnemar",
    "mean_interval",
    "measure_table",
    "package_versions",
    "picture_versions",
    "predict",
    "rate_interval",
    "read_painted_history",
    "reasons_rows",
    "report_facts",
    "report_versions",
    "right_reasons",
    "show",
    "show_specificity",
    "summarise",
    "write_report",
]
