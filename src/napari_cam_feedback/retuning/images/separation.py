"""Separating a half-transparent mark from the images that it lies on, by what many images have in common.

Step by step, after Dekel et al. 2017 ("On the Effectiveness of Visible Watermarks") where noted:

1. The median over the images of each pixel's gradient is the mark's own, since the images' cancel (Dekel); summed up from
   zero around the painted place (Poisson's equation), it tells how much the mark changes each pixel: its strokes are where
   that is more than at places of the same size beside it.
2. What lies beneath is estimated from the pixels around the strokes, and scaled by how well that does beside the mark.
3. For pixels that the mark changes alike, a robust line marked = a + b beneath through all images gives the colour.
4. With the colour, a line through the origin for each pixel gives its opacity.

All this is believed only if it foretells images that it was not made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.fft import dstn, idstn

from napari_cam_feedback.retuning.images.overlay import MIN_CHANGE, MIN_OPACITY, Overlay, beneath, near, slopes
from napari_cam_feedback.torch_loader import torch

#: Fewer painted images do not tell the mark from what lies beneath.
MIN_IMAGES = 6
#: So many of them are enough.
MAX_IMAGES = 50
#: Masks at one place share this much of their union with the place that most of them cover.
MIN_SHARED = 0.5
#: Share of the image's shorter side by which the mark may reach beyond the painted place, in 2 to 8 pixels.
MARGIN = 1 / 28
#: Pixels beyond the edge of the image, or of what is looked at, over which a change fades to zero.
FADE = 8
#: Fewer strokes are no mark.
MIN_STROKES = 8
#: Share of the pixels beside the mark that would be taken for strokes.
FALSE_STROKES = 0.02
#: Opacity of the densest parts beyond which what lies beneath cannot be had back, and below which there is no mark.
MAX_OPACITY, MIN_DENSEST = 0.85, 0.06
#: A mark's colour lies within the images' values; beyond by this share of their range is chance.
COLOUR_SLACK = 0.25
#: Parts of the images by which it is checked, each foretold from the others.
FOLDS = 3
#: Share of the difference to what lies beneath that must be foretold on images not learnt from.
MIN_FORETOLD = 0.25
#: Share of the range by which what is not foretold may exceed the error of the estimate of what lies beneath.
UNFORETOLD_SLACK = 0.015
#: Mean difference of opacities found on different parts, relative to their mean and times the root of the images of a part.
#: It was 0.1 to 0.5 for marks, and 0.9 and more for objects that lie alike on all images: no more of these make it sharper.
MAX_DISAGREEMENT = 0.6
#: Share of the images on which the mark must be found about as strong as on the others, and what that means.
MIN_ALIKE, ALIKE = 0.8, (0.5, 1.5)
#: Bins of pixels that the mark changes alike, and pixels of each that are looked at.
BINS, MAX_BIN_PIXELS = 8, 200


def separate_overlay(inputs: torch.Tensor, masks: torch.Tensor) -> Overlay | None:
    """Separate one half-transparent mark, alike on all images and at one place, from what lies beneath.

    The mark may have two colours, one lighter and one darker than the images. Marks that are opaque, move, differ from image
    to image, or cover most of the image are not separated.

    Parameters
    ----------
    inputs : Tensor
        (P, C, h, w) float, in units of the network's input.
    masks : Tensor
        (P, h, w) bool, where the mark is, roughly; its edge must be inside.

    Returns
    -------
    Overlay or None
        None where it is no such mark.
    """
    place = _one_place(masks)
    if place is None:
        return None
    chosen = np.unique(np.linspace(0, len(inputs) - 1, MAX_IMAGES).round().astype(np.int64))
    inputs = inputs[torch.from_numpy(chosen)].detach().cpu().float()
    low, high = inputs.amin((0, 2, 3)), inputs.amax((0, 2, 3))
    # From here on, values lie between 0 and 1.
    unit = (inputs - low[:, None, None]) / (high - low).clamp_min(1e-6)[:, None, None]
    found = _fit(unit, place)
    evidence = None if found is None else _evidence(unit, place)
    if found is None or evidence is None or not evidence.holds:
        return None
    opacity = found.opacity[None]
    colour = low[:, None, None] + (high - low)[:, None, None] * found.colour
    return Overlay(opacity * colour, (1 - opacity).expand_as(colour).contiguous(), low, high)


@dataclass(frozen=True)
class _Fit:
    """Opacity (h, w) and colour (C, h, w) of a mark, and the estimate of what lies beneath: offset (C,) + scale x around."""

    opacity: torch.Tensor
    colour: torch.Tensor
    offset: torch.Tensor
    scale: float

    @property
    def strokes(self) -> torch.Tensor:
        return self.opacity > 0


@dataclass(frozen=True)
class _Box:
    """Rows and columns from (top, left) on, as many as the place has."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def _one_place(masks: torch.Tensor) -> _Box | None:
    """The box around the place that most masks cover, if they do cover the same."""
    masks = masks.detach().cpu()
    if len(masks) < MIN_IMAGES:
        return None
    common = masks.float().mean(0) >= 0.5
    if not common.any():
        return None
    shared = (masks & common).flatten(1).sum(1) / (masks | common).flatten(1).sum(1)
    if float(shared.quantile(0.25)) < MIN_SHARED:
        return None
    height, width = common.shape
    rows, columns = np.flatnonzero(common.any(1)), np.flatnonzero(common.any(0))
    margin = min(8, max(2, round(MARGIN * min(height, width))))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    bottom, right = min(height, rows[-1] + 1 + margin), min(width, columns[-1] + 1 + margin)
    return _Box(int(top), int(left), int(bottom - top), int(right - left))


