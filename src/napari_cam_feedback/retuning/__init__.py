"""Fine-tuning with feedback, so that a classifier stops using what the expert painted."""

from napari_cam_feedback.old_names import old_names
from napari_cam_feedback.retuning.checkpoints import checkpoint_name, take_checkpoint
from napari_cam_feedback.retuning.config import RetuneConfig, make_config, settings_of
from napari_cam_feedback.retuning.images.colour_style import find_colours
from napari_cam_feedback.retuning.images.shown_style import find_style
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics, check_rows, key_numbers
from napari_cam_feedback.retuning.judging.more_masks import MoreMasks, more_masks
from napari_cam_feedback.retuning.judging.verdict import Verdict, judge
from napari_cam_feedback.retuning.loop import retune
from napari_cam_feedback.retuning.methods import METHODS, describe_method, method_names
from napari_cam_feedback.retuning.methods.usage import unused_remark
from napari_cam_feedback.retuning.results import RetuneResult, RetuneStep
from napari_cam_feedback.retuning.run_state import RunState, load_run_state, save_run_state
from napari_cam_feedback.steps import run_to_end

__all__ = [
    "METHODS",
    "MoreMasks",
    "RetuneConfig",
    "RetuneResult",
    "RetuneStep",
    "RunState",
    "Style",
    "ValidationMetrics",
    "Verdict",
    "check_rows",
    "checkpoint_name",
    "describe_method",
    "find_colours",
    "find_style",
    "judge",
    "key_numbers",
    "load_run_state",
    "make_config",
    "method_names",
    "more_masks",
    "retune",
    "run_to_end",
    "save_run_state",
    "settings_of",
    "take_checkpoint",
    "unused_remark",
]

__getattr__ = old_names(__name__)
