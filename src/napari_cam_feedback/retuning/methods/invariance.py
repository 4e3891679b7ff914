"""Methods that ask for the same answer with and without what is painted."""

from __future__ import annotations

from napari_cam_feedback.retuning.images.batch import Batch
from napari_cam_feedback.retuning.losses import actdiff
from napari_cam_feedback.retuning.methods.base import Method, Outputs
from napari_cam_feedback.torch_loader import torch


class ActDiff(Method):
    """Cross-entropy plus the distance between the features of a painted image and of the same image refilled."""

    name = "actdiff"
    description = "ActDiff (Viviano 2021): the features must not change when the painted part is refilled."
    needs_layer = True

    def extra_inputs(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        return self.context.replacer(batch, generator)

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        assert outputs.activations is not None
        assert outputs.extra_activations is not None
        return actdiff(outputs.activations.mean((2, 3)), outputs.extra_activations.mean((2, 3)))
