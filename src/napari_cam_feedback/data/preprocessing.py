"""From an image to the network's input and back: size, channels, value range and normalisation."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_cam_feedback.errors import DataError, MaskError
from napari_cam_feedback.torch_loader import torch

# ITU-R BT.601, as Pillow and torchvision turn RGB into gray.
_LUMA = (0.299, 0.587, 0.114)

# No network takes larger images; a file may say any number.
Pixels = Annotated[int, Field(ge=1, le=1 << 15)]
# Of an image that is scaled before its centre is cut out; some kilobytes of a line of pixels would fill gigabytes.
_MOST_PIXELS = 1 << 26


class Preprocessing(BaseModel):
    """How an image becomes the network's input, and how masks and maps follow the same geometry.

    The whole image is stretched to `size`; or, with `crop`, scaled until its shorter side has `resize_to`
    pixels and cut out at the centre. Scaling is antialiased when it makes the image smaller, as Pillow's and
    torchvision's is. An image that has the size already is not resampled.

    Attributes
    ----------
    size : tuple of int
        The input's (height, width) in pixels.
    channels : 1 or 3
        The input's channels; gray images are repeated into RGB, RGB images become gray (ITU-R BT.601).
    channel_order : str
        ``rgb``, or ``bgr`` for networks that were trained on images as OpenCV reads them.
    mean, std : tuple of float
        Subtracted from and divided into each channel of the input, in the input's order (blue first for ``bgr``), in
        units of the value range (0 to 1).
    crop : bool
        Scale and cut out the centre, instead of stretching.
    resize_to : int or None
        With `crop`: the shorter side before the cut; None for the smallest that covers `size`.
    interpolation : str
        ``bilinear`` or ``bicubic`` (whose overshoots are clipped to the value range).
    value_range : tuple of float or None
        The pixel values that become 0 and 1; values outside are clipped. None: 0 to 255 for uint8, 0 to 65535
        for uint16, 0 to 1 for float.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[Pixels, Pixels]
    channels: Literal[1, 3] = 3
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: bool = False
    resize_to: Pixels | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    value_range: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check(self) -> Preprocessing:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels; give one for each")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite numbers")
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.resize_to is not None and not self.crop:
            raise ValueError("resize_to is for crop; leave it out")
        if self.resize_to is not None and self.resize_to < max(self.size):
            raise ValueError("resize_to must not be smaller than size")
        if self.value_range is not None:
            if not np.isfinite(self.value_range).all():
                raise ValueError("value_range must be finite numbers")
            if not self.value_range[0] < self.value_range[1]:
                raise ValueError("value_range must rise")
        return self

    def input(self, image: np.ndarray) -> torch.Tensor:
        """Return the network's input for an image.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3)
            uint8, uint16 or float.

        Returns
        -------
        Tensor, float32, shape (channels, height, width)
            Its channels in `channel_order`.

        Raises
        ------
        DataError
            The image has another shape, NaN, or float values outside 0 to 1 while no value range is set; or it is too narrow
            to be cropped.
        """
        x = self._channels(self._unit(image))
        scaled, (top, left) = self._geometry((x.shape[1], x.shape[2]))
        if scaled != tuple(x.shape[1:]):
            x = self._scaled(x, scaled)
        x = self._ordered(x[:, top : top + self.size[0], left : left + self.size[1]], 0)
        return ((x - _column(self.mean)) / _column(self.std)).contiguous()

    def mask(self, mask: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return an image's irrelevance mask in the input's pixels.

        Parameters
        ----------
        mask : array, shape (H, W)
            Non-zero where irrelevant, in image pixels.

        Returns
        -------
        Tensor, bool, shape (height, width)
            The input pixels that cover any part of a masked image pixel.
        """
        m = torch.as_tensor(np.ascontiguousarray(mask) if isinstance(mask, np.ndarray) else mask) != 0
        if m.ndim != 2:
            raise MaskError(f"A mask must have the shape (height, width), not {tuple(m.shape)}; save it as gray.")
        scaled, (top, left) = self._geometry((m.shape[0], m.shape[1]))
        if scaled != tuple(m.shape):
            # The windows of adaptive pooling are exactly the image pixels that an input pixel overlaps.
            m = torch.nn.functional.adaptive_max_pool2d(m[None].float(), scaled)[0] > 0
        return m[top : top + self.size[0], left : left + self.size[1]].contiguous()

    def to_image(self, maps: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
        """Bring maps that cover the input back onto the image: bilinear, ``align_corners=False``.

        Parameters
        ----------
        maps : Tensor, float, shape (..., h, w)
            Maps of any resolution (the input's or a layer's) that cover the input from edge to edge.
        image_size : tuple of int
            The image's (H, W).

        Returns
        -------
        Tensor, shape (..., H, W)
            Zero outside the crop, which the network never saw.
        """
        scaled, origin = self._geometry(image_size)
        rows, columns = (
            _resampling(maps.shape[axis - 2], self.size[axis], image_size[axis], scaled[axis], origin[axis]).to(maps)
            for axis in (0, 1)
        )
        return rows @ maps @ columns.T

    def unnormalised(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs (..., C, h, w) as pictures: normalisation undone (0 to 1 for the value range), channels RGB."""
        return self._ordered(inputs * _column(self.std).to(inputs) + _column(self.mean).to(inputs), -3)

    def normalised(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return pictures (..., C, h, w), as `unnormalised` gives them, as inputs."""
        return (self._ordered(pictures, -3) - _column(self.mean).to(pictures)) / _column(self.std).to(pictures)

    @property
    def low(self) -> torch.Tensor:
        """The least value that an input can have, float32 (C, 1, 1): black, normalised."""
        return (0 - _column(self.mean)) / _column(self.std)

    @property
    def high(self) -> torch.Tensor:
        """The greatest value that an input can have, float32 (C, 1, 1): white, normalised."""
        return (1 - _column(self.mean)) / _column(self.std)

    @property
    def summary(self) -> str:
        """One line for people, such as "28x28 gray, mean 0.5, std 0.5" (height x width)."""
        parts = [
            f"{self.size[0]}x{self.size[1]} {'gray' if self.channels == 1 else self.channel_order.upper()}",
            "mean " + " ".join(f"{v:g}" for v in self.mean),
            "std " + " ".join(f"{v:g}" for v in self.std),
        ]
        if self.crop:
            parts.append("centre crop" + (f" from {self.resize_to}" if self.resize_to else ""))
        if self.interpolation != "bilinear":
            parts.append(self.interpolation)
        if self.value_range:
            parts.append(f"values {self.value_range[0]:g} to {self.value_range[1]:g}")
        return ", ".join(parts)

    def _geometry(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the image's size after scaling, and the input's (top, left) in it."""
        if not self.crop:
            return self.size, (0, 0)
        height, width = image_size
        if self.resize_to is None:
            scale = max(self.size[0] / height, self.size[1] / width)
            scaled = (max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale)))
        else:
            # As torchvision's Resize: the longer side is cut to whole pixels, not rounded.
            short, long = min(height, width), max(height, width)
            longer = max(self.resize_to, int(self.resize_to * long / short))
            scaled = (self.resize_to, longer) if height <= width else (longer, self.resize_to)
        if scaled[0] * scaled[1] > max(_MOST_PIXELS, 4 * self.size[0] * self.size[1]):
            raise DataError(
                f"An image of {height}x{width} pixels is too narrow to be cut out at its centre: it would be scaled to "
                f"{scaled[0]}x{scaled[1]}; cut it, or let images be stretched instead of cropped.",
                field="crop",
            )
        top, left = (round((scaled[axis] - self.size[axis]) / 2) for axis in (0, 1))
        return scaled, (top, left)

    def _unit(self, image: np.ndarray) -> torch.Tensor:
        """Return the image as float32 (C, H, W) with its value range brought to 0 … 1."""
        image = np.asarray(image)
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or not image.size:
            raise DataError(f"An image must have the shape (H, W) or (H, W, 3), not {image.shape}; convert it.")
        if image.ndim == 2:
            image = image[..., None]
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)).astype(np.float32))
        if image.dtype.kind == "f" and not x.isfinite().all():
            raise DataError("The image has pixels that are not numbers (NaN or infinite); mend or remove it.")
        if self.value_range is not None:
            low, high = self.value_range
            return ((x - low) / (high - low)).clamp_(0, 1)
        if image.dtype == np.uint8:
            return x / 255
        if image.dtype == np.uint16:
            return x / 65535
        if x.min() < -1e-3 or x.max() > 1 + 1e-3:
            raise DataError(
                f"The image's values run from {x.min().item():g} to {x.max().item():g}, not from 0 to 1; "
                "set the value range of the preprocessing."
            )
        return x.clamp_(0, 1)

    def _scaled(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return (C, H, W) resampled to `size`."""
        mode = self.interpolation
        # Pillow, with which networks are mostly trained, clips bicubic overshoots along rows before it goes down columns.
        for step in [(x.shape[1], size[1]), size] if mode == "bicubic" else [size]:
            x = torch.nn.functional.interpolate(x[None], size=step, mode=mode, align_corners=False, antialias=True)[0]
            if mode == "bicubic":
                x = x.clamp_(0, 1)
        return x

    def _ordered(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Exchange red and blue where the network wants it so."""
        return x.flip(axis) if self.channel_order == "bgr" and self.channels == 3 else x

    def _channels(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == self.channels:
            return x
        if self.channels == 3:
            return x.expand(3, -1, -1)
        return (x * _column(_LUMA)).sum(0, keepdim=True)


def _column(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _resampling(n_map: int, n_input: int, n_image: int, n_scaled: int, start: int) -> torch.Tensor:
    """Return the matrix (n_image, n_map) that resamples one axis of a map onto an image, bilinearly.

    The map covers the input's `n_input` pixels, which lie at `start` in the image scaled from `n_image` to
    `n_scaled` pixels. Rows whose pixel centre lies outside the input are zero.
    """
    centres = torch.arange(n_image, dtype=torch.float64) + 0.5
    at = (centres * (n_scaled / n_image) - start) * (n_map / n_input)
    # Several map pixels to an image pixel are averaged (a wider triangle), as antialiasing does.
    reach = max(1.0, n_scaled / n_image * n_map / n_input)
    distance = (at[:, None] - 0.5 - torch.arange(n_map, dtype=torch.float64)) / reach
    weights = (1 - distance.abs()).clamp(min=0)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    return weights * ((at >= 0) & (at <= n_map))[:, None]
