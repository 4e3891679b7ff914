"""The maps of one image for several classes, on one scale, so that they can be compared; kept for coming back."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from cachetools import FIFOCache

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.explanations.display import common_display, has_evidence
from napari_cam_feedback.explanations.maps.registry import get_method
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from napari_cam_feedback.explanations.maps.explanation import Explanation

#: How many of the most probable classes, or which classes by index.
Classes = int | tuple[int, ...]

# Side by side an image is small; larger ones are thinned out to this longest side, in pixels.
_LONGEST = 1024
_KEPT = 4


@dataclass(frozen=True)
class ClassMaps:
    """One image and what speaks for several classes in it.

    Attributes
    ----------
    index, key : int, str
        Which item.
    method : str
        Attribution method of the maps.
    step : int
        Every how many of the image's pixels are here: 1 unless the image is large.
    image : ndarray
        (H, W) or (H, W, 3) as read, thinned out.
    classes : ndarray
        (T,) int64, in the order asked for or from the most probable on.
    probabilities : ndarray
        (K,) float32, of all classes.
    raw : ndarray
        (T, h, w) float32, signed maps at the target layer's size.
    shown : ndarray
        (T, H, W) float32 in 0..1: their positive parts over the largest value of all.
    """

    index: int
    key: str
    method: str
    step: int
    image: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    raw: np.ndarray
    shown: np.ndarray

    @property
    def evidence(self) -> list[bool]:
        """For each class whether anything in the image speaks for it."""
        return [has_evidence(each) for each in self.raw]


def class_maps(
    classifier: Classifier,
    dataset: Dataset,
    index: int,
    classes: Classes = 4,
    method: str = "gradcam",
    *,
    probabilities: np.ndarray | None = None,
) -> ClassMaps:
    """Make the maps of one image for several classes, in one call of the method.

    Parameters
    ----------
    classifier : Classifier
        What looks.
    dataset : Dataset
        Where the image is.
    index : int
        Which image.
    classes : int or tuple of int
        How many of the most probable classes, or their indices.
    method : str
        Attribution method.
    probabilities : ndarray, optional
        (K,) of this image where they are known, which saves a forward pass.

    Raises
    ------
    DataError
        The image cannot be read.
    ModelError, ConfigError
        The method or the classes do not suit the model, or its target layer has no places.
    """
    classifier.check_places()
    image = dataset.read(index)
    inputs = classifier.preprocessing.input(image)[None]
    if isinstance(classes, int):
        if probabilities is None:
            with torch.no_grad():
                probabilities = classifier.logits(inputs)[0].float().softmax(0).cpu().numpy()
        chosen = np.argsort(-probabilities, kind="stable")[: max(1, classes)]
    else:
        chosen = np.array(classes, np.int64)
        if not len(chosen) or chosen.min() < 0 or chosen.max() >= len(classifier.class_names):
            raise ConfigError("There is no such class; choose one or more of the classifier's.")
    found = get_method(method)(classifier, inputs, torch.from_numpy(chosen.astype(np.int64))[None])
    raw = found.maps[0].float().cpu()
    step = -(-max(image.shape[:2]) // _LONGEST)
    thinned = np.ascontiguousarray(image[::step, ::step]) if step > 1 else image
    enlarged = classifier.preprocessing.to_image(raw, (thinned.shape[0], thinned.shape[1])).numpy()
    return ClassMaps(
        index=index,
        key=dataset.keys[index],
        method=method,
        step=step,
        image=thinned,
        classes=chosen.astype(np.int64),
        probabilities=found.logits[0].float().softmax(0).cpu().numpy(),
        raw=raw.numpy(),
        shown=common_display(enlarged),
    )


class ClassMapsCache:
    """`class_maps` of one classifier and dataset, the latest few kept; with the `peek` and `get` of an `ExplanationCache`.

    Parameters
    ----------
    classifier : Classifier
        What looks.
    dataset : Dataset
        Where the images are.
    """

    def __init__(self, classifier: Classifier, dataset: Dataset) -> None:
        self.classifier = classifier
        self.dataset = dataset
        self._given: Explanation | None = None
        self._kept: FIFOCache[tuple[int, Classes, str], ClassMaps] = FIFOCache(_KEPT)
        self._lock = threading.Lock()

    def note(self, explanation: Explanation) -> None:
        """Take the probabilities of this image from its explanation by the same classifier."""
        self._given = explanation

    def peek(self, index: int, classes: Classes, method: str) -> ClassMaps | None:
        """Return the maps if they are there already; never computes."""
        with self._lock:
            return self._kept.get((index, classes, method))

    def get(self, index: int, classes: Classes, method: str) -> ClassMaps:
        """Return the maps, made now if need be; raises what `class_maps` raises."""
        found = self.peek(index, classes, method)
        if found is not None:
            return found
        given = self._given
        known = given.probabilities if given is not None and given.index == index else None
        found = class_maps(self.classifier, self.dataset, index, classes, method, probabilities=known)
        with self._lock:
            self._kept[index, classes, method] = found
        return found
