"""Classifiers: building, loading, saving, training, and the layers that can be looked at."""

from napari_cam_feedback.models.architectures import known_architectures
from napari_cam_feedback.models.class_names import read_class_names
from napari_cam_feedback.models.classifier import Classifier, LinearHead, build_classifier, check_fits
from napari_cam_feedback.models.devices import DEVICES, pick_device
from napari_cam_feedback.models.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.layers import LayerInfo, list_layers
from napari_cam_feedback.models.loading import load_classifier
from napari_cam_feedback.models.networks import ARCHITECTURES
from napari_cam_feedback.models.opening import open_pair
from napari_cam_feedback.models.options import ModelOptions, make_options
from napari_cam_feedback.models.storage import read_header, save_classifier
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
    "ModelOptions",
    "TrainConfig",
    "TrainStep",
    "build_classifier",
    "check_fits",
    "default_preprocessing",
    "interruptible",
    "known_architectures",
    "list_layers",
    "load_classifier",
    "make_options",
    "open_pair",
    "pick_device",
    "read_class_names",
    "read_header",
    "save_classifier",
    "train_classifier",
]
