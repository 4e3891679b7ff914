"""Training a classifier from scratch on a dataset."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ConfigError, DataError, ModelError
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.torch_loader import torch

functional = torch.nn.functional


class TrainConfig(BaseModel):
    """Settings of a training from scratch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(20, ge=1, le=10_000, title="Epochs", description="Passes over the training images.")
    batch_size: int = Field(64, ge=2, le=4096, title="Batch size", description="Images a step.")
    learning_rate: float = Field(
        1e-3,
        gt=0,
        le=1,
        title="Learning rate",
        description="Adam's largest step; it falls to zero along a cosine.",
    )
    weight_decay: float = Field(1e-4, ge=0, le=1, title="Weight decay", description="AdamW's decay of the weights.")
    seed: int = Field(0, ge=0, title="Seed", description="Of the weights and of the order of the images.")


@dataclass(frozen=True, slots=True)
class TrainStep:
    """What one epoch came to.

    Attributes
    ----------
    epoch, epochs : int
        Done, and in all.
    loss : float
        Mean cross-entropy over the epoch, in nats.
    train_accuracy : float
        Over the epoch's batches as they were trained on.
    val_accuracy : float or None
        On the split ``val``; None where there is none.
    """

    epoch: int
    epochs: int
    loss: float
    train_accuracy: float
    val_accuracy: float | None


def default_preprocessing(
    dataset: Dataset, split: str = "train", sample: int = 200, *, value_range: tuple[float, float] | None = None
) -> Preprocessing:
    """Choose size, channels, mean and standard deviation from some images of a split.

    Images up to 96 pixels that are all of one size keep it; others are stretched to 224x224. Mean and standard deviation
    are over all pixels of at most `sample` evenly spaced images, without those that cannot be read.

    Raises
    ------
    DataError
        There is no such split, or none of these images can be read.
    ConfigError
        The value range does not rise.
    """
    indices = dataset.indices(split)
    chosen = indices[np.linspace(0, len(indices) - 1, min(sample, len(indices))).astype(int)]
    images: list[np.ndarray] = []
    reason = "there is none."
    for index in chosen:
        try:
            image = dataset.read(int(index))
            _plain((1, 1), 3, value_range).input(image)
        except DataError as error:
            reason = str(error) if not images else reason
            continue
        images.append(image)
    if not images:
        raise DataError(f"No training image could be read: {reason}")
    shapes = {image.shape[:2] for image in images}
    height, width = max(shapes)
    size = (height, width) if len(shapes) == 1 and max(height, width) <= 96 else (224, 224)
    channels: Literal[1, 3] = 1 if all(image.ndim == 2 for image in images) else 3
    plain = _plain(size, channels, value_range)
    pixels = torch.stack([plain.input(image) for image in images])
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)).clamp_min(1e-3)
    return plain.model_copy(
        update={
            "mean": tuple(round(float(v), 4) for v in mean),
            "std": tuple(round(float(v), 4) for v in std),
        }
    )


def _plain(size: tuple[int, int], channels: Literal[1, 3], value_range: tuple[float, float] | None) -> Preprocessing:
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    try:
        return Preprocessing(size=size, channels=channels, mean=zeros, std=ones, value_range=value_range)
    except ValidationError as error:
        raise ConfigError(f"The value range cannot be {value_range}; give two numbers, the lower one first.") from error


def train_classifier(
    classifier: Classifier,
    dataset: Dataset,
    config: TrainConfig | None = None,
    *,
    cache: InputCache | None = None,
    stop: Callable[[], bool] | None = None,
) -> Generator[TrainStep, None, Classifier]:
    """Train a copy of `classifier` on the split ``train``; yields after each epoch.

    Parameters
    ----------
    classifier : Classifier
        Where to start from; it is not changed.
    dataset : Dataset
        With a split ``train``; a split ``val`` chooses the best epoch.
    config : TrainConfig, optional
        Settings.
    cache : InputCache, optional
        Inputs read before; its ``skipped`` tells which images could not be read.
    stop : callable, optional
        Asked before each step; True ends the training with the best epoch so far.

    Returns
    -------
    Classifier
        That of the epoch with the best validation accuracy (the last epoch where there is no ``val``).

    Raises
    ------
    DataError
        There is no labelled training image that can be read.
    ModelError
        The loss became NaN, or the classes do not fit.
    """
    config = config or TrainConfig()
    stop = stop or (lambda: False)
    check_fits(classifier, dataset)
    trained = classifier.copy()
    module, device = trained.module, trained.device
    # Convolutions are about twice as fast on a CPU when the channels of a pixel lie together.
    module.to(memory_format=torch.channels_last)
    cache = cache or InputCache(dataset, trained.preprocessing)
    indices = dataset.indices("train")
    indices = indices[dataset.labels[indices] >= 0]
    if len(indices) < 2:
        raise DataError("There are fewer than two labelled images in the split train; add images to train on.")
    validation = dataset.indices("val") if "val" in dataset.split_names else np.empty(0, np.int64)
    validation = validation[dataset.labels[validation] >= 0]
    rng = np.random.default_rng(config.seed)
    batches = math.ceil(len(indices) / config.batch_size)
    module.requires_grad_(True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * batches)
    best: tuple[float, int, dict[str, torch.Tensor]] | None = None
    for epoch in range(1, config.epochs + 1):
        module.train()
        total, right, seen = 0.0, 0, 0
        for picked, inputs in cache.batches(rng.permutation(indices), config.batch_size):
            if stop():
                break
            if len(picked) < 2:  # batch norm cannot learn from one image
                continue
            inputs = inputs.to(device)
            labels = torch.from_numpy(dataset.labels[picked]).to(device)
            logits = module(inputs)
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(picked)
            right += int((logits.detach().argmax(1) == labels).sum())
            seen += len(picked)
        stopped = stop()
        if stopped and best is not None:
            break
        if not seen and not stopped:
            first = next(iter(cache.skipped.values()), "there are fewer than two.")
            raise DataError(f"No training image could be read: {first}")
        if not math.isfinite(total):
            raise ModelError("The loss became NaN; train again with a smaller learning rate.")
        module.eval()
        accuracy = _accuracy(trained, dataset, cache, validation) if len(validation) and not stopped else None
        score = accuracy if accuracy is not None else float(epoch)
        if best is None or score >= best[0]:
            best = (score, epoch, copy.deepcopy(module.state_dict()))
        yield TrainStep(epoch, config.epochs, total / max(seen, 1), right / max(seen, 1), accuracy)
        if stopped or stop():
            break
    assert best is not None
    module.load_state_dict(best[2])
    module.zero_grad(set_to_none=True)
    module.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    trained.info = {
        **trained.info,
        "training": {
            "config": config.model_dump(),
            "epoch": best[1],
            "images": len(indices),
            "split_seed": dataset.split_seed,
        },
    }
    trained.__dict__.pop("head", None)
    return trained


def _accuracy(classifier: Classifier, dataset: Dataset, cache: InputCache, indices: np.ndarray) -> float:
    right = seen = 0
    for picked, inputs in cache.batches(indices, 256):
        predicted = classifier.logits(inputs).argmax(1).cpu().numpy()
        right += int((predicted == dataset.labels[picked]).sum())
        seen += len(picked)
    return right / max(seen, 1)
