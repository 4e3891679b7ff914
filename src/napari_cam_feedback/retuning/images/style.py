"""What lies over whole images, so that it cannot be painted, as a retune uses it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class Style(ABC):
    """Something of images as a whole: told on an image, taken off, and made to conflict with the class.

    In units of the network's input, at its size.

    Attributes
    ----------
    low, high : Tensor
        (C,) float, least and greatest value of an image.
    """

    low: torch.Tensor
    high: torch.Tensor

    #: Share of a step's images that a retune changes by it.
    share: ClassVar[float] = 0.5
    #: What `conflicting` does to images, for a sentence: "images ...".
    changed: ClassVar[str]

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What the user should know of it."""

    @abstractmethod
    def carries(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return which images (N, C, h, w) have it, (N,) bool."""

    @abstractmethod
    def put_on(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return images (N, C, h, w) with it; what is random is drawn from the generator."""

    @abstractmethod
    def take_off(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) without it, as far as that can be."""

    def fits(self, size: tuple[int, int]) -> bool:
        """Tell whether it can be used on images of some size (h, w)."""
        return True

    def clear(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) with it taken off those that have it."""
        return torch.where(self.carries(inputs)[:, None, None, None], self.take_off(inputs), inputs)

    @abstractmethod
    def conflicting(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return images (N, C, h, w) changed so that it conflicts with the class where it told it."""

    def to(self, device: torch.device) -> Style:
        """Return the same on a device."""
        return Style.from_tensors({name: each.to(device) for name, each in self.to_tensors().items()})

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """All that it is made of, by name; `from_tensors` makes it anew."""
        return {field.name: torch.as_tensor(getattr(self, field.name)) for field in fields(self)}

    @staticmethod
    def from_tensors(tensors: Mapping[str, torch.Tensor]) -> Style:
        """Make the one whose `to_tensors` these are.

        Raises
        ------
        KeyError
            One is missing.
        """
        from napari_cam_feedback.retuning.images.colour_style import ColourStyle
        from napari_cam_feedback.retuning.images.shown_style import ShownStyle

        kind: type[Style] = ColourStyle if "colours_of_others" in tensors else ShownStyle
        values: dict[str, Any] = {field.name: tensors[field.name] for field in fields(kind)}
        return kind(**values)

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Find out whether it is of images of that size; it may come from a file, or from a run of another network.

        Raises
        ------
        RetuneError
            It is not, or its numbers are none.
        """
        image = torch.zeros(1, channels, *size)
        try:
            found = torch.cat([self.take_off(image), self.put_on(image), self.conflicting(image)])
            carried, said = self.carries(image), self.sentence
            whole = carried.shape == (1,) and carried.dtype == torch.bool and found.shape == (3, *image.shape[1:])
            if (
                said
                and whole
                and self.fits(size)
                and self.low.shape == self.high.shape == (channels,)
                and bool(found.isfinite().all())
            ):
                return
        except (RuntimeError, ValueError, TypeError, IndexError):  # torch says of sizes what no user understands
            pass
        raise RetuneError(
            "What is to be taken out was found on images of another size or number of channels than this model takes, or "
            "its file is broken; show the images with it and without it again."
        )

    def limited(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) kept to the values that an image can have."""
        return torch.minimum(torch.maximum(images, self.low[:, None, None]), self.high[:, None, None])


def ends(preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least and the greatest value of an input, (C,) float each."""
    pairs = list(zip(preprocessing.mean, preprocessing.std, strict=True))
    low, high = (torch.tensor([(end - mean) / std for mean, std in pairs]) for end in (0.0, 1.0))
    return low, high