def _beside(place: _Box, height: int, width: int) -> list[_Box]:
    """Up to three boxes of that size elsewhere, at least half of each outside the place; those farthest outside first."""
    tops = {0, height - place.height, place.top, place.top - place.height, place.top + place.height}
    lefts = {0, width - place.width, place.left, place.left - place.width, place.left + place.width}
    found = []
    for top in sorted({min(max(0, top), height - place.height) for top in tops}):
        for left in sorted({min(max(0, left), width - place.width) for left in lefts}):
            rows = max(0, place.height - abs(top - place.top))
            columns = max(0, place.width - abs(left - place.left))
            overlap = rows * columns / (place.height * place.width)
            if overlap <= 0.5:
                found.append((overlap, _Box(top, left, place.height, place.width)))
    found.sort(key=lambda one: one[0])
    return [box for _, box in found[:3]]


def _changes(inputs: torch.Tensor, box: _Box, hidden: torch.Tensor | None = None) -> torch.Tensor:
    """How much all images change there, (C, height, width): the median gradients summed up from zero around the box.

    Gradients of pixels that are hidden, (h, w) bool, count as zero.
    """
    images = inputs[..., *box.slices].numpy()
    # Beyond the edge of the image nothing is known, and the mark may go on: there it is mirrored.
    ends = ((box.top, inputs.shape[2] - box.top - box.height), (box.left, inputs.shape[3] - box.left - box.width))
    mirror = [tuple(size * (end == 0) for end in both) for size, both in zip((box.height, box.width), ends, strict=True)]
    fade = [tuple(FADE * (end > 0) for end in both) for both in ends]
    images = np.pad(np.pad(images, [(0, 0)] * 2 + mirror, mode="symmetric"), [(0, 0)] * 2 + fade, mode="edge")
    down, right = np.median(np.diff(images, axis=2), 0), np.median(np.diff(images, axis=3), 0)
    if hidden is not None:
        seen = ~np.pad(np.pad(hidden[box.slices].numpy(), mirror, mode="symmetric"), fade)
        down, right = down * (seen[1:] & seen[:-1]), right * (seen[:, 1:] & seen[:, :-1])
    divergence = np.diff(down, axis=1)[:, :, 1:-1] + np.diff(right, axis=2)[:, 1:-1]
    rows, columns = divergence.shape[1:]
    eigenvalues = np.add.outer(*(2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in (rows, columns)))
    summed = np.zeros_like(images[0])
    summed[:, 1:-1, 1:-1] = idstn(dstn(divergence, type=1, axes=(1, 2)) / eigenvalues, type=1, axes=(1, 2))
    top, left = (mirrored[0] + faded[0] for mirrored, faded in zip(mirror, fade, strict=True))
    return torch.from_numpy(summed[:, top : top + box.height, left : left + box.width].astype(np.float32))


