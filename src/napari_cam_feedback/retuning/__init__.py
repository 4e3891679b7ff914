"""Fine-tuning with feedback, so that a classifier stops using what the expert painted."""

from napari_cam_feedback.retuning.checkpoints import checkpoint_name, take_checkpoint
from napari_cam_feedback.retuning.config import RetuneConfig, make_config, settings_of
from napari_cam_feedback.retuning.judging.checks import Check, check_rows
from napari_cam_feedback.retuning.judging.verdict import Verdict, judge
from napari_cam_feedback.retuning.loop import retune
from napari_cam_feedback.retuning.methods import METHODS, describe_method, method_names
from napari_cam_feedback.retuning.methods.usage import unused_remark
from napari_cam_feedback.retuning.results import RetuneResult, RetuneStep
from napari_cam_feedback.retuning.snapshot import Snapshot, load_snapshot, save_snapshot
from napari_cam_feedback.steps import run_to_end

__all__ = [
    "METHODS",
    "Check",
    "RetuneConfig",
    "RetuneResult",
    "RetuneStep",
    "Snapshot",
    "Verdict",
    "check_rows",
    "checkpoint_name",
    "describe_method",
    "judge",
    "load_snapshot",
    "make_config",
    "method_names",
    "retune",
    "run_to_end",
    "save_snapshot",
    "settings_of",
    "take_checkpoint",
    "unused_remark",
]
