"""The retune methods: each adds a penalty to the loss, changes the training images, or both; joined by ``+``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import ClassVar

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.evaluate.fills import get_fill
from napari_cam_feedback.explain.layer_masks import masks_at_layer
from napari_cam_feedback.retune.config import RetuneConfig
from napari_cam_feedback.retune.losses import actdiff, pas, pasa
from napari_cam_feedback.retune.painted import Painted
from napari_cam_feedback.torch_loader import torch


@dataclass
class Batch:
    """One step's images.

    Attributes
    ----------
    inputs : Tensor
        (N, C, h, w) training images.
    labels : Tensor
        (N,) int64.
    painted : Painted
        P painted images.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    painted: Painted


@dataclass
class Outputs:
    """What the network made of the painted images and of the extra images that a method asked for.

    Attributes
    ----------
    activations : Tensor
        (P, F, h, w) of the painted images.
    logits : Tensor
        (P, K) of the painted images.
    extra_activations, extra_logits : Tensor or None
        The same of the extra images.
    """

    activations: torch.Tensor
    logits: torch.Tensor
    extra_activations: torch.Tensor | None
    extra_logits: torch.Tensor | None


class Method:
    """One way to use masks. Subclasses override as little as they need.

    Parameters
    ----------
    config : RetuneConfig
        Settings.
    donors : Painted
        All painted images that may be learnt from.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    #: Whether batch norm keeps its statistics unless the settings say otherwise.
    freezes_batch_norm: ClassVar[bool] = False

    def __init__(self, config: RetuneConfig, donors: Painted) -> None:
        self.config = config
        self.donors = donors

    def change(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch to train on."""
        return batch

    def extra_inputs(self, batch: Batch, generator: torch.Generator) -> torch.Tensor | None:
        """Return further images (M, C, h, w) to send through the network for the penalty."""
        return None

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor | None:
        """Return a scalar to add to the cross-entropy, without its weight."""
        return None


class Pas(Method):
    """Cross-entropy plus the penalised activations under the masks."""

    name = "pas"
    description = "PAS (Ferrada 2019): penalise every activation under the painted part."
    freezes_batch_norm = True

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        size = (outputs.activations.shape[2], outputs.activations.shape[3])
        return pas(outputs.activations, masks_at_layer(batch.painted.masks, size))


class Pasa(Method):
    """Cross-entropy plus PAS that adapts to how sure the model is of the true class."""

    name = "pasa"
    description = "PASA (Ferrada 2019): PAS that adapts to how sure the model is of the true class."
    freezes_batch_norm = True

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        size = (outputs.activations.shape[2], outputs.activations.shape[3])
        probability = outputs.logits.softmax(1).gather(1, batch.painted.labels[:, None])[:, 0]
        if self.config.pasa_detach:
            probability = probability.detach()
        return pasa(
            outputs.activations,
            masks_at_layer(batch.painted.masks, size),
            probability,
            base=self.config.pasa_base,
            threshold=self.config.pasa_threshold,
        )


class ActDiff(Method):
    """Cross-entropy plus the distance between the features of a painted image and of the same image refilled."""

    name = "actdiff"
    description = "ActDiff (Viviano 2021): the features must not change when the painted part is refilled."

    def extra_inputs(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        return get_fill(self.config.fill)(batch.painted.inputs, batch.painted.masks, generator)

    def penalty(self, batch: Batch, outputs: Outputs) -> torch.Tensor:
        assert outputs.extra_activations is not None
        return actdiff(outputs.activations.mean((2, 3)), outputs.extra_activations.mean((2, 3)))


class Transplant(Method):
    """Training images of any class get the painted patch of another image and keep their label (after SPIRE, Plumb 2022)."""

    name = "transplant"
    description = "Transplant: paste painted patches onto images of any class, so that they tell nothing any more."

    def change(self, batch: Batch, generator: torch.Generator) -> Batch:
        count = len(batch.inputs)
        donors = torch.randint(len(self.donors), (count,), generator=generator)
        # Where the shortcut keeps to some places, the image's own goes, so that only the pasted one is left.
        cleared = self.donors.clear_places(batch.inputs, generator)
        pasted = self.donors.paste(cleared, donors)
        draw = torch.rand(count, generator=generator)
        share = self.config.transplant_share
        inputs = torch.where((draw < share)[:, None, None, None], pasted, batch.inputs)
        return Batch(inputs, batch.labels, batch.painted)


METHODS: dict[str, type[Method]] = {method.name: method for method in (Transplant, ActDiff, Pas, Pasa)}

#: What ``auto`` stands for.
AUTO = ("actdiff", "transplant")


def method_names() -> tuple[str, ...]:
    """Names to offer, the recommended one first."""
    return ("auto", *METHODS, "+".join(AUTO))


def describe_method(name: str) -> str:
    """Return one sentence on a method, also on ``auto`` and on several joined by ``+``."""
    if name == "auto":
        return f"Our best: {' and '.join(AUTO)} together, with the strength chosen by itself."
    return " ".join(METHODS[part].description for part in _parts(name))


def _parts(name: str) -> list[str]:
    parts = list(AUTO) if name == "auto" else [part.strip() for part in name.split("+")]
    for part in parts:
        if part not in METHODS:
            near = difflib.get_close_matches(part, [*METHODS, "auto"], n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(method_names())}."
            raise ConfigError(f"There is no retune method {part!r}; {hint}")
    return list(dict.fromkeys(parts))


def make_methods(config: RetuneConfig, donors: Painted) -> list[Method]:
    """Make the methods that ``config.method`` names.

    Raises
    ------
    ConfigError
        A name is unknown; the nearest names are given.
    """
    return [METHODS[part](config, donors) for part in _parts(config.method)]
