"""A model with a correction that the first look has found: the same weights, the images prepared otherwise or the outputs
in the order of the classes."""

from __future__ import annotations

from dataclasses import replace

from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.first_look.look import Correction
from napari_cam_feedback.torch_loader import torch


def corrected(classifier: Classifier, correction: Correction) -> Classifier | None:
    """Return a classifier that is corrected; None where the order of its outputs cannot be changed.

    Parameters
    ----------
    classifier : Classifier
        That the correction was found for; it stays as it is.
    correction : Correction
        What is to be otherwise.

    Raises
    ------
    ModelError
        The network cannot take images that are prepared so.
    """
    if correction.class_names == classifier.class_names:
        # Of another size the tokens lie otherwise.
        same = correction.preprocessing.size == classifier.preprocessing.size
        return replace(classifier.copy(), preprocessing=correction.preprocessing, grid=classifier.grid if same else None)
    order = [correction.class_names.index(name) for name in classifier.class_names]
    found = classifier.copy()
    rows = [
        parameter
        for name, parameter in found.module.named_parameters()
        if len(parameter) == classifier.num_classes and name.rpartition(".")[2] in ("weight", "bias")
    ]
    with torch.no_grad():
        for parameter in rows[-2:]:
            parameter.copy_(parameter[order].clone())
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, found.preprocessing.channels, *found.preprocessing.size, generator=generator)
    # By numbers, not by names: what was changed must be what the outputs come from.
    if not torch.allclose(found.logits(inputs), classifier.logits(inputs)[:, order], rtol=1e-3, atol=1e-4):
        return None
    return found
