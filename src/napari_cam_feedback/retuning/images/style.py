"""A style that lies over whole images, such as a colour cast, blur or contrast: found, told on an image, put on, taken off.

What cannot be painted is shown by images with it and without it. Both sets are described by what hardly depends on where
things are: the mean and the covariance of the colours, and the amplitude at each spatial frequency. Images without it are
given the colours of those with it by the linear map that moves them least (Pitie and Kokaram 2007, *The
linear Monge-Kantorovitch linear colour mapping for example-based colour transfer*), then their amplitudes, frequency by
frequency (after Fourier domain adaptation, Yang and Soatto 2020, CVPR; with a mean over images and directions, so that no
content comes along).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.torch_loader import torch

#: Bands of spatial frequency, from 0 to half a cycle a pixel along an axis and what lies beyond in the corners.
BANDS = 24
#: Largest and least factor of an amplitude; a blur cannot be undone beyond what noise allows.
MAX_GAIN, MIN_GAIN = 4.0, 0.02
#: Standard errors by which an amplitude must differ before it belongs to the style.
MIN_ERRORS = 2.0
#: Images of each kind below which nothing is found, and that are read at most.
MIN_IMAGES, MAX_IMAGES = 8, 300
#: Share of the images that must be told right, by cross-validation.
MIN_TOLD = 0.75


@dataclass(frozen=True)
class Style:
    """What images with a style have and images without it do not.

    In units of the network's input, at its size.

    Attributes
    ----------
    mean, mean_without : Tensor
        (C,) float, mean colours of images with it and without it.
    colours : Tensor
        (C, C) float, by which colours without it, less their mean, become those with it.
    gain : Tensor
        (C, h, w // 2 + 1) float, by which amplitudes are then multiplied.
    noise : Tensor
        (C, h, w // 2 + 1) float, amplitude of what is then added to each image alike, as a camera's noise is.
    weights, bias : Tensor
        (D,) and (), of a linear discriminant on `features`: positive with the style.
    told : float
        Share of the given images that are told right so, by cross-validation.
    low, high : Tensor
        (C,) float, least and greatest value of an image.
    """

    mean: torch.Tensor
    mean_without: torch.Tensor
    colours: torch.Tensor
    gain: torch.Tensor
    noise: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor
    told: float
    low: torch.Tensor
    high: torch.Tensor

    #: Share of a step's images that a retune changes by it.
    share = 0.5

    @property
    def sentence(self) -> str:
        """What the user should know of it."""
        return (
            f"Colours, contrast, sharpness and noise tell {self.told:.0%} of the images with it from those without it; it "
            "is taken off images that have it, and put on others."
        )

    def to(self, device: torch.device) -> Style:
        """Return the same on a device."""
        return Style.from_tensors({name: each.to(device) for name, each in self.to_tensors().items()})

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """All that it is made of, by name; `from_tensors` makes it anew."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | {"told": torch.as_tensor(self.told, dtype=torch.float64)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Style:
        """Make the one whose `to_tensors` these are.

        Raises
        ------
        KeyError
            One is missing.
        """
        values: dict[str, Any] = {field.name: tensors[field.name] for field in fields(cls)}
        return cls(**values | {"told": float(values["told"])})

    def carries(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return which images (N, C, h, w) have the style, (N,) bool."""
        return features(inputs) @ self.weights + self.bias > 0

    def put_on(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return images (N, C, h, w) without the style with it; its noise is drawn anew from the generator."""
        spectrum = self.gain * torch.fft.rfft2(_map(self.colours, inputs - self.mean_without[:, None, None]), norm="ortho")
        if self.noise.any():
            drawn = torch.randn(inputs.shape, generator=generator or torch.Generator().manual_seed(0)).to(inputs.device)
            spectrum = spectrum + self.noise * torch.fft.rfft2(drawn, norm="ortho")
        return self._limited(torch.fft.irfft2(spectrum, s=inputs.shape[2:], norm="ortho") + self.mean[:, None, None])

    def take_off(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) with the style without it, as far as that can be."""
        spectrum = torch.fft.rfft2(inputs - self.mean[:, None, None], norm="ortho")
        if self.noise.any():
            # What the noise has of the power goes, as in a Wiener filter made of the image's own bands.
            power = _profiles(inputs)[..., _bands(*inputs.shape[2:])].square()
            spectrum = spectrum * (1 - self.noise.square() / power.clamp_min(1e-12)).clamp_min(0.01).sqrt()
        plain = torch.fft.irfft2(spectrum / self.gain.clamp_min(1 / MAX_GAIN), s=inputs.shape[2:], norm="ortho")
        return self._limited(_map(torch.linalg.pinv(self.colours, rtol=0.05), plain) + self.mean_without[:, None, None])

    def clear(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, h, w) with the style taken off those that have it."""
        return torch.where(self.carries(inputs)[:, None, None, None], self.take_off(inputs), inputs)

    def conflicting(self, inputs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return images (N, C, h, w) with the style taken off those that have it, and put on the others."""
        return torch.where(self.carries(inputs)[:, None, None, None], self.take_off(inputs), self.put_on(inputs, generator))

    def _limited(self, images: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(images, self.low[:, None, None]), self.high[:, None, None])


def features(inputs: torch.Tensor) -> torch.Tensor:
    """Return what tells of a style of images (N, C, h, w): (N, D) mean, log deviation and log amplitudes of each channel."""
    flat = inputs.flatten(2)
    amplitudes = _profiles(inputs)
    deviations = flat.std(2).clamp_min(1e-6)
    # In shares of the deviation, so that contrast and sharpness are told apart.
    shape = (amplitudes.clamp_min(1e-6) / amplitudes.mean(2, keepdim=True).clamp_min(1e-6)).log()
    return torch.cat([flat.mean(2), deviations.log(), shape.flatten(1)], 1)


def find_style(preprocessing: Preprocessing, with_it: Dataset, without: Dataset, of_classes: Dataset | None = None) -> Style:
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

    Raises
    ------
    RetuneError
        There are too few images, some are test images, or nothing of the kind tells them apart.
    """
    if of_classes is not None:
        _check_splits(of_classes, with_it, without)
    read = [_read(preprocessing, each) for each in (with_it, without)]
    labels = None
    if of_classes is not None:
        known = _labels_by_name(of_classes)
        labels = tuple(np.array([known.get(PurePosixPath(key).name, -1) for key in keys]) for _, keys in read)
    low, high = (
        torch.tensor([(end - mean) / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)])
        for end in (0.0, 1.0)
    )
    return _find(read[0][0], read[1][0], low, high, labels)


def _read(preprocessing: Preprocessing, dataset: Dataset) -> tuple[torch.Tensor, list[str]]:
    indices = np.arange(len(dataset))
    if len(indices) > MAX_IMAGES:
        indices = np.sort(np.random.default_rng(0).choice(indices, MAX_IMAGES, replace=False))
    keys, inputs = [], [torch.empty(0, preprocessing.channels, *preprocessing.size)]
    for picked, part in InputCache(dataset, preprocessing).batches(indices, 64):
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
) -> Style:
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
    mean, covariance = _colours(a)
    mean_without, covariance_without = _colours(b)
    colours = _transport(covariance_without, covariance)
    gain, noise = _gain(a, _map(colours, b - mean_without[:, None, None]))
    return Style(mean, mean_without, colours, gain, noise, weights, bias, told, low, high)


def _matched(a: int, b: int, classes: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both kinds with the classes in equal shares, as far as classes have both."""
    if classes is None:
        return np.arange(a), np.arange(b)
    rng = np.random.default_rng(0)
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in sorted({*classes[0].tolist()} & {*classes[1].tolist()} - {-1}):
        both = [np.flatnonzero(each == name) for each in classes]
        most = max(map(len, both))
        for side, own in zip(rows, both, strict=True):
            side.append(np.concatenate([own] * (most // len(own)) + [rng.choice(own, most % len(own), replace=False)]))
    if sum(len(part) for part in rows[0]) < MIN_IMAGES:
        return np.arange(a), np.arange(b)
    return np.concatenate(rows[0]), np.concatenate(rows[1])


def _discriminant(with_it: torch.Tensor, without: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = torch.cat([features(with_it), features(without)]).numpy()
    y = np.r_[np.ones(len(with_it)), np.zeros(len(without))]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
    told = cross_val_score(model, x, y, cv=5, scoring="balanced_accuracy").mean()
    model.fit(x, y)
    scale, regression = model[0], model[1]
    weights = regression.coef_[0] / scale.scale_
    bias = regression.intercept_[0] - weights @ scale.mean_
    return torch.tensor(weights, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32), float(told)


def _colours(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and covariance (C, C) of the pixels of images (N, C, h, w)."""
    pixels = images.double().permute(1, 0, 2, 3).flatten(1)
    mean = pixels.mean(1)
    away = pixels - mean[:, None]
    return mean.float(), (away @ away.T / pixels.shape[1]).float()


def _transport(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """T, symmetric and positive, with T S T = U: S^-1/2 (S^1/2 U S^1/2)^1/2 S^-1/2 for covariances S and U (C, C)."""
    root, inverse = _root(source.double())
    middle, _ = _root(root @ target.double() @ root)
    return (inverse @ middle @ inverse).float()


def _root(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The square root of a symmetric matrix, and its inverse as far as there is one."""
    values, vectors = torch.linalg.eigh(matrix)
    # Grey images have one colour only.
    safe = values.clamp_min(1e-4 * float(values.max().clamp_min(1e-12)))
    return (vectors * safe.sqrt()) @ vectors.T, (vectors / safe.sqrt()) @ vectors.T


def _bands(height: int, width: int) -> torch.Tensor:
    """(h, w // 2 + 1) int64, the band of each frequency."""
    down, along = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    radius = torch.sqrt(down[:, None] ** 2 + along[None] ** 2)
    return (radius / 0.5 * (BANDS - 1)).floor().long().clamp_max(BANDS - 1)


def _profiles(images: torch.Tensor) -> torch.Tensor:
    """(N, C, R) float, the mean amplitude of images (N, C, h, w) in each band; without the mean of the image."""
    amplitudes = torch.fft.rfft2(images, norm="ortho").abs()
    amplitudes[..., 0, 0] = 0
    bands = _bands(*images.shape[2:]).flatten()
    sums = torch.zeros(*images.shape[:2], BANDS).index_add_(2, bands, amplitudes.flatten(2))
    counts = torch.bincount(bands, minlength=BANDS)
    counts[0] -= 1
    return sums / counts.clamp_min(1)


def _gain(images: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return by how much amplitudes of others are multiplied to be those of images, and what is added, (C, h, w // 2 + 1).

    In bands where images have more, the power is p' = g^2 p + n^2, image by image: what is multiplied differs more from
    image to image, what is added does not. So g^2 is the ratio of the deviations, between 1 and the ratio of the means.
    """
    one, two = (_profiles(each).clamp_min(1e-6) for each in (images, others))
    difference = one.log().mean(0) - two.log().mean(0)
    error = torch.sqrt(one.log().var(0) / len(one) + two.log().var(0) / len(two))
    # What could be chance is left as it is.
    gain = torch.where(difference.abs() > MIN_ERRORS * error, difference, 0.0).exp()
    power, other_power = one.square(), two.square()
    spread = power.std(0) / other_power.std(0).clamp_min(1e-12)
    square = torch.minimum(spread.clamp_min(1), gain.square())
    added = torch.where(gain > 1, power.mean(0) - square * other_power.mean(0), 0.0).clamp_min(0)
    gain = torch.where(gain > 1, square.sqrt(), gain).clamp(MIN_GAIN, MAX_GAIN)
    bands = _bands(*images.shape[2:])
    return gain[:, bands], added.sqrt()[:, bands]


def _map(matrix: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ck,nkhw->nchw", matrix, images)
