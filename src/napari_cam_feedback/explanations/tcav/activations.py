"""A layer's activations and gradients as rows of numbers, streamed in batches and pooled where there would be too many."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np
from cachetools import LRUCache

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.explanations.tcav.config import Pooling
from napari_cam_feedback.explanations.tcav.sets import ConceptSet
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional
#: Numbers an image beyond which ``auto`` pools, and the memory that all images of a concept test may take.
MAX_FEATURES = 1 << 16
MAX_BYTES = 512 << 20
#: Gradients that differ by less than this share are the same.
_SAME = 1e-4


@dataclass(frozen=True)
class Grid:
    """How a layer's (F, h, w) activations become a row: means over squares of `side` x `side` places, flattened.

    Attributes
    ----------
    shape : tuple of int
        (F, h, w) of the layer.
    side : int
        1: every place by itself.
    """

    shape: tuple[int, int, int]
    side: int = 1

    @property
    def pooled_shape(self) -> tuple[int, int, int]:
        """(F, rows, columns) of a row."""
        filters, height, width = self.shape
        return filters, -(-height // self.side), -(-width // self.side)

    def activations(self, maps: torch.Tensor) -> np.ndarray:
        """Return activations (N, F, h, w) as rows (N, D) float32."""
        if self.side > 1:
            maps = functional.avg_pool2d(maps.float(), self.side, ceil_mode=True, count_include_pad=False)
        return maps.flatten(1).float().cpu().numpy()

    def gradients(self, maps: torch.Tensor) -> np.ndarray:
        """Return gradients (N, F, h, w) as rows (N, D) float32.

        A square's mean moves by one where each of its places does, so its gradient is the sum over them.
        """
        if self.side > 1:
            maps = functional.avg_pool2d(maps.float(), self.side, ceil_mode=True, divisor_override=1)
        return maps.flatten(1).float().cpu().numpy()


def choose_grid(shape: tuple[int, int, int], images: int, pooling: Pooling) -> Grid:
    """Choose how a layer's activations are pooled.

    Parameters
    ----------
    shape : tuple of int
        (F, h, w) of the layer.
    images : int
        How many images are in memory at a time.
    pooling : str
        ``none``; ``mean`` over all places; or ``auto``: squares as small as `MAX_FEATURES` and `MAX_BYTES` allow.
    """
    whole = max(shape[1:])
    if pooling == "none":
        return Grid(shape)
    if pooling == "mean":
        return Grid(shape, whole)
    for side in range(1, whole):
        features = int(np.prod(Grid(shape, side).pooled_shape))
        if features <= MAX_FEATURES and features * images * 4 <= MAX_BYTES:
            return Grid(shape, side)
    return Grid(shape, whole)


class ActivationCache:
    """Activations kept by the weights, the layer and the very pixels they were made from; those used last, within a bound.

    Neither names nor paths count: a retuned model, or an image that was changed, never gets another's activations. Safe to
    use from several threads.

    Parameters
    ----------
    max_bytes : int
        The memory that the activations kept may take.
    """

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        self._kept: LRUCache[bytes, np.ndarray] = LRUCache(max_bytes, getsizeof=lambda rows: rows.nbytes)
        self._lock = Lock()

    def get(self, key: bytes) -> np.ndarray | None:
        """Return what was kept under a key."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: bytes, rows: np.ndarray) -> None:
        """Keep rows under a key."""
        with self._lock, suppress(ValueError):  # larger than all that may be kept
            self._kept[key] = rows


def read_inputs(chosen: ConceptSet, cache: InputCache, size: int) -> Iterator[tuple[int, np.ndarray, torch.Tensor]]:
    """Yield the number of images just tried, the indices and the inputs (n, C, h, w) of up to `size` images at a time.

    Of a painted set the inputs are blotted out outside of the masks. Images that cannot be read are left out (see the
    cache's `skipped`), as are those on which nothing is painted within the input.

    Parameters
    ----------
    chosen : ConceptSet
        The images.
    cache : InputCache
        Of the set's dataset.
    size : int
        Images at a time.
    """
    for start in range(0, len(chosen.indices), size):
        part = chosen.indices[start : start + size]
        picked, inputs = np.empty(0, np.int64), cache.inputs(())
        for picked, inputs in cache.batches(part, size):  # noqa: B007 - there is one, or none
            pass
        if chosen.masks is not None and len(picked):
            masks = input_masks(chosen, picked, cache.preprocessing)
            seen = masks.flatten(1).any(1)
            picked, inputs = picked[seen.numpy()], blot(inputs[seen], masks[seen])
        yield len(part), picked, inputs


