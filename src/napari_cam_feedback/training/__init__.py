"""Training a classifier: from random weights, or from those of another model."""

from napari_cam_feedback.training.config import TrainConfig, TrainRecipe, make_recipe, read_recipe
from napari_cam_feedback.training.loop import TrainStep, train_classifier
from napari_cam_feedback.training.run import Training, open_training
from napari_cam_feedback.training.transfer import Transfer, transfer

__all__ = [
    "TrainConfig",
    "TrainRecipe",
    "TrainStep",
    "Training",
    "Transfer",
    "make_recipe",
    "open_training",
    "read_recipe",
    "train_classifier",
    "transfer",
]
