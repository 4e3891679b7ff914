"""The attribution methods by name."""

from __future__ import annotations

import difflib

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.explanations.maps.base import AttributionMethod, Cam
from napari_cam_feedback.explanations.maps.gradients import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from napari_cam_feedback.explanations.maps.perturbations import AblationCam, ScoreCam
from napari_cam_feedback.models.classifier import Classifier

METHODS: dict[str, type[AttributionMethod]] = {
    method.name: method for method in (Cam, GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam, ScoreCam, AblationCam)
}


def get_method(name: str) -> AttributionMethod:
    """Return the method of that name.

    Raises
    ------
    ConfigError
        There is none; the nearest names are given.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(METHODS)}."
        raise ConfigError(f"There is no explain method {name!r}; {hint}")
    return METHODS[name]()


def default_method(classifier: Classifier) -> str:
    """Return ``cam`` where the model allows it, else ``gradcam``."""
    return Cam.name if classifier.head is not None else GradCam.name
