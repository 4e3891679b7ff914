"""A style that lies over whole images, such as a colour cast, blur or contrast: found, told on an image, put on, taken off.

What cannot be painted is shown by images with it and without it. Both sets are described by what hardly depends on where
things are: how far the colours reach and go together, and the amplitude at each spatial frequency. Images without it are
given the colours of those with it by the linear map that moves them least (Pitie and Kokaram 2007, *The
linear Monge-Kantorovitch linear colour mapping for example-based colour transfer*), then their amplitudes, frequency by
frequency (after Fourier domain adaptation, Yang and Soatto 2020, CVPR; with a mean over images and directions, so that no
content comes along).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.monitor import QUIET, Monitor
from napari_cam_feedback.retuning.images.colour_map import MIN_ERRORS, colour_map
from napari_cam_feedback.retuning.images.spectra import BANDS, counts, curve, filtered, power_in_bands
from napari_cam_feedback.retuning.images.style import Style, ends
from napari_cam_feedback.torch_loader import torch

#: Largest and least factor of an amplitude; a blur cannot be undone beyond what noise allows.
MAX_GAIN, MIN_GAIN = 4.0, 0.02
#: Quantiles of a channel that tell of a style.
TONES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
#: Share of the bands from which on there may be noise.
NOISE_FROM = 1 / 3
#: Images of each kind below which nothing is found, and that are read at most.
MIN_IMAGES, MAX_IMAGES = 8, 300
#: Share of the images that must be told right, by cross-validation.
MIN_TOLD = 0.75


@dataclass(frozen=True)
class ShownStyle(Style):
    """What images with a style have and images without it do not.

    Attributes
    ----------
    mean, mean_without : Tensor
        (C,) float, mean colours of images with it and without it.
    colours : Tensor
        (C, C) float, by which colours without it, less their mean, become those with it.
    gain : Tensor
        (C, R) float, by which the amplitudes in each band of spatial frequencies are then multiplied.
    noise : Tensor
        (C, R) float, amplitude there of what is then added to each image alike, as a camera's noise is.
    weights, bias : Tensor
        (D,) and (), of a linear discriminant on `features`: positive with the style.
    told : Tensor
        () float, share of the given images that are told right so, by cross-validation.
    size : Tensor
        (2,) int64, height and width of the images that it was found on; at another size its bands are others.
    """

    mean: torch.Tensor
    mean_without: torch.Tensor
    colours: torch.Tensor
    gain: torch.Tensor
    noise: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor
    told: torch.Tensor
    size: torch.Tensor

    changed: ClassVar[str] = "with it swapped (taken off where it is, else put on)"

    @property
    def sentence(self) -> str:
        return (
            f"Colours, contrast, sharpness and noise tell {self.told:.0%} of the images with it from those without it; it "
            "is taken off images that have it, and put on others."
        )

    def fits(self, size: tuple[int, int]) -> bool:
        return self.size.tolist() == list(size)

    def carries(self, inputs: torch.Tensor) -> torch.Tensor:
        return features(inputs) @ self.weights + self.bias > 0

    def put_on(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        def change(spectrum: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
            spectrum = spectrum * curve(self.gain, *size)
            if not self.noise.any():
                return spectrum
            drawn = torch.randn((*inputs.shape[:2], *size), generator=generator or torch.Generator().manual_seed(0))
            return spectrum + curve(self.noise, *size) * torch.fft.rfft2(drawn.to(inputs.device), norm="ortho")

        found = filtered(_map(self.colours, inputs - self.mean_without[:, None, None]), change)
        return self.limited(found + self.mean[:, None, None])

    def take_off(self, inputs: torch.Tensor) -> torch.Tensor:
        def change(spectrum: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
            if self.noise.any():
                # What the noise has of the power goes, as in a Wiener filter made of the image's own bands.
                left = 1 - self.noise.square() / power_in_bands(inputs).clamp_min(1e-12)
                spectrum = spectrum * curve(left.clamp_min(0.01).sqrt(), *size)
            return spectrum / curve(self.gain.clamp_min(1 / MAX_GAIN), *size)

        plain = filtered(inputs - self.mean[:, None, None], change)
        return self.limited(_map(torch.linalg.pinv(self.colours, rtol=0.05), plain) + self.mean_without[:, None, None])

    def conflicting(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.where(self.carries(inputs)[:, None, None, None], self.take_off(inputs), self.put_on(inputs, generator))


def features(inputs: torch.Tensor) -> torch.Tensor:
    """Return (N, D) what tells of a style of images (N, C, h, w).

    Each channel's mean, log deviation, log power in bands, and quantiles, and those of the differences between channels: few
    photographs have neither dark nor light parts, nor grey ones, and a tint or a low contrast leaves none.
    """
    flat = inputs.flatten(2)
    power = power_in_bands(inputs).clamp_min(1e-12)
    deviations = flat.std(2).clamp_min(1e-6)
    # In shares of their mean, so that contrast and sharpness are told apart.
    shape = (power / power.mean(2, keepdim=True)).log()
    tones = torch.cat([flat, flat[:, 1:] - flat[:, :-1]], 1)
    quantiles = torch.quantile(tones, torch.tensor(TONES, device=flat.device), dim=2).permute(1, 2, 0)
    return torch.cat([flat.mean(2), deviations.log(), shape.flatten(1), quantiles.flatten(1)], 1)


def find_style(
    preprocessing: Preprocessing,
    with_it: Dataset,
    without: Dataset,
    of_classes: Dataset | None = None,
    *,
    monitor: Monitor = QUIET,
) -> ShownStyle:
    """Find what images with a style have and those without it do not.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of the network that is to be retuned.
    with_it, without : Dataset
        Images of both kinds, such as `explanations.ImageFolder` reads; of more than 300 some are looked at.
    of_classes : Dataset, optional
        Labelled images that these are among, by the names of their files. Where a class has both kinds, they are compared
        within it, so that what a class looks like is not taken for the style.
    monitor : Monitor, optional
        Asked whether to stop while images are read.

    Raises
    ------
    RetuneError
        There are too few images, some are test images, or nothing of the kind tells them apart; or it was stopped.
    """
    if of_classes is not None:
        _check_splits(of_classes, with_it, without)
    read = [_read(preprocessing, each, monitor) for each in (with_it, without)]
    labels = None
    if of_classes is not None:
        known = _labels_by_name(of_classes)
        labels = tuple(np.array([known.get(PurePosixPath(key).name, -1) for key in keys]) for _, keys in read)
    return _find(read[0][0], read[1][0], *ends(preprocessing), labels)


def _read(preprocessing: Preprocessing, dataset: Dataset, monitor: Monitor) -> tuple[torch.Tensor, list[str]]:
    indices = np.arange(len(dataset))
    if len(indices) > MAX_IMAGES:
        indices = np.sort(np.random.default_rng(0).choice(indices, MAX_IMAGES, replace=False))
    keys, inputs = [], [torch.empty(0, preprocessing.channels, *preprocessing.size)]
    for picked, part in InputCache(dataset, preprocessing).batches(indices, 8):
        if monitor.stopped:
            raise RetuneError("Stopped before the first step; nothing was changed.")
        keys += [dataset.keys[int(index)] for index in picked]
        inputs.append(part)
    return torch.cat(inputs), keys


def _check_splits(of_classes: Dataset, *given: Dataset) -> None:
    """Refuse images whose names only test images have."""
    learnable = {PurePosixPath(of_classes.keys[int(index)]).name for index in of_classes.learnable()}
    others = {PurePosixPath(key).name for key in of_classes.keys} - learnable
    test = [key for dataset in given for key in dataset.keys if PurePosixPath(key).name in others]
    if test:
        raise RetuneError(
            f"{len(test)} of the images with it and without it are test images or have no label ({', '.join(test[:3])}); "
            "leave them out, since nothing is learnt from those."
        )


def _labels_by_name(dataset: Dataset) -> dict[str, int]:
    """The class of each name of a file that no two classes share."""
    found = defaultdict(set)
    for key, label in zip(dataset.keys, dataset.labels, strict=True):
        found[PurePosixPath(key).name].add(int(label))
    return {name: labels.pop() for name, labels in found.items() if len(labels) == 1}


def _find(
    with_it: torch.Tensor,
    without: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    classes: tuple[np.ndarray, ...] | None = None,
) -> ShownStyle:
    """The work of `find_style`, on inputs (A, C, h, w) and (B, C, h, w); classes are (A,) and (B,) int64, -1 unknown."""
    if min(len(with_it), len(without)) < MIN_IMAGES:
        raise RetuneError(
            f"There are {len(with_it)} images with it and {len(without)} without it; {MIN_IMAGES} of each are needed, "
            "and some 30 are better."
        )
    rows = _matched(len(with_it), len(without), classes)
    a, b = with_it[rows[0]], without[rows[1]]
    weights, bias, told = _discriminant(with_it, without)
    if told < MIN_TOLD:
        raise RetuneError(
            f"Colours, contrast and sharpness tell only {told:.0%} of these images apart, and half would be chance; "
            "what differs in them is at a place, which can be painted, or is no style."
        )
    mean, mean_without, colours = colour_map(a, b)
    gain, noise = _gain(a, _map(colours, b - mean_without[:, None, None]))
    size = torch.tensor(with_it.shape[2:])
    return ShownStyle(low, high, mean, mean_without, colours, gain, noise, weights, bias, torch.tensor(told), size)


def _matched(a: int, b: int, classes: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both kinds with the classes in equal shares, where most images are of classes that have both."""
    if classes is None:
        return np.arange(a), np.arange(b)
    rng = np.random.default_rng(0)
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in sorted({*classes[0].tolist()} & {*classes[1].tolist()} - {-1}):
        both = [np.flatnonzero(each == name) for each in classes]
        most = max(map(len, both))
        for side, own in zip(rows, both, strict=True):
            side.append(np.concatenate([own] * (most // len(own)) + [rng.choice(own, most % len(own), replace=False)]))
    # Of a few images again and again would come what these few show.
    if min(len(np.unique(np.concatenate(part))) if part else 0 for part in rows) < max(MIN_IMAGES, min(a, b) / 2):
        return np.arange(a), np.arange(b)
    return np.concatenate(rows[0]), np.concatenate(rows[1])


def _discriminant(with_it: torch.Tensor, without: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = torch.cat([features(with_it), features(without)]).numpy()
    y = np.r_[np.ones(len(with_it)), np.zeros(len(without))]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000))
    told = cross_val_score(model, x, y, cv=5, scoring="balanced_accuracy").mean()
    model.fit(x, y)
    scale, regression = model[0], model[1]
    weights = regression.coef_[0] / scale.scale_
    bias = regression.intercept_[0] - weights @ scale.mean_
    return torch.tensor(weights, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32), float(told)


def _gain(images: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return by how much amplitudes of others are multiplied to be those of images, and what is added, (C, R) each.

    In bands where images have more, the power is p' = g^2 p + n^2, image by image: what is multiplied makes images differ
    more from each other, what is added does not. So g^2 is the ratio of the deviations, between 1 and the ratio of the
    means. By chance alone the mean power of M frequencies has the variance p^2 / M, which is taken off.
    """
    one, two = (power_in_bands(each).clamp_min(1e-12) for each in (images, others))
    difference = one.log().mean(0) - two.log().mean(0)
    error = torch.sqrt(one.log().var(0) / len(one) + two.log().var(0) / len(two))
    # Neighbouring bands are alike; what could be chance is left as it is.
    trust = error.clamp_min(1e-6) ** -2
    around = _neighbours(trust)
    difference, error = _neighbours(trust * difference) / around, around**-0.5
    square = torch.where(difference.abs() > MIN_ERRORS * error, difference, 0.0).exp()
    chance = [each.mean(0).square() / counts(*images.shape[2:]) for each in (one, two)]
    spread = [(each.var(0) - by_chance).clamp_min(0) for each, by_chance in zip((one, two), chance, strict=True)]
    multiplied = ((spread[0] + chance[1]) / (spread[1] + chance[1])).sqrt().clamp_min(1)
    # Noise is seen where images have little; what they have more of in low frequencies is contrast.
    more = (square > 1) & (torch.arange(BANDS) >= NOISE_FROM * BANDS)
    multiplied = torch.where(more, torch.minimum(multiplied, square), square)
    added = torch.where(more, one.mean(0) - multiplied * two.mean(0), 0.0).clamp_min(0)
    return multiplied.sqrt().clamp(MIN_GAIN, MAX_GAIN), added.sqrt()


def _neighbours(bands: torch.Tensor) -> torch.Tensor:
    """(C, R), the sum of each band and the two beside it."""
    return torch.nn.functional.pad(bands, (1, 1)).unfold(1, 3, 1).sum(2)


def _map(matrix: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ck,nkhw->nchw", matrix, images)
