"""Methods that look at activations: under the mask, or with and without what is painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.layers.layouts import masks_at_layer
from napari_cam_feedback.models.layers.taps import get_layer
from napari_cam_feedback.retuning.images.masked_set import Batch
from napari_cam_feedback.retuning.losses import actdiff, pas, pasa, tap
from napari_cam_feedback.retuning.methods.base import Method, Outputs
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from napari_cam_feedback.models.classifier import Classifier


class ActDiff(Method):
    """Cross-entropy plus the distance between the features of a painted image and of the same image refilled."""

    name = "actdiff"
    description = "ActDiff (Viviano 2021): the features must not change when the painted part is refilled."
    takes_styles = True
    needs_layer = True

    def extra_inputs(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        return self.context.replacer(batch, generator)

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        assert outputs.activations is not None
        assert outputs.extra_activations is not None
        return actdiff(outputs.activations.mean((2, 3)), outputs.extra_activations.mean((2, 3)))


class Pas(Method):
    """Cross-entropy plus the penalised activations under the masks."""

    name = "pas"
    description = "PAS (Ferrada 2019): penalise every activation under the painted part."
    freezes_batch_norm = True
    needs_layer = True
    needs_places = True

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        activations = outputs.activations
        assert activations is not None
        return pas(activations, masks_at_layer(batch.painted.masks, (activations.shape[2], activations.shape[3])))


class Pasa(Method):
    """Cross-entropy plus PAS that adapts to how sure the model is of the true class."""

    name = "pasa"
    description = "PASA (Ferrada 2019): PAS that adapts to how sure the model is of the true class."
    freezes_batch_norm = True
    needs_layer = True
    needs_places = True

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        activations = outputs.activations
        assert activations is not None
        probability = outputs.logits.float().softmax(1).gather(1, batch.painted.labels[:, None])[:, 0]
        if self.config.pasa_detach:
            probability = probability.detach()
        return pasa(
            activations,
            masks_at_layer(batch.painted.masks, (activations.shape[2], activations.shape[3])),
            probability,
            base=self.config.pasa_base,
            threshold=self.config.pasa_threshold,
        )


class Tap(Method):
    """Cross-entropy plus the penalised activations under the masks, at every convolution."""

    name = "tap"
    description = "TAP (Zhang 2024): penalise the activations under the painted part in every convolution, not in one layer."
    freezes_batch_norm = True

    def check(self, classifier: Classifier) -> None:
        if not self.layers(classifier):
            raise RetuneError(
                "The method tap penalises what convolutions put out, and this network has none whose output has places; "
                "choose actdiff or transplant."
            )

    def layers(self, classifier: Classifier) -> tuple[str, ...]:
        found = [info.name for info in classifier.layers if info.kind == "maps" and info.layout.has_places]
        self._names = tuple(name for name in found if isinstance(get_layer(classifier.module, name), torch.nn.Conv2d))
        return self._names

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        return tap([outputs.layers[name] for name in self._names], batch.painted.masks)


class SelectiveDropout(Method):
    """Cross-entropy with the filters switched off that are most active under the mask (Ferrada 2019)."""

    name = "dropout"
    description = "Selective dropout (Ferrada 2019): the filters most active under the painted part are switched off there."
    needs_layer = True
    needs_places = True

    def check(self, classifier: Classifier) -> None:
        super().check(classifier)
        filters = classifier.layout.filters
        if self._count(filters) >= filters:
            raise RetuneError(
                f"The method dropout would switch off all {filters} filters of layer {classifier.target_layer!r}; "
                "set dropout_filters to fewer, or choose a layer with more."
            )

    def intervene(self, activations: torch.Tensor, painted: slice, masks: torch.Tensor) -> torch.Tensor:
        rows = activations[painted]
        changed = drop_filters(rows, masks_at_layer(masks, (rows.shape[2], rows.shape[3])), self._count(rows.shape[1]))
        return torch.cat([activations[: painted.start], changed, activations[painted.stop :]])

    def _count(self, filters: int) -> int:
        return self.config.dropout_filters or max(1, filters // 10)


def drop_filters(activations: torch.Tensor, masks: torch.Tensor, count: int) -> torch.Tensor:
    """Switch off, in each image, the filters with the largest mean under its mask (Ferrada 2019, selective dropout).

    Parameters
    ----------
    activations : Tensor
        (N, F, h, w) float.
    masks : Tensor
        (N, h, w) bool. Where nothing is masked, nothing is changed.
    count : int
        Filters to switch off, k < F; the others are multiplied by F / (F - k), so that their sum keeps its size.

    Returns
    -------
    Tensor
        (N, F, h, w).
    """
    filters = activations.shape[1]
    # The number of places is the same for all filters of an image.
    under = (activations.detach() * masks[:, None]).sum((2, 3))
    kept = torch.full_like(under, filters / (filters - count)).scatter(1, under.topk(count, 1).indices, 0.0)
    kept = torch.where(masks.flatten(1).any(1)[:, None], kept, 1.0)
    return activations * kept[:, :, None, None]
