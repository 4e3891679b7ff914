"""A half-transparent mark that lies at one place on many images: put on an image, taken off it, and found on it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional

#: Pixels of less opacity are no part of the mark.
MIN_OPACITY = 0.02
#: Standard deviation, in pixels, of the Gaussian by which what lies beneath is estimated.
SCALE = 2.0
#: A Gaussian reaches out of the mark if this share of its weight lies outside.
MIN_WEIGHT_OUTSIDE = 0.05
#: From this share of the mark's strength on, an image carries it.
MIN_STRENGTH = 0.5
#: A mark that would change its pixels by less than this share of the values' range cannot be told on an image.
MIN_CHANGE = 0.01


@dataclass(frozen=True)
class Overlay:
    """A mark through which the image shows: marked = a + b x, pixel by pixel and channel by channel.

    In units of the network's input. 1 - b is the mark's opacity, a / (1 - b) its colour.

    Attributes
    ----------
    a, b : Tensor
        (C, h, w) float; 0 and 1 where there is no mark, b > 0 everywhere.
    low, high : Tensor
        (C,) float, least and greatest value of an image.
    """

    a: torch.Tensor
    b: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def to(self, device: torch.device) -> Overlay:
        """Return the same on a device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    #: Share of a step's images that a retune changes by it.
    share = 1.0

    @property
    def opacity(self) -> float:
        """Opacity of the mark's densest parts, 0 to 1."""
        return float(torch.quantile((1 - self.b).amax(0)[self.strokes], 0.95))

    @property
    def sentence(self) -> str:
        """What the user should know of it."""
        return (
            f"What is painted is a half-transparent mark at one place (opacity up to {self.opacity:.0%}): it is separated "
            "from the photographs and put on truly."
        )

    @cached_property
    def strokes(self) -> torch.Tensor:
        """(h, w) bool, the mark's pixels."""
        return (self.b < 1 - MIN_OPACITY).any(0)

    def put_on(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) with the mark on them."""
        return self.a + self.b * inputs

    def take_off(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return marked images (N, C, h, w) as they were beneath the mark, kept to the values that an image can have."""
        beneath = (inputs - self.a) / self.b
        limited = torch.minimum(torch.maximum(beneath, self.low[:, None, None]), self.high[:, None, None])
        return torch.where(self.strokes, limited, inputs)

    def clear(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) with the mark taken off those that carry it; the others stay as they are."""
        return torch.where(self.carries(inputs)[:, None, None, None], self.take_off(inputs), inputs)

    def conflicting(self, inputs: torch.Tensor, _: torch.Generator | None = None) -> torch.Tensor:
        """Return images (N, C, h, w) with the mark on them, once; there is no other to put on those that carry it."""
        return self.put_on(self.clear(inputs))

    def carries(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return which images (N, C, h, w) carry the mark, (N,) bool.

        How much an image differs from what lies beneath, as estimated from around the strokes, is held against how much
        the mark would change that (`strengths`).
        """
        return self.strengths(inputs) > MIN_STRENGTH

    def strengths(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return how strong the mark is on each image (N, C, h, w), (N,) float: about 0 without it, 1 with it.

        The slope, through the origin, of the line with the least sum of absolute differences from (image - beneath) to
        (mark put on beneath - beneath) over the strokes; 0 where the mark would hardly be seen.
        """
        box = _box(self.strokes)
        strokes = self.strokes[box]
        inputs, a, b = inputs[..., *box], self.a[..., *box], self.b[..., *box]
        below, at = beneath(inputs, strokes), near(strokes)
        change = (a + (b - 1) * below)[:, :, at].flatten(1)
        seen = change.abs().mean(1) > MIN_CHANGE * float((self.high - self.low).mean())
        return torch.where(seen, slopes(change, (inputs - below)[:, :, at].flatten(1)), 0.0)


def beneath(inputs: torch.Tensor, strokes: torch.Tensor) -> torch.Tensor:
    """Estimate what lies beneath a mark from the pixels around its strokes: a Gaussian normalised over those outside.

    Its deviation is 2 pixels, and twice that, again and again, for pixels from where it reaches too little of the outside.

    Parameters
    ----------
    inputs : Tensor
        (N, C, h, w) float.
    strokes : Tensor
        (h, w) bool, not to be looked at.

    Returns
    -------
    Tensor
        (N, C, h, w); pixels that are no strokes as they are.
    """
    weight = (~strokes).to(inputs.dtype)[None, None]
    values, found, hidden = inputs * weight, inputs, strokes
    while hidden.any() and weight.any():
        outside, smooth = _blurred(weight), _blurred(values)
        if outside.shape[2:] != strokes.shape:
            outside, smooth = (functional.interpolate(part, strokes.shape, mode="bilinear") for part in (outside, smooth))
        # Once all pixels are but one, its value is all that can be said.
        reached = hidden & ((outside[0, 0] > MIN_WEIGHT_OUTSIDE) | (weight.numel() == 1))
        found = torch.where(reached, smooth / outside.clamp_min(1e-6), found)
        hidden = hidden & ~reached
        weight, values = (functional.avg_pool2d(part, 2, ceil_mode=True) for part in (weight, values))
    return found


def near(strokes: torch.Tensor) -> torch.Tensor:
    """Return the strokes (h, w) from which the narrowest Gaussian reaches outside: there `beneath` is at its best."""
    return strokes & (_blurred((~strokes).float()[None, None])[0, 0] > MIN_WEIGHT_OUTSIDE)


def slopes(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return, for each row of x and y (N, n), the b that makes the sum of abs(y - b x) least: a weighted median, (N,)."""
    ratios, order = torch.where(x == 0, 0.0, y / torch.where(x == 0, 1.0, x)).sort(1)
    weights = x.abs().gather(1, order).cumsum(1)
    middle = (weights >= weights[:, -1:] / 2).to(torch.uint8).argmax(1, keepdim=True)
    return ratios.gather(1, middle)[:, 0]


def _blurred(images: torch.Tensor) -> torch.Tensor:
    """A Gaussian of `SCALE` pixels over images (N, C, h, w), zero beyond the edges."""
    radius = round(3 * SCALE)
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (steps / SCALE).square())
    kernel = kernel / kernel.sum()
    flat = images.flatten(0, 1)[:, None]
    flat = functional.conv2d(flat, kernel[None, None, :, None], padding=(radius, 0))
    flat = functional.conv2d(flat, kernel[None, None, None, :], padding=(0, radius))
    return flat[:, 0].view_as(images)


def _box(strokes: torch.Tensor) -> tuple[slice, slice]:
    """The rows and columns of the strokes and of as much around them as the narrowest Gaussian sees."""
    margin = round(3 * SCALE)
    sides = []
    for axis in (1, 0):
        at = torch.nonzero(strokes.any(axis))[:, 0]
        sides.append(slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin))
    return sides[0], sides[1]
