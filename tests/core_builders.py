"""Tiny networks and datasets that the tests of the core share; their numbers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from napari_cam_feedback.data import ArrayDataset, Preprocessing
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.models import Classifier, build_classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
# The networks here are so small that several threads only get into each other's way.
torch.set_num_threads(1)


def plain(height: int, width: int, channels: int = 1) -> Preprocessing:
    """Preprocessing that hands pixels on as they are, 0 to 1."""
    return Preprocessing(size=(height, width), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)


def small_gap(names: tuple[str, ...] = ("a", "b", "c"), size: int = 16, seed: int = 0) -> Classifier:
    """The real small-gap network with random weights, for gray images."""
    return build_classifier("small-gap", names, plain(size, size), seed=seed)


class Hand(nn.Module):
    """Activations a_0 = x and a_1 = -x, their means z, logits z_0 + 2 z_1 + 0.5 and 3 z_0 - z_1 - 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
            self.head.bias.copy_(torch.tensor([0.5, -0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


def hand_classifier(height: int = 2, width: int = 2) -> Classifier:
    """`Hand` as a classifier of the classes a and b."""
    return Classifier(Hand(), ("a", "b"), plain(height, width), "features", "hand")


class Look(nn.Module):
    """Multiplies the image by a fixed pattern: a layer that sees some places only."""

    def __init__(self, pattern: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("pattern", pattern)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.pattern


def looking_classifier(pattern: np.ndarray, threshold: float) -> Classifier:
    """Classify an image as ``bright`` if its mean under the pattern, over the whole image, exceeds the threshold.

    The logits are 0 for ``dark`` and mean - threshold for ``bright``.
    """
    module = nn.Sequential()
    module.add_module("look", Look(torch.from_numpy(pattern.astype(np.float32))))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flatten", nn.Flatten())
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [1.0]]))
        head.bias.copy_(torch.tensor([0.0, -threshold]))
    module.add_module("head", head)
    return Classifier(module, ("dark", "bright"), plain(*pattern.shape), "look", "looking")


class Nearest(nn.Module):
    """Predicts the class whose gray value (0, 0.5 or 1) is nearest to the image's mean: logits 2 v c - c^2."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(1, 3)
        values = torch.tensor([0.0, 0.5, 1.0])
        with torch.no_grad():
            self.features.weight.fill_(1.0)
            self.features.bias.fill_(0.0)
            self.head.weight.copy_(2 * values[:, None])
            self.head.bias.copy_(-values.square())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


def nearest_classifier() -> Classifier:
    """`Nearest` as a classifier of the classes low, mid and high for 4x4 images."""
    return Classifier(Nearest(), ("low", "mid", "high"), plain(4, 4), "features", "nearest")


def gray_dataset(truth: list[int], shown: list[int], split: str = "test", **more: object) -> ArrayDataset:
    """4x4 images of gray 0, 128 or 255 that `nearest_classifier` predicts as `shown`, with the labels `truth`."""
    values = np.array([0, 128, 255], np.uint8)[shown]
    images = np.broadcast_to(values[:, None, None], (len(shown), 4, 4)).copy()
    return ArrayDataset({split: images}, {split: truth}, ("low", "mid", "high"), **more)


TAG = 3


def stripes(counts: dict[str, int] | None = None, *, contrast: float = 60.0) -> ArrayDataset:
    """Two classes, 16x16 images of stripes across or along under noise, with a 3x3 tag in a corner, its mask known.

    In train and val the tag tells the class (black for the first, white for the second); in a test split it conflicts with
    it every time. Labels alternate. With a contrast of 15 gray values a network learns the tag before the stripes.
    """
    rng, size = np.random.default_rng(0), 16
    images, labels, masks = {}, {}, {}
    for split, count in (counts or {"train": 32, "val": 16, "test": 16}).items():
        y = np.arange(count) % 2
        wave = (np.arange(size) // 2 % 2) * contrast
        pictures = np.where(y[:, None, None] == 0, wave[:, None], wave[None, :]) + 90
        pictures = pictures + rng.normal(0, 25, pictures.shape)
        told = 1 - y if split.startswith("test") else y
        pictures[:, :TAG, :TAG] = 255.0 * told[:, None, None]
        images[split] = np.clip(np.round(pictures), 0, 255).astype(np.uint8)
        labels[split] = y
        masks[split] = np.zeros(images[split].shape, bool)
        masks[split][:, :TAG, :TAG] = True
    return ArrayDataset(images, labels, ("across", "along"), masks)


def known(dataset: ArrayDataset, split: str = "train", count: int | None = None) -> dict[str, np.ndarray]:
    """The masks that the first images of a split brought along."""
    return {dataset.keys[int(i)]: dataset.known_mask(int(i)) for i in dataset.indices(split)[:count]}


def stop_after(calls: int) -> Callable[[], bool]:
    """Return a ``stop`` that says no that many times and then yes."""
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return stop


def same_weights(one: Classifier, other: Classifier) -> bool:
    """Tell whether two classifiers have the same weights, bit for bit."""
    a, b = one.module.state_dict(), other.module.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@contextmanager
def small_disk(most: int) -> Iterator[None]:
    """While entered, no file can grow over that many bytes: writing fails midway, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="only POSIX systems limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def without_look(err: str) -> list[str]:
    """The lines on stderr other than what the first look at a small, hardly trained network says of it."""
    looks = ("The model is right on ", "The maps of layer ")
    return [line for line in err.strip().splitlines() if not line.startswith(looks)]


def sentence_of(call: Callable, *args: object, kind: type[Exception] = DataError, **options: object) -> str:
    """Return what an error says, which must be a sentence."""
    with pytest.raises(kind) as error:
        call(*args, **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    return text
