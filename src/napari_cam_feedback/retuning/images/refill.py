"""What stands in the painted part of an image where a method refills it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from napari_cam_feedback.evaluation.perturbations.backgrounds import before_others, of_other_classes, without_objects
from napari_cam_feedback.evaluation.perturbations.fills import get_fill
from napari_cam_feedback.evaluation.perturbations.shifts import shifted
from napari_cam_feedback.retuning.automatic import choose_refill
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.images.masked_set import MaskedSet
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from napari_cam_feedback.retuning.images.masked_set import Batch


class Replacer:
    """Refills the painted part of a step's painted images, as the settings say.

    Parameters
    ----------
    config : RetuneConfig
        Names the refill.
    donors : MaskedSet
        All painted images that may be learnt from; donors of patches.
    """

    def __init__(self, config: RetuneConfig, donors: MaskedSet) -> None:
        self.config = config
        self.donors = donors
        self._fill = choose_refill(config, surroundings=donors.surroundings)

    def __call__(self, batch: Batch, generator: torch.Generator, fill: str | None = None) -> torch.Tensor:
        """Return the painted images (P, C, h, w) refilled.

        Parameters
        ----------
        batch : Batch
            The step's images; training images among them serve for ``crop``.
        generator : torch.Generator
            What is random is drawn from it.
        fill : str, optional
            By default that of the settings.
        """
        painted, name = batch.painted, fill or self._fill
        if name == "inpaint":
            assert painted.inpainted is not None
            return torch.where(painted.masks[:, None], painted.inpainted, painted.inputs)
        if name == "donor":
            return self._donor(painted, generator)
        if name == "crop":
            return self._crop(painted, batch.inputs, generator)
        if name == "surround":
            return painted.cleared(generator)
        return get_fill(name)(painted.inputs, painted.masks, generator)

    def _donor(self, painted: MaskedSet, generator: torch.Generator) -> torch.Tensor:
        """The own place refilled from around, and the painted patch of an image of another class where that has it.

        Where what is painted are the surroundings of an object: the object before those of another class. Where it is a
        half-transparent mark, there is no other to put on, and it is taken off.
        """
        if painted.overlay is not None:
            return painted.cleared(generator)
        chosen = torch.multinomial(of_other_classes(painted.labels, self.donors.labels), 1, generator=generator)[:, 0]
        if self.donors.surroundings:
            return before_others(painted.inputs, painted.masks, self._scenes, chosen, generator)
        return self.donors.paste(painted.cleared(generator), chosen)

    @cached_property
    def _scenes(self) -> torch.Tensor:
        return without_objects(self.donors.inputs, self.donors.masks)

    def _crop(self, painted: MaskedSet, others: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A piece of a training image, taken at random, in the shape of the mask."""
        height, width = painted.inputs.shape[2:]
        chosen = torch.randint(len(others), (len(painted),), generator=generator)
        down = torch.randint(height, (len(painted),), generator=generator)
        right = torch.randint(width, (len(painted),), generator=generator)
        return torch.where(painted.masks[:, None], shifted(others[chosen], torch.stack([down, right], 1)), painted.inputs)