def _fit(inputs: torch.Tensor, place: _Box) -> _Fit | None:
    """Separate the mark on inputs (P, C, h, w) between 0 and 1; None where there are no strokes, or no mark can be so."""
    height, width = inputs.shape[2:]
    boxes = _beside(place, height, width)
    if not boxes:
        return None
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[place.slices] = True
    noise = [_changes(inputs, box, inside).abs().amax(0)[~inside[box.slices]] for box in boxes]
    threshold = max(float(part.quantile(1 - FALSE_STROKES)) for part in noise)
    changes = torch.zeros(inputs.shape[1:])
    changes[..., *place.slices] = _changes(inputs, place)
    strokes = changes.abs().amax(0) > threshold
    if int(strokes.sum()) < MIN_STROKES:
        return None
    offset, scale = _calibrate(inputs, place, strokes, boxes)
    below = offset[:, None, None] + scale * beneath(inputs, strokes)
    colour = torch.zeros_like(changes)
    for part in _tones(changes, strokes):
        own = _colour(below[:, :, part], inputs[:, :, part], changes[:, part].abs().amax(0))
        if own is None:  # chance, or something of the images
            strokes = strokes & ~part
        else:
            colour[:, part] = own[:, None]
    if int(strokes.sum()) < MIN_STROKES:
        return None
    # For each pixel, over images and channels: what it differs by, and what an opaque mark would change it by.
    least = (inputs - below)[:, :, strokes].flatten(0, 1).T
    most = (colour - below)[:, :, strokes].flatten(0, 1).T
    opacity = torch.zeros(height, width)
    opacity[strokes] = slopes(most, least)
    opacity = torch.where(opacity > MIN_OPACITY, opacity, 0.0)
    if int((opacity > 0).sum()) < MIN_STROKES or not _is_half_transparent(opacity):
        return None
    return _Fit(opacity.clamp(0, 0.95), colour, offset, scale)


def _is_half_transparent(opacity: torch.Tensor) -> bool:
    return MIN_DENSEST <= float(opacity[opacity > 0].quantile(0.95)) <= MAX_OPACITY


