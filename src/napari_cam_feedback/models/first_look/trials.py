"""Other ways to prepare the images, tried on a few labelled ones: which makes a network right where it was wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.models.chance import beyond_chance, chance_agreement, sign_test
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.networks.presets import IMAGENET_MEAN, IMAGENET_STD
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

#: Several things can be wrong at once: from the best change on, others are tried so often.
MAX_ROUNDS = 3
#: After that long no more is tried.
MAX_SECONDS = 30.0
#: Images that each change is tried on; the best is then judged by all there are.
MAX_IMAGES = 32
#: A change is believed only if it makes that much more accuracy, mends that share of the mistakes, and chance hardly would.
MIN_GAIN, MIN_CLOSED = 0.1, 0.4
MAX_P = 0.001
#: What is as good as this is not made better by further trials.
GOOD = 0.95
# Inputs of other sizes than the present are tried between these sides, in pixels.
_SIDES = (16, 640)
_BATCH = 16
# Memory for the pixels of the images.
_MAX_BYTES = 256 << 20
# Images that are looked at for size and depth.
_FIRST = 8
# 8 to 16 bits of a pixel, as cameras and scanners give them.
_FULL_SCALES = (255, 1023, 4095, 16383, 65535)


class Pictures(Sequence[np.ndarray]):
    """Pixels of some items, read when asked for; the first ones stay in memory, within a bound.

    Parameters
    ----------
    dataset : Dataset
        Whose items; they can be read.
    indices : ndarray of int64
        Which ones.
    """

    def __init__(self, dataset: Dataset, indices: np.ndarray, kept: dict[int, np.ndarray] | None = None) -> None:
        self._dataset, self._indices = dataset, indices
        self._kept: dict[int, np.ndarray] = {} if kept is None else kept

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, place: slice) -> Pictures: ...

    def __getitem__(self, place: int | slice) -> np.ndarray | Pictures:
        if isinstance(place, slice):
            return Pictures(self._dataset, self._indices[place], self._kept)
        index = int(self._indices[place])
        if index in self._kept:
            return self._kept[index]
        image = self._dataset.read(index)
        if image.nbytes + sum(each.nbytes for each in self._kept.values()) <= _MAX_BYTES:
            self._kept[index] = image
        return image


@dataclass(frozen=True)
class Answers:
    """What a classifier says of N labelled images under one preprocessing.

    Attributes
    ----------
    preprocessing : Preprocessing
        How the images became inputs.
    predicted : ndarray of int64
        (N,).
    right : ndarray of bool
        (N,).
    true_probability : float
        Mean probability of the labels.
    """

    preprocessing: Preprocessing
    predicted: np.ndarray
    right: np.ndarray
    true_probability: float

    @property
    def rank(self) -> tuple[int, float]:
        """The greater, the better."""
        return int(self.right.sum()), self.true_probability


def ask(
    classifier: Classifier, preprocessing: Preprocessing, images: Sequence[np.ndarray], labels: np.ndarray
) -> Answers | None:
    """Return what the classifier says of images that are prepared so; None where it cannot take them."""
    found = []
    try:
        for start in range(0, len(images), _BATCH):
            inputs = torch.stack([preprocessing.input(image) for image in images[start : start + _BATCH]])
            found.append(classifier.logits(inputs).float().softmax(1).cpu())
    except (DataError, RuntimeError, ValueError, AssertionError, IndexError):
        # Networks that are made for one size refuse others in many ways.
        return None
    table = torch.cat(found).nan_to_num(0).numpy()
    predicted = table.argmax(1)
    return Answers(preprocessing, predicted, predicted == labels, float(table[np.arange(len(labels)), labels].mean()))


def candidates(present: Preprocessing, images: Sequence[np.ndarray]) -> Iterator[Preprocessing]:
    """Yield preprocessings that differ from the present one in a single respect, the likeliest mistakes first.

    Colours in the other order; other means and deviations (none, ImageNet's, 0.5, and pixel values 0 to 255); pixel values
    of another depth; the size of the images themselves, half and double; the centre cut out, or not.
    """
    if present.channels == 3:
        yield _changed(present, channel_order="rgb" if present.channel_order == "bgr" else "bgr")
    for mean, std in _normalisations(present):
        yield _changed(present, mean=mean, std=std)
    for full in _depths(images):
        if present.value_range != (0.0, float(full)):
            yield _changed(present, value_range=(0.0, float(full)))
    for size in _sizes(present, images):
        yield _changed(present, size=size, **_crop_for(present, size))
    if present.crop:
        yield _changed(present, crop=False, resize_to=None)
    else:
        # As torchvision's networks are trained: 256 pixels of which 224 are cut out.
        for resize_to in (None, round(max(present.size) * 256 / 224)):
            yield _changed(present, crop=True, resize_to=resize_to)


def _changed(present: Preprocessing, **values: object) -> Preprocessing:
    return Preprocessing.model_validate({**present.model_dump(), **values})


def _normalisations(present: Preprocessing) -> Iterator[tuple[tuple[float, ...], tuple[float, ...]]]:
    n = present.channels
    imagenet: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET_MEAN, IMAGENET_STD
    if n == 1:
        imagenet = (round(sum(IMAGENET_MEAN) / 3, 4),), (round(sum(IMAGENET_STD) / 3, 4),)
    elif present.channel_order == "bgr":
        imagenet = imagenet[0][::-1], imagenet[1][::-1]
    whole = (round(1 / 255, 8),) * n
    none, half = ((0.0,) * n, (1.0,) * n), ((0.5,) * n, (0.5,) * n)
    for mean, std in (none, imagenet, half, ((0.0,) * n, whole), (imagenet[0], whole)):
        if (mean, std) != (present.mean, present.std):
            yield mean, std


def _depths(images: Sequence[np.ndarray]) -> list[int]:
    """Return the full scales that pixel values could have: the nearest two above the greatest; 255 of 8-bit images."""
    first = images[:_FIRST]
    if all(image.dtype == np.uint8 for image in first):
        return [255]
    most = max(float(image.max()) for image in first)
    return [full for full in _FULL_SCALES if full >= most][:2] if most > 1 else [1]


def _sizes(present: Preprocessing, images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    height, width = present.size
    own = images[0].shape[:2]
    wanted = [own, (height // 2, width // 2), (height * 2, width * 2)]
    found = dict.fromkeys((int(h), int(w)) for h, w in wanted)
    return [size for size in found if size != present.size and _SIDES[0] <= min(size) and max(size) <= _SIDES[1]]


def _crop_for(present: Preprocessing, size: tuple[int, int]) -> dict[str, object]:
    """Return the shorter side before the cut that belongs to another size, in the same proportion."""
    if present.resize_to is None:
        return {}
    return {"resize_to": max(max(size), round(present.resize_to * min(size) / min(present.size)))}


@takes_monitor
def try_preprocessings(
    classifier: Classifier,
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    monitor: Monitor = QUIET,
    singles: list[Answers] | None = None,
) -> tuple[Answers | None, bool]:
    """Return the best other preprocessing on a few images, None if none is better; and whether all was tried.

    One change is tried at a time; from the best one on, further changes. Whether it is better by more than chance is for
    whoever asks about more images (`is_far_better`).

    Parameters
    ----------
    classifier : Classifier
        Whose preprocessing is doubted.
    images : sequence of ndarray
        As read.
    labels : ndarray of int64
        (N,).
    monitor : Monitor, optional
        Told of the trials done and, roughly, in all.
        Asked before each trial.
    singles : list of Answers, optional
        Gets the present answers, and those after each single change.
    """
    end = time.monotonic() + MAX_SECONDS
    images, labels = images[:MAX_IMAGES], labels[:MAX_IMAGES]
    first = best = ask(classifier, classifier.preprocessing, images, labels)
    if first is None or best is None:
        return None, True
    tried, complete = {first.preprocessing}, True
    if singles is not None:
        singles.append(first)
    for round_number in range(MAX_ROUNDS):
        round_best = best
        for number, trial in enumerate(each := list(candidates(best.preprocessing, images))):
            if time.monotonic() > end or (monitor.stopped):
                complete = False
                break
            if trial in tried:
                continue
            tried.add(trial)
            found = ask(classifier, trial, images, labels)
            if found is not None and singles is not None and not round_number:
                singles.append(found)
            if found is not None and found.rank > round_best.rank:
                round_best = found
            monitor.progress(number + 1, len(each))
        if round_best.right.sum() - best.right.sum() < max(2, 0.04 * len(labels)):
            break
        best = round_best
        if best.right.mean() >= GOOD or not complete:
            break
    return (best if best.right.mean() - first.right.mean() >= MIN_GAIN else None), complete


def is_far_better(better: Answers, first: Answers, labels: np.ndarray) -> bool:
    """Tell whether one preprocessing is better than another by more than chance, and more than a little."""
    before, after = first.right.mean(), better.right.mean()
    if after - before < max(MIN_GAIN, MIN_CLOSED * (1 - before)) or sign_test(first.right, better.right) > MAX_P:
        return False
    return beyond_chance(int(better.right.sum()), len(labels), chance_agreement(labels, better.predicted))
