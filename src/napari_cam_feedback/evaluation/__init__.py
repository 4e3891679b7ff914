"""Did it help? Accuracy, right-reasons measures, comparison of versions."""

from napari_cam_feedback.evaluation.comparison import Comparison, ComparisonRow, compare, reasons_rows
from napari_cam_feedback.evaluation.flips import KINDS, Flips, find_flips
from napari_cam_feedback.evaluation.intervals import (
    Certainty,
    Interval,
    change_interval,
    mcnemar,
    mean_interval,
    rate_interval,
)
from napari_cam_feedback.evaluation.key_numbers import KeyNumber
from napari_cam_feedback.evaluation.measures import MEASURES, REASONS, Measure, show, show_specificity
from napari_cam_feedback.evaluation.measuring import evaluate
from napari_cam_feedback.evaluation.perturbations.fills import FILLS, MEASURING_FILLS, get_fill
from napari_cam_feedback.evaluation.perturbations.inpainting import Inpainter, load_inpainter
from napari_cam_feedback.evaluation.predictions import KeptPredictions, Predictions, predict
from napari_cam_feedback.evaluation.report.latex import class_table, escape_latex, latex_tables, measure_table
from napari_cam_feedback.evaluation.report.painted_history import PaintedHistory, draw_painted_history, read_painted_history
from napari_cam_feedback.evaluation.report.pictures import Picture, picture_versions
from napari_cam_feedback.evaluation.report.provenance import package_versions, report_facts
from napari_cam_feedback.evaluation.report.telling import advice, key_numbers, verdict_of
from napari_cam_feedback.evaluation.report.versions import report_versions, summarise
from napari_cam_feedback.evaluation.report.write import write_report
from napari_cam_feedback.evaluation.results import ClassResult, Evaluation, SplitResult
from napari_cam_feedback.evaluation.right_reasons import ItemReasons, RightReasons, item_reasons, right_reasons
from napari_cam_feedback.evaluation.versions import VersionComparison, compare_models

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
    "KeyNumber",
    "Measure",
    "PaintedHistory",
    "Picture",
    "Predictions",
    "RightReasons",
    "SplitResult",
    "VersionComparison",
    "advice",
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
    "key_numbers",
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
    "verdict_of",
    "write_report",
]