def input_masks(chosen: ConceptSet, indices: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the masks of some of a painted set's images in the input's pixels, (n, h, w) bool."""
    assert chosen.masks is not None
    return torch.stack([preprocessing.mask(chosen.masks[chosen.dataset.keys[int(index)]]) for index in indices])


def blot(inputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return inputs (N, C, h, w) with everything outside of masks (N, h, w) set to zero, the preprocessing's mean colour."""
    return torch.where(masks[:, None], inputs, 0.0)


def activation_rows(
    classifier: Classifier, inputs: torch.Tensor, grid: Grid, fingerprint: str, cache: ActivationCache | None
) -> np.ndarray:
    """Return the target layer's activations for some inputs as rows (n, D) float32, from the cache where it has them.

    Parameters
    ----------
    classifier : Classifier
        With the layer as its target layer.
    inputs : Tensor
        (n, C, h, w).
    grid : Grid
        How they are pooled.
    fingerprint : str
        The classifier's `fingerprint`.
    cache : ActivationCache or None
        Where they are looked for and kept.
    """
    digest = hashlib.sha256(f"{fingerprint}|{grid.side}|{tuple(inputs.shape)}".encode())
    digest.update(inputs.contiguous().numpy().tobytes())
    kept = cache.get(digest.digest()) if cache is not None else None
    if kept is not None:
        return kept
    rows = grid.activations(classifier.forward_with_activations(inputs)[1])
    if cache is not None:
        cache.put(digest.digest(), rows)
    return rows


def logit_gradients(classifier: Classifier, inputs: torch.Tensor, label: int) -> torch.Tensor:
    """Return the gradients (N, F, h, w) of a class's logit by the target layer's activations.

    Raises
    ------
    ModelError
        The logit does not depend on the layer.
    """
    with torch.inference_mode(False), torch.enable_grad():
        with classifier.tap(cut=True) as tap:
            logits = classifier.module(inputs.to(classifier.device))
            leaf = tap.take()
        if not logits.requires_grad:
            raise ModelError(f"The logits do not depend on layer {classifier.target_layer!r}; choose another layer.")
        # Images do not see each other in evaluation mode, so one backward pass serves the whole batch.
        (gradients,) = torch.autograd.grad(logits[:, label].sum(), leaf)
    return gradients


def all_same(gradients: np.ndarray, first: np.ndarray) -> bool:
    """Tell whether gradients (N, D) are those of the first image (D,), but for rounding."""
    return bool(np.linalg.norm(gradients - first, axis=1).max() <= _SAME * np.linalg.norm(first))


def default_concept_layer(classifier: Classifier) -> str:
    """Return the layer at which concepts are tested when nobody chose.

    It is the target layer, unless its gradients are the same for every image, as they are where global average pooling and a
    linear layer follow: scores there can only be 0 or 1. Then it is the last layer before whose gradients do differ, whose
    activations are of another shape (so not the same stage before its last nonlinearity), and through which everything flows
    that the network knows of the image (so no branch of a block). All of it is found by numbers, from images of noise.
    """
    layers = classifier.layers
    names = [info.name for info in layers]
    if classifier.target_layer not in names or _gradients_differ(classifier):
        return classifier.target_layer
    place = names.index(classifier.target_layer)
    for info in reversed(layers[:place]):
        if info.shape != layers[place].shape:
            candidate = classifier.with_layer(info.name)
            if _everything_flows_through(candidate) and _gradients_differ(candidate):
                return info.name
    return classifier.target_layer


def _noise(classifier: Classifier) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, classifier.preprocessing.channels, *classifier.preprocessing.size)
    return torch.randn(shape, generator=generator)


def _gradients_differ(classifier: Classifier) -> bool:
    try:
        gradients = logit_gradients(classifier, _noise(classifier), 0).flatten(1).float().cpu().numpy()
    except (ModelError, RuntimeError):
        return False
    return not all_same(gradients[1:], gradients[0])


def _everything_flows_through(classifier: Classifier) -> bool:
    """Tell whether one image with the layer's activations of another gives the other's logits."""
    images = _noise(classifier)
    try:
        logits, activations = classifier.forward_with_activations(images)
        found = classifier.logits_from(activations[1:], images[:1])
    except (ModelError, RuntimeError):
        return False
    return bool(torch.allclose(found, logits[1:], rtol=1e-3, atol=1e-4 * float(logits.abs().max())))
