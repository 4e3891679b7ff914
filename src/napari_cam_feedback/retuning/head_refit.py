"""Retuning in seconds: a logistic regression in place of the last linear layer, and nothing else changed.

The features that go into that layer are collected from training images with transplanted patches, so that a new layer on
them can no longer use what only tells of the patch. It cannot give features that the network never learnt: it is a preview.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.explanations.filters.ranking import standardised
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.hooks import hooked
from napari_cam_feedback.models.layers.taps import get_layer
from napari_cam_feedback.torch_loader import torch

#: Times that the training images are looked at, with other patches each time.
PASSES = 4
#: Rows that the regression is fitted on at most.
MAX_ROWS = 40_000
#: Inverse strengths of the L2 penalty that are tried, the strongest first, so that each fit starts near its end.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
#: Logit of classes without a training image, below those of the others.
NEVER = 10.0


def find_last_linear(classifier: Classifier) -> str | None:
    """Return the dotted name of the linear layer whose output is the logits, or None.

    It is found by numbers: for two random images, what it puts out must be what the network puts out.
    """
    module, kept = classifier.module, {}
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear) and name}
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, classifier.preprocessing.channels, *classifier.preprocessing.size, generator=generator)
    names = {layer: name for name, layer in layers.items()}
    with hooked(names, lambda layer, given, output: kept.update({names[layer]: (given[0], output.float())})):
        logits = classifier.logits(images)
    for name, (features, output) in reversed(kept.items()):
        if features.ndim == 2 and output.shape == logits.shape and torch.allclose(output, logits):
            return name
    return None


class HeadRefit:
    """A new last layer under way: features are collected batch by batch, then a regression is fitted for each penalty.

    Parameters
    ----------
    tuned : Classifier
        Its last linear layer is changed by each fit, in place; it must have one (`find_last_linear`).
    images : int
        Training images that there are.
    batch_size : int
        Images a batch.
    most : int
        Batches at most.

    Attributes
    ----------
    batches, iterations : int
        Batches to collect from, and these with the fits.
    """

    def __init__(self, tuned: Classifier, images: int, batch_size: int, most: int) -> None:
        self.tuned = tuned
        name = find_last_linear(tuned)
        assert name is not None
        self._layer: Any = get_layer(tuned.module, name)
        self.batches = min(most, math.ceil(min(PASSES * images, MAX_ROWS) / batch_size))
        self.iterations = self.batches + len(PENALTIES)
        self._features: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._model: Any = None

    def collect(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Keep what goes into the last layer for some images (N, C, h, w), with their labels (N,)."""
        with hooked([self._layer], lambda _, given: self._features.append(given[0].float().cpu().numpy()), before=True):
            self.tuned.logits(inputs)
        self._labels.append(labels.numpy())

    def fit(self, attempt: int) -> dict[str, float]:
        """Fit with one of `PENALTIES`, by position, and put the result into the last layer.

        Minimises the mean cross-entropy of softmax(W z + b) plus sum W^2 / (2 C n), z the features made even (mean 0,
        deviation 1), n the rows; the layer gets the W and b that do the same to the features as they are.

        Returns
        -------
        dict
            Terms of the loss, in nats.

        Raises
        ------
        RetuneError
            The images collected are all of one class.
        """
        from sklearn.exceptions import ConvergenceWarning  # these take a second to load
        from sklearn.linear_model import LogisticRegression

        z, mean, deviation, y = self._prepared()
        if self._model is None:
            self._model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
        self._model.C = PENALTIES[attempt]
        with warnings.catch_warnings():
            # What a few hundred steps come to is judged by the validation images anyway.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(z, y)
        weight, bias = both_signs(self._model.coef_, self._model.intercept_)
        scores = z @ weight.T + bias
        truth = scores[np.arange(len(y)), np.searchsorted(self._model.classes_, y)]
        loss = float((np.logaddexp.reduce(scores, 1) - truth).mean())
        self._write(weight / deviation, bias - weight @ (mean / deviation))
        return {"cross-entropy": loss, "total": loss}

    def _prepared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        if self._data is None:
            y = np.concatenate(self._labels)
            if len(np.unique(y)) < 2:
                raise RetuneError("The training images are all of one class, so no head can be made; add images of another.")
            self._data = (*standardised(np.concatenate(self._features)), y)
            self._features.clear()
        return self._data

    def _write(self, weight: np.ndarray, bias: np.ndarray) -> None:
        layer, seen = self._layer, torch.from_numpy(self._model.classes_.astype(np.int64))
        all_weights, all_biases = torch.zeros(layer.weight.shape), torch.full(layer.weight.shape[:1], bias.min() - NEVER)
        all_weights[seen], all_biases[seen] = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        with torch.no_grad():
            layer.weight.copy_(all_weights)
            layer.bias.copy_(all_biases)


def both_signs(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a row for each class: of two classes a regression has one row, the difference of their logits.

    Parameters
    ----------
    weight : ndarray
        (K, F) float, or (1, F) of two classes.
    bias : ndarray
        (K,) float, or (1,).
    """
    if len(bias) > 1:
        return weight, bias
    return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
