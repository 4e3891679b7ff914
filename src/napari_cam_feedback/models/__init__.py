"""Classifiers: building, loading, saving, training, and the layers that can be looked at."""

from napari_cam_feedback.models.architectures import ARCHITECTURES
from napari_cam_feedback.models.classifier import Classifier, LinearHead, build_classifier, check_fits
from napari_cam_feedback.models.devices import DEVICES, pick_device
from napari_cam_feedback.models.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.layers import LayerInfo, list_layers
from napari_cam_feedback.models.storage import load_classifier, read_header, save_classifier
from napari_cam_feedback.models.taps import ActivationTap
from napari_cam_feedback.models.training import (
    TrainConfig,
    TrainStep,
    default_preprocessing,
    train_classifier,
)

__all__ = [
    "ARCHITECTURES",
    "DEVICES",
    "ActivationTap",
    "Classifier",
    "Interrupted",
    "LayerInfo",
    "LinearHead",
    "TrainConfig",
    "TrainStep",
    "build_classifier",
    "check_fits",
    "default_preprocessing",
    "interruptible",
    "list_layers",
    "load_classifier",
    "pick_device",
    "read_header",
    "save_classifier",
    "train_classifier",
]
