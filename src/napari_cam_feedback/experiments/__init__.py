"""Experiments: one model or more of some data, retuned by several methods with several numbers of masks and seeds."""

from napari_cam_feedback.experiments.config import Entry, ExperimentConfig, Published, read_experiment
from napari_cam_feedback.experiments.run import ExperimentStep, run_experiment
from napari_cam_feedback.experiments.tables import Summary, latex_table, markdown_table, summarise

__all__ = [
    "Entry",
    "ExperimentConfig",
    "ExperimentStep",
    "Published",
    "Summary",
    "latex_table",
    "markdown_table",
    "read_experiment",
    "run_experiment",
    "summarise",
]
