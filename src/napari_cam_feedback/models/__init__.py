"""Classifiers: building, loading, saving, and the layers that can be looked at."""

from __future__ import annotations

from typing import Any

from napari_cam_feedback._renamed import moved_name
from napari_cam_feedback.models.classes_shown import classes_remark
from napari_cam_feedback.models.classifier import Classifier, LinearHead, build_classifier, check_fits
from napari_cam_feedback.models.devices import DEVICES, pick_device
from napari_cam_feedback.models.files.class_names import read_class_names
from napari_cam_feedback.models.files.loading import load_classifier, open_pair
from napari_cam_feedback.models.files.storage import read_header, save_classifier
from napari_cam_feedback.models.first_look.look import Correction, Look, look_at
from napari_cam_feedback.models.layers.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.layers.layers import LayerInfo, list_layers
from napari_cam_feedback.models.layers.taps import ActivationTap
from napari_cam_feedback.models.networks.architectures import known_architectures
from napari_cam_feedback.models.networks.networks import ARCHITECTURES
from napari_cam_feedback.models.networks.presets import default_preprocessing
from napari_cam_feedback.models.options import ModelOptions, make_options

__all__ = [
    "ARCHITECTURES",
    "DEVICES",
    "ActivationTap",
    "Classifier",
    "Correction",
    "Interrupted",
    "LayerInfo",
    "LinearHead",
    "Look",
    "ModelOptions",
    "build_classifier",
    "check_fits",
    "classes_remark",
    "default_preprocessing",
    "interruptible",
    "known_architectures",
    "list_layers",
    "load_classifier",
    "look_at",
    "make_options",
    "open_pair",
    "pick_device",
    "read_class_names",
    "read_header",
    "save_classifier",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
