"""Fine-tuning with feedback, so that a classifier stops using what the expert painted."""

from napari_cam_feedback.retune.checks import Check
from napari_cam_feedback.retune.config import RetuneConfig, make_config
from napari_cam_feedback.retune.loop import RetuneResult, RetuneStep, retune, run_to_end
from napari_cam_feedback.retune.methods import METHODS, describe_method, method_names
from napari_cam_feedback.retune.verdict import Verdict, judge

__all__ = [
    "METHODS",
    "Check",
    "RetuneConfig",
    "RetuneResult",
    "RetuneStep",
    "Verdict",
    "describe_method",
    "judge",
    "make_config",
    "method_names",
    "retune",
    "run_to_end",
]
