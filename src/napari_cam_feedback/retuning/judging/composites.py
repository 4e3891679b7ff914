"""Painted objects before the surroundings of other images: what tells whether a model goes by the surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.evaluation.perturbations.backgrounds import before_others, of_other_classes, without_objects
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.retuning.judging.calibration import smooth
from napari_cam_feedback.torch_loader import torch

#: Composites that are looked at, about.
MAX_COMPOSITES = 200


@dataclass(frozen=True)
class Composites:
    """Painted objects, each before the surroundings of several images of other classes.

    Attributes
    ----------
    objects : MaskedSet
        The objects where they were.
    images : Tensor
        (M, C, h, w) float.
    rows : Tensor
        (M,) int64, which object is on each.
    """

    objects: MaskedSet
    images: torch.Tensor
    rows: torch.Tensor

    def measure(self, classifier: Classifier, temperature: float) -> tuple[float, float, float, float]:
        """Return accuracy on them and the share whose prediction is not that of the object where it was.

        Then mean probability of the true class, and mean total variation distance to the probabilities where it was.
        """

        def predict(images: torch.Tensor) -> torch.Tensor:
            return torch.cat([classifier.logits(part).float().cpu() for part in images.split(64)])

        after, before = predict(self.images), predict(self.objects.inputs)[self.rows]
        labels = self.objects.labels[self.rows]
        accuracy = (after.argmax(1) == labels).float().mean()
        flips = (after.argmax(1) != before.argmax(1)).float().mean()
        return float(accuracy), float(flips), *smooth(before, after, labels, temperature)[1:]


def make_composites(objects: MaskedSet, painted: MaskedSet, seed: int) -> Composites:
    """Put each object before surroundings of painted images of other classes, drawn by the seed."""
    scenes = without_objects(painted.inputs, painted.masks)
    generator = torch.Generator().manual_seed(seed)
    sampling_weights = of_other_classes(objects.labels, painted.labels)
    rows, images = [], []
    for row in range(len(objects)):
        others = torch.nonzero(sampling_weights[row])[:, 0]
        chosen = others[torch.randperm(len(others), generator=generator)[: max(1, MAX_COMPOSITES // len(objects))]]
        one = objects.take(np.full(len(chosen), row))
        rows.append(torch.full((len(chosen),), row))
        images.append(before_others(one.inputs, one.masks, scenes, chosen, generator))
    return Composites(objects, torch.cat(images), torch.cat(rows))
