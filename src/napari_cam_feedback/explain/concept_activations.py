"""A layer's activations and gradients as rows of numbers, streamed in batches and pooled where there would be too many."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.explain.concept_sets import ConceptSet
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional
Pooling = Literal["auto", "none", "mean"]
#: Numbers an image beyond which ``auto`` pools, and the memory that all images of a concept test may take.
MOST_FEATURES = 1 << 16
MOST_BYTES = 512 << 20
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
        ``none``; ``mean`` over all places; or ``auto``: squares as small as `MOST_FEATURES` and `MOST_BYTES` allow.
    """
    whole = max(shape[1:])
    if pooling == "none":
        return Grid(shape)
    if pooling == "mean":
        return Grid(shape, whole)
    for side in range(1, whole):
        features = int(np.prod(Grid(shape, side).pooled_shape))
        if features <= MOST_FEATURES and features * images * 4 <= MOST_BYTES:
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
        self.max_bytes = max_bytes
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: bytes) -> np.ndarray | None:
        """Return what was kept under a key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: bytes, rows: np.ndarray) -> None:
        """Keep rows under a key."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = rows
            self._bytes += rows.nbytes
            while self._bytes > self.max_bytes and self._kept:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


def masked_inputs(chosen: ConceptSet, cache: InputCache, batch_size: int) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
    """Yield indices, inputs (n, C, h, w) and the number of images tried so far, blotted out outside of the set's masks.

    Images that cannot be read are left out, as are those on which nothing is painted within the input.
    """
    done = 0
    for start in range(0, len(chosen.indices), batch_size):
        part = chosen.indices[start : start + batch_size]
        done += len(part)
        for picked, inputs in cache.batches(part, batch_size):
            if chosen.masks is None:
                yield picked, inputs, done
                continue
            masks = input_masks(chosen, picked)
            seen = masks.flatten(1).any(1)
            if seen.any():
                yield picked[seen.numpy()], blot(inputs[seen], masks[seen]), done


def input_masks(chosen: ConceptSet, indices: np.ndarray) -> torch.Tensor:
    """Return the masks of some of a painted set's images; filled in by `concepts` with the input's geometry."""
    raise NotImplementedError


def blot(inputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return inputs (N, C, h, w) with everything outside of masks (N, h, w) set to zero, the preprocessing's mean colour."""
    return torch.where(masks[:, None], inputs, 0.0)
