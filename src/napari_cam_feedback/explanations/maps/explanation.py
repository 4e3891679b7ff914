"""Everything there is to see in one image: prediction, map, activations; kept for the neighbours of what is shown."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np
from cachetools import LRUCache

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.explanations.display import has_evidence
from napari_cam_feedback.explanations.maps.registry import get_method
from napari_cam_feedback.explanations.targets import Target, resolve_target
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.first_look.coarse import MAX_COARSE_PLACES
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.torch_loader import torch

FilterOrder = Literal["contribution", "activation", "mask"]
FILTER_ORDERS: tuple[FilterOrder, ...] = ("contribution", "activation", "mask")


@dataclass(frozen=True)
class Explanation:
    """One image as the classifier sees it.

    Attributes
    ----------
    index, key : int, str
        Which item.
    image : ndarray
        (H, W) or (H, W, 3) as read.
    label : int or None
        True class, where known.
    probabilities : ndarray
        (K,) float32.
    predicted, target : int
        Class of the largest probability; class of the map.
    method : str
        Attribution method of the map.
    raw : ndarray
        (h, w) float32, signed map at the target layer's size.
    map : ndarray
        (H, W) float32, the same in image pixels (bilinear); zeros where there is no heatmap.
    activations : ndarray
        (F, h, w) float32.
    contributions : ndarray
        (F,) float32: the mean over places of each filter's part of the map (`MapBatch`). With CAM their sum plus the bias
        is the logit.
    preprocessing : Preprocessing
        Of the classifier; places the activations on the image.
    no_heatmap : str or None
        Why there is no heatmap, in one sentence: the target layer puts out features that have no place. None where there
        is one.
    """

    index: int
    key: str
    image: np.ndarray
    label: int | None
    probabilities: np.ndarray
    predicted: int
    target: int
    method: str
    raw: np.ndarray
    map: np.ndarray
    activations: np.ndarray
    contributions: np.ndarray
    preprocessing: Preprocessing
    no_heatmap: str | None = None

    @property
    def nbytes(self) -> int:
        """The memory that its arrays take, in bytes."""
        return sum(array.nbytes for array in (self.image, self.raw, self.map, self.activations))

    @property
    def evidence(self) -> bool:
        """Whether anything in the image speaks for the class, and a heatmap shows where."""
        return self.no_heatmap is None and has_evidence(self.raw)

    @property
    def coarse(self) -> bool:
        """Whether the map has so few places (4x4 at most) that smoothing would show what is not there."""
        return self.no_heatmap is None and self.raw.size <= MAX_COARSE_PLACES

    @property
    def shown(self) -> np.ndarray:
        """The signed map as it is to be drawn, (H, W) float32: where it is coarse its cells, else `map`."""
        if not self.coarse:
            return self.map
        # Of the image's resolution first, so that each place is one flat cell.
        factors = [-(-side // places) for side, places in zip(self.image.shape[:2], self.raw.shape, strict=True)]
        cells = np.kron(self.raw, np.ones(factors, np.float32))
        return _to_image(torch.from_numpy(cells), self.preprocessing, self.image.shape)

    def filter_map(self, number: int) -> np.ndarray:
        """Return the activation of one filter in image pixels, (H, W) float32."""
        return _to_image(torch.from_numpy(self.activations[number]), self.preprocessing, self.image.shape[:2])

    def filter_scores(self, by: FilterOrder, mask: np.ndarray | None = None) -> np.ndarray:
        """Return a score for each filter by which to choose those to look at.

        Parameters
        ----------
        by : str
            ``contribution`` to the map's class, mean ``activation``, or mean activation under the ``mask``.
        mask : ndarray, optional
            (H, W) bool in image pixels; for ``mask``.

        Returns
        -------
        ndarray
            (F,) float32.

        Raises
        ------
        MaskError
            ``mask`` was asked for, and nothing is painted or the layer has no places.
        """
        if by == "contribution":
            return self.contributions
        if by == "activation":
            return self.activations.mean((1, 2))
        if self.no_heatmap is not None:
            raise MaskError("Features that have no place cannot be ranked by what is painted; choose a layer with maps.")
        if mask is None or not mask.any():
            raise MaskError("Nothing is painted on this image yet; paint what is irrelevant first, or rank otherwise.")
        inside = self.preprocessing.mask(mask)
        height, width = self.activations.shape[1:]
        small = masks_at_layer(inside[None], (height, width))[0].numpy()
        return (self.activations * small).sum((1, 2)) / max(float(small.sum()), 1.0)


def _to_image(maps: torch.Tensor, preprocessing: Preprocessing, size: tuple[int, ...]) -> np.ndarray:
    return preprocessing.to_image(maps, (size[0], size[1])).numpy().astype(np.float32, copy=False)


def explain_item(
    classifier: Classifier, dataset: Dataset, index: int, *, target: Target = "predicted", method: str = "gradcam"
) -> Explanation:
    """Look at one image.

    Parameters
    ----------
    classifier : Classifier
        What looks.
    dataset : Dataset
        Where the image is.
    index : int
        Which image.
    target : str or int
        Class of the map, see `resolve_target`.
    method : str
        Attribution method.

    Raises
    ------
    DataError
        The image cannot be read.
    ModelError, ConfigError
        The method or the class does not suit the model.
    """
    item = dataset.item(index)
    image = dataset.read(index)
    explainer = get_method(method)
    inputs = classifier.preprocessing.input(image)[None]
    label = -1 if item.label is None else item.label
    classes = resolve_target(target, classifier.class_names, np.array([label]))
    found = explainer(classifier, inputs, torch.from_numpy(classes)[:, None])
    raw = found.maps[0, 0].float().cpu()
    activations = found.activations[0].float().cpu()
    probabilities = found.logits[0].float().softmax(0).cpu().numpy()
    contributions = found.contributions[0, 0].float().cpu()
    no_heatmap = classifier.no_places() if raw.numel() == 1 else None
    return Explanation(
        index=index,
        key=item.key,
        image=image,
        label=item.label,
        probabilities=probabilities,
        predicted=int(probabilities.argmax()),
        target=int(found.classes[0, 0]),
        method=method,
        raw=raw.numpy(),
        map=_to_image(raw if no_heatmap is None else torch.zeros_like(raw), classifier.preprocessing, image.shape),
        activations=activations.numpy(),
        contributions=contributions.numpy(),
        preprocessing=classifier.preprocessing,
        no_heatmap=no_heatmap,
    )


class ExplanationCache:
    """Explanations of one classifier and dataset, the latest of them kept; for use from several threads.

    Parameters
    ----------
    classifier : Classifier
        What looks.
    dataset : Dataset
        Where the images are.
    max_bytes : int
        The memory that the explanations kept may take; the latest is kept whatever it takes.
    """

    def __init__(self, classifier: Classifier, dataset: Dataset, *, max_bytes: int = 512 << 20) -> None:
        self.classifier = classifier
        self.dataset = dataset
        self._kept: LRUCache[tuple[int, Target, str], Explanation] = LRUCache(
            max_bytes, getsizeof=lambda found: min(found.nbytes, max_bytes)
        )
        self._lock = threading.Lock()

    def peek(self, index: int, target: Target, method: str) -> Explanation | None:
        """Return an explanation if it is there already; never computes."""
        with self._lock:
            return self._kept.get((index, target, method))

    def get(self, index: int, target: Target, method: str) -> Explanation:
        """Return an explanation, made now if need be; raises what `explain_item` raises."""
        found = self.peek(index, target, method)
        if found is None:
            found = explain_item(self.classifier, self.dataset, index, target=target, method=method)
            with self._lock:
                self._kept[index, target, method] = found
        return found

    def clear(self) -> None:
        """Forget all explanations."""
        with self._lock:
            self._kept.clear()
