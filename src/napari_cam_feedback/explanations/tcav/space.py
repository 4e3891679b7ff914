"""Reading the images of a concept test: activations of concepts and random images, gradients of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.tcav.activations import (
    ActivationCache,
    Grid,
    activation_rows,
    all_same,
    blot,
    default_concept_layer,
    input_masks,
    logit_gradients,
    read_inputs,
)
from napari_cam_feedback.explanations.tcav.cav import Span, make_span
from napari_cam_feedback.explanations.tcav.config import GOOD_IMAGES, MIN_IMAGES
from napari_cam_feedback.explanations.tcav.sets import ConceptSet
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.torch_loader import torch

#: Numbers of the inputs of a batch, so that a stop is heard within a second or two.
_BATCH_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Space:
    """Images whose activations share a span: concepts, and the random images that they are told from."""

    span: Span
    rows: dict[str, np.ndarray]
    pool: np.ndarray
    pool_labels: np.ndarray


class Reader:
    """Reads images and counts what was done.

    Parameters
    ----------
    preprocessing : Preprocessing
        Makes inputs of images.
    total : int
        Steps there will be.
    cache : ActivationCache, optional
        Keeps activations from one test to the next.
    monitor : Monitor, optional
        Told of steps done and in all.
        Asked after each step.
    """

    def __init__(self, preprocessing: Preprocessing, total: int, cache: ActivationCache | None, monitor: Monitor) -> None:
        self.preprocessing, self.total, self.cache = preprocessing, total, cache
        self.monitor, self.done = monitor, 0
        self.warnings: list[str] = []
        self.inputs: dict[int, InputCache] = {}
        channels, (height, width) = preprocessing.channels, preprocessing.size
        self.batch = min(64, max(4, _BATCH_NUMBERS // (channels * height * width)))

    def tick(self, steps: int) -> None:
        """Count steps done, and raise `Interrupted` if the user asked to stop."""
        self.done += steps
        self.monitor.progress(self.done, self.total)
        if self.monitor.stopped:
            raise Interrupted

    def cache_of(self, dataset: Dataset) -> InputCache:
        """Return the cache of a dataset's inputs; layers are read one after the other, from the same images."""
        if id(dataset) not in self.inputs:
            self.inputs[id(dataset)] = InputCache(dataset, self.preprocessing, max_bytes=128 << 20)
        return self.inputs[id(dataset)]

    def warn(self, sentence: str) -> None:
        """Note a sentence, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def read_space(self, classifier: Classifier, grid: Grid, group: list[ConceptSet], pool: ConceptSet) -> Space:
        """Return the activations of a group of concepts and of their random images.

        Where the group is a painted concept, the random images are blotted out by its masks, in turn.

        Raises
        ------
        DataError
            A concept has too few images, or no random image can be read.
        """
        fingerprint = classifier.fingerprint()
        most = sum(map(len, group)) + len(pool)
        kept = np.empty((most, int(np.prod(grid.pooled_shape))), np.float32)
        count, rows = 0, {}
        masks: list[torch.Tensor] = []

        def add(inputs: torch.Tensor) -> None:
            nonlocal count
            if len(inputs):
                kept[count : count + len(inputs)] = activation_rows(classifier, inputs, grid, fingerprint, self.cache)
                count += len(inputs)

        for chosen in group:
            start, cache = count, self.cache_of(chosen.dataset)
            for tried, picked, inputs in read_inputs(chosen, cache, self.batch):
                add(inputs)
                if chosen.masks is not None and len(picked):
                    masks.append(input_masks(chosen, picked, self.preprocessing))
                self.tick(tried)
            rows[chosen.name] = np.arange(start, count)
            self._check_concept(chosen, count - start)
        start, labels = count, []
        for tried, picked, inputs in read_inputs(pool, self.cache_of(pool.dataset), self.batch):
            if masks:
                same = torch.cat(masks)
                inputs = blot(inputs, same[(count - start + torch.arange(len(inputs))) % len(same)])
            add(inputs)
            labels.append(pool.dataset.labels[picked])
            self.tick(tried)
        if count == start:
            raise DataError(f"None of the {len(pool)} random images can be read; restore them or give others.")
        rows_of_pool = np.arange(start, count)
        span = make_span(kept[:count], rows_of_pool)
        return Space(span, rows, rows_of_pool, np.concatenate([np.empty(0, np.int64), *labels]))

    def _check_concept(self, chosen: ConceptSet, count: int) -> None:
        if count < MIN_IMAGES:
            raise DataError(
                f'The concept "{chosen.name}" has {count} images that can be used; '
                f"at least {MIN_IMAGES} are needed, better {GOOD_IMAGES} to 100."
            )
        if count < GOOD_IMAGES:
            self.warn(
                f'The concept "{chosen.name}" has only {count} images; with {GOOD_IMAGES} or more its scores are steadier.'
            )

    def slopes(self, classifier: Classifier, grid: Grid, span: Span, label: int, chosen: ConceptSet) -> np.ndarray:
        """Return, for each image of a class, the gradient of its logit within the span, (n, r) float64.

        Raises
        ------
        DataError
            None of them can be read.
        ModelError
            The logit does not depend on the layer.
        """
        parts: list[np.ndarray] = []
        same = True
        first: np.ndarray | None = None
        for tried, _, inputs in read_inputs(chosen, self.cache_of(chosen.dataset), self.batch):
            if len(inputs):
                gradients = grid.gradients(logit_gradients(classifier, inputs, label))
                first = gradients[0].copy() if first is None else first
                same = same and all_same(gradients, first)
                parts.append(span.project(gradients))
            self.tick(tried)
        if not parts:
            raise DataError(f'No image of the class "{chosen.name}" can be read; restore them or choose another class.')
        slopes = np.concatenate(parts)
        if same and len(slopes) > 1:
            earlier = default_concept_layer(classifier)
            hint = (
                f"choose an earlier layer, such as {earlier!r}"
                if earlier != classifier.target_layer
                else "choose an earlier one"
            )
            self.warn(
                f"At layer {classifier.target_layer!r} the gradient of a class is the same for every image (as where global "
                f"average pooling and a linear layer follow), so scores can only be 0 or 1; {hint}."
            )
        return slopes
