"""Classifiers: building, loading, saving, training, and the layers that can be looked at."""

from napari_cam_feedback.models.architectures import known_architectures
from napari_cam_feedback.models.class_names import read_class_names
from napari_cam_feedback.models.classes_shown import classes_remark
from napari_cam_feedback.models.classifier import Classifier, LinearHead, build_classifier, check_fits
from napari_cam_feedback.models.devices import DEVICES, pick_device
from napari_cam_feedback.models.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.layers import LayerInfo, list_layers
from napari_cam_feedback.models.loading import load_classifier
from napari_cam_feedback.models.look import Correction, Look, look_at
from napari_cam_feedback.models.networks import ARCHITECTURES
from napari_cam_feedback.models.opening import open_pair
from napari_cam_feedback.models.options import ModelOptions, make_options
from napari_cam_feedback.models.own_preprocessing import default_preprocessing
from napari_cam_feedback.models.storage import read_header, save_classifier
from napari_cam_feedback.models.taps import ActivationTap
from napari_cam_feedback.models.train_config import TrainConfig
from napari_cam_feedback.models.train_recipe import TrainRecipe, make_recipe, read_recipe
from napari_cam_feedback.models.train_run import Training, open_training
from napari_cam_feedback.models.training import TrainStep, train_classifier
from napari_cam_feedback.models.transfer import Transfer, transfer

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
    "TrainConfig",
    "TrainRecipe",
    "TrainStep",
    "Training",
    "Transfer",
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
    "make_recipe",
    "open_pair",
    "open_training",
    "pick_device",
    "read_class_names",
    "read_header",
    "read_recipe",
    "save_classifier",
    "train_classifier",
    "transfer",
]