def _tones(changes: torch.Tensor, strokes: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the strokes that change images in one direction of colour and those in the other, (h, w) bool each.

    As a rule all change them in one.
    """
    found = changes[:, strokes].T
    axis = torch.linalg.svd(found, full_matrices=False).Vh[0]
    lighter = torch.zeros_like(strokes)
    lighter[strokes] = found @ axis > 0
    darker = strokes & ~lighter
    few = max(MIN_STROKES, int(strokes.sum()) // 10)
    if int(lighter.sum()) < few or int(darker.sum()) < few:
        yield strokes
    else:
        yield lighter
        yield darker


def _colour(below: torch.Tensor, marked: torch.Tensor, change: torch.Tensor) -> torch.Tensor | None:
    """The one colour (C,) of a mark's pixels, from lines marked = a + b below through all images and pixels of a bin.

    None where it would be no colour: what is not between dark and light is no mark that something shows through.

    Parameters
    ----------
    below, marked : Tensor
        (P, C, n).
    change : Tensor
        (n,) how much the mark changes each pixel.
    """
    total, weight = torch.zeros(below.shape[1]), 0.0
    order = change.argsort()
    for pixels in order.tensor_split(min(BINS, max(1, len(order) // MIN_STROKES))):
        chosen = pixels[:: max(1, len(pixels) // MAX_BIN_PIXELS)]
        a, b = _line(below[:, :, chosen], marked[:, :, chosen])
        total, weight = total + len(pixels) * (1 - b) * a, weight + len(pixels) * (1 - b) ** 2
    colour = total / max(weight, 1e-6)
    if bool(((colour < -COLOUR_SLACK) | (colour > 1 + COLOUR_SLACK)).any()):
        return None
    return colour.clamp(0, 1)


def _line(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return a (C,) and b of y = a + b x with Huber's loss (1.345 deviations), over x and y (P, C, n)."""
    x, y = x.transpose(1, 2).flatten(0, 1), y.transpose(1, 2).flatten(0, 1)
    weights = torch.ones_like(y)
    a, b = torch.zeros(y.shape[1]), 1.0
    for _ in range(10):
        total = weights.sum(0)
        mean_x, mean_y = (weights * x).sum(0) / total, (weights * y).sum(0) / total
        spread = float((weights * (x - mean_x).square()).sum())
        b = float((weights * (x - mean_x) * (y - mean_y)).sum()) / max(spread, 1e-9)
        a = mean_y - b * mean_x
        off = (y - a - b * x).abs()
        deviation = 1.4826 * float(off.median()) + 1e-6
        weights = (1.345 * deviation / off.clamp_min(1e-9)).clamp_max(1)
    return a, b


def _elsewhere(
    inputs: torch.Tensor, place: _Box, strokes: torch.Tensor, boxes: list[_Box]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images where there is no mark, and their estimate from around strokes moved there, (P, C, n) each."""
    true, estimated = [], []
    for box in boxes:
        there, own = inputs[..., *box.slices], strokes[box.slices]
        moved = strokes[place.slices]
        at = moved & ~own
        true.append(there[:, :, at])
        estimated.append(beneath(there, moved | own)[:, :, at])
    return torch.cat(true, 2), torch.cat(estimated, 2)


def _calibrate(inputs: torch.Tensor, place: _Box, strokes: torch.Tensor, boxes: list[_Box]) -> tuple[torch.Tensor, float]:
    """How the estimate of what lies beneath is to be shifted (C,) and scaled to be right where there is no mark."""
    true, estimated = _elsewhere(inputs, place, strokes, boxes)
    every = max(1, true.shape[2] // (BINS * MAX_BIN_PIXELS))
    return _line(estimated[:, :, ::every], true[:, :, ::every])


@dataclass(frozen=True)
class _MarkEvidence:
    """How a mark found on some images does on others.

    Attributes
    ----------
    foretold : float
        Share of the difference to what lies beneath that the mark explains.
    error : float
        What it does not explain, mean per value.
    expected : float
        What it cannot explain: the error of the estimate of what lies beneath, as beside the mark, seen through it.
    disagreement : float
        Mean difference of the opacities found without one part and without another, relative to their mean, and times the
        root of the number of images that they are found on.
    alike : float
        Share of the images, among those on which it can be seen, on which it is about as strong as on the others.
    """

    foretold: float
    error: float
    expected: float
    disagreement: float
    alike: float

    @property
    def holds(self) -> bool:
        explains = self.foretold >= MIN_FORETOLD and self.error <= self.expected + UNFORETOLD_SLACK
        return explains and self.disagreement <= MAX_DISAGREEMENT and self.alike >= MIN_ALIKE


def _evidence(inputs: torch.Tensor, place: _Box) -> _MarkEvidence | None:
    """Hold each part of the images against a mark that is made from the other parts; None where there is none."""
    folds = np.arange(len(inputs)) % FOLDS
    boxes = _beside(place, *inputs.shape[2:])
    difference, error, expected, values = 0.0, 0.0, 0.0, 0
    strengths, opacities = [], []
    for fold in range(FOLDS):
        found = _fit(inputs[folds != fold], place)
        if found is None:
            return None
        opacities.append(found.opacity)
        others, strokes = inputs[folds == fold], found.strokes
        offset = found.offset[:, None]
        below = offset + found.scale * beneath(others, strokes)[:, :, strokes]
        change = found.opacity[strokes] * (found.colour[:, strokes] - below)
        off = others[:, :, strokes] - below
        true, estimated = _elsewhere(others, place, strokes, boxes)
        values += off.numel()
        difference += float(off.abs().sum())
        error += float((off - change).abs().sum())
        through = float((1 - found.opacity[strokes]).mean())
        expected += off.numel() * through * float((true - offset - found.scale * estimated).abs().mean())
        rim = near(strokes)[strokes]
        change, off = change[:, :, rim].flatten(1), off[:, :, rim].flatten(1)
        strengths.append(slopes(change, off)[change.abs().mean(1) > MIN_CHANGE])
    alike = torch.cat(strengths)
    if len(alike) < len(inputs) / 2:
        return None
    share = float(((alike > ALIKE[0]) & (alike < ALIKE[1])).float().mean())
    stacked = torch.stack(opacities)
    apart = float((stacked - stacked.roll(1, 0)).abs().mean() / stacked.mean()) * (len(inputs) * (1 - 1 / FOLDS)) ** 0.5
    return _MarkEvidence(1 - error / max(difference, 1e-9), error / values, expected / values, apart, share)
