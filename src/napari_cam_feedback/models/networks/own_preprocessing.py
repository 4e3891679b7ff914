"""The preprocessing that a dataset suggests for a network that is trained on it from random weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import ValidationError

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.torch_loader import torch


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
