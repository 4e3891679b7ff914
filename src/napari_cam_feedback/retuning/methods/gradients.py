"""Methods whose penalty is made of gradients: what the logits owe to what is under the mask; networks must allow it."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.retuning.images.masked_set import Batch
from napari_cam_feedback.retuning.losses import energy, gradcam, rrr, rrr_gradcam
from napari_cam_feedback.retuning.methods.base import Method, Outputs
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from napari_cam_feedback.models.classifier import Classifier


def plain_attention() -> AbstractContextManager[None]:
    """While entered, attention is computed from matrix products: its fast kernels have no second derivative."""
    return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)


def check_twice(classifier: Classifier, method: str, penalty: Callable[[Classifier, torch.Tensor], torch.Tensor]) -> None:
    """Compute a penalty of one image of noise, and its gradient, on a copy of the network.

    Parameters
    ----------
    classifier : Classifier
        It is left as it is.
    method : str
        Name for the sentence.
    penalty : callable
        The copy, its parameters to be learnt, and an input (1, C, h, w) to a scalar.

    Raises
    ------
    RetuneError
        A layer has no second derivative; it is named where it can be told.
    """
    trial = classifier.copy()
    trial.module.requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    channels, size = classifier.preprocessing.channels, classifier.preprocessing.size
    image = torch.randn(1, channels, *size, generator=generator).to(classifier.device)
    try:
        with torch.inference_mode(False), torch.enable_grad(), plain_attention():
            penalty(trial, image).backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RetuneError(
            f"{method} needs second derivatives, and this network has a layer without{_named(trial.module, str(error))}; "
            "choose actdiff or transplant."
        ) from error


def _named(module: torch.nn.Module, text: str) -> str:
    """The layer's class, from what torch says: "derivative for aten::hardsigmoid_backward is not implemented"."""
    found = re.search(r"derivative for aten::_?(\w+?)_backward", text)
    if found is None:
        return ""
    operation = found[1].replace("_", "")
    classes = {type(child).__name__ for child in module.modules()}
    return f" ({next((name for name in sorted(classes) if name.lower() == operation), found[1])})"


class Rrr(Method):
    """Cross-entropy plus the squared gradient of the predicted logit with respect to the painted pixels."""

    name = "rrr"
    description = "RRR (Ross 2017): no painted pixel may change the predicted class's logit; about three times slower."
    freezes_batch_norm = True
    differentiates_twice = True

    def check(self, classifier: Classifier) -> None:
        def penalty(trial: Classifier, image: torch.Tensor) -> torch.Tensor:
            return rrr(trial.module, image, torch.ones(image[:, 0].shape, dtype=torch.bool, device=image.device))

        check_twice(classifier, self.name, penalty)

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        assert outputs.network is not None
        return rrr(outputs.network, batch.painted.inputs, batch.painted.masks)


class MapMethod(Method):
    """Cross-entropy plus a penalty on a Grad-CAM map of the target layer; what lies above it is differentiated twice."""

    needs_layer = True
    needs_places = True
    differentiates_twice = True

    @abstractmethod
    def of_maps(self, maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the penalty of signed maps (P, h, w) under masks (P, h, w) bool."""

    def classes(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        """Return whose maps to look at, (P,) int64."""
        return logits.argmax(1)

    def check(self, classifier: Classifier) -> None:
        super().check(classifier)

        def penalty(trial: Classifier, image: torch.Tensor) -> torch.Tensor:
            with trial.tap(cut=True) as tap:
                logits = trial.module(image)
                activations = tap.take()
            if torch.autograd.grad(logits.sum(), activations, retain_graph=True, allow_unused=True)[0] is None:
                raise RetuneError(
                    f"The logits do not depend on layer {classifier.target_layer!r}; choose another target layer."
                )
            maps = gradcam(logits, logits.argmax(1), activations)
            return self.of_maps(maps, torch.ones_like(maps, dtype=torch.bool))

        check_twice(classifier, self.name, penalty)

    def intervene(self, activations: torch.Tensor, painted: slice, masks: torch.Tensor) -> torch.Tensor:
        # Gradients can be had of what the logits are computed from, not of a part that is cut out of it afterwards.
        self._seen = activations[painted]
        return torch.cat([activations[: painted.start], self._seen, activations[painted.stop :]])

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        maps = gradcam(outputs.logits, self.classes(batch, outputs.logits), self._seen)
        del self._seen
        return self.of_maps(maps, masks_at_layer(batch.painted.masks, (maps.shape[1], maps.shape[2])))


class RrrGradCam(MapMethod):
    """Cross-entropy plus the share of the predicted class's Grad-CAM map, squared, under the mask."""

    name = "rrr-gradcam"
    description = (
        "RRR on Grad-CAM (Schramowski 2020): the heatmap must keep out of the painted part; cheap, but may be cosmetic."
    )

    def of_maps(self, maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return rrr_gradcam(maps, masks)


class Energy(MapMethod):
    """Cross-entropy plus the share of the positive part of the true class's Grad-CAM map under the mask."""

    name = "energy"
    description = (
        "Energy (Rao 2023): the true class's evidence must keep out of the painted part; cheap, but may be cosmetic."
    )

    def classes(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        return batch.painted.labels

    def of_maps(self, maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return energy(maps, masks)
