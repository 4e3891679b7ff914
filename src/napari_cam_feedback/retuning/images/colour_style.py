"""Brightness and colour as what a model is to stop using: each image gets those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from napari_cam_feedback.auditing.colours import colours_of, with_colours
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.data.splits import TRAIN
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.retuning.images.style import Style, ends
from napari_cam_feedback.torch_loader import torch

#: Training images whose colours serve.
MAX_IMAGES = 300


@dataclass(frozen=True)
class ColourStyle(Style):
    """Brightness and colour of an image as a whole.

    Attributes
    ----------
    colours_of_others : Tensor
        (3, D, C) float, colours of training images (`auditing.colours`).
    """

    colours_of_others: torch.Tensor

    changed: ClassVar[str] = "with the brightness and colour of other images"

    @property
    def sentence(self) -> str:
        return (
            "Each image is also shown with the brightness and colour of another (quartiles of each channel in the "
            "surroundings), so that these tell nothing any more."
        )

    def carries(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)

    def put_on(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        generator = generator or torch.Generator().manual_seed(0)
        chosen = torch.randint(self.colours_of_others.shape[1], (len(inputs),), generator=generator)
        return self.limited(with_colours(inputs, self.colours_of_others[:, chosen]))

    def take_off(self, inputs: torch.Tensor) -> torch.Tensor:
        usual = self.colours_of_others.median(1, keepdim=True).values
        return self.limited(with_colours(inputs, usual.expand(-1, len(inputs), -1)))

    def conflicting(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.put_on(inputs, generator)


def find_colours(preprocessing: Preprocessing, dataset: Dataset) -> ColourStyle:
    """Return brightness and colour as what a model is to stop using.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of the network that is to be retuned.
    dataset : Dataset
        Whose labelled training images show which there are; of more than 300 some are looked at.

    Raises
    ------
    RetuneError
        None of them can be read.
    """
    items = np.intersect1d(dataset.learnable(), dataset.indices(TRAIN))
    items = np.sort(np.random.default_rng(0).permutation(items)[:MAX_IMAGES])
    found = [colours_of(part) for _, part in InputCache(dataset, preprocessing).batches(items, 64)]
    if not found:
        raise RetuneError("No labelled training image can be read; check that the dataset is still there.")
    return ColourStyle(*ends(preprocessing), torch.cat(found, 1))
