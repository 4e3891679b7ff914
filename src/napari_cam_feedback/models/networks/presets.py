"""The preprocessing of a network: what its file says, what its kind was made for, or what a dataset suggests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ConfigError, DataError, ModelError
from napari_cam_feedback.model_names import TORCHVISION, Architecture
from napari_cam_feedback.models.networks.architectures import load_timm
from napari_cam_feedback.models.networks.efficientnet_lite import lite_preprocessing
from napari_cam_feedback.models.options import ModelOptions
from napari_cam_feedback.torch_loader import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# These two normalise ImageNet's way and then undo it inside the network, to -1 … 1; ours leave both out.
_TO_ONE = ("googlenet", "inception_v3")


def preset(arch: str) -> dict[str, Any]:
    """Return the values of `Preprocessing`, for RGB, that a network was made for.

    torchvision's networks have the preset of their best weights, timm's their data configuration, since networks that
    are fine-tuned are normally trained with it, EfficientNet-Lites that of their training; for all others, 224x224 and
    ImageNet's means are taken.
    """
    named = Architecture.of(arch)
    if named.origin == "torchvision":
        from torchvision.models import get_model_weights

        return from_transforms(named.name, get_model_weights(named.name).DEFAULT.transforms())
    if named.origin == "timm":
        return _from_timm(named.name)
    if named.origin == "efficientnet-lite":
        return lite_preprocessing(arch)
    return {"size": (224, 224), "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def from_transforms(name: str, transforms: Any) -> dict[str, Any]:
    """Return the values of `Preprocessing` of torchvision's ``ImageClassification`` transforms of a network's weights."""
    crop = transforms.crop_size
    return {
        "size": (crop[0], crop[-1]),
        "crop": True,
        "resize_to": int(transforms.resize_size[0]),
        "interpolation": "bicubic" if "bicubic" in str(transforms.interpolation).lower() else "bilinear",
        "mean": (0.5,) * 3 if name in _TO_ONE else tuple(transforms.mean),
        "std": (0.5,) * 3 if name in _TO_ONE else tuple(transforms.std),
    }


def _from_timm(name: str) -> dict[str, Any]:
    timm = load_timm(name)
    config = timm.models.get_pretrained_cfg(name)
    data = timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict() if config else {})
    height, width = data["input_size"][1:]
    values: dict[str, Any] = {
        "size": (height, width),
        "interpolation": "bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
    }
    if data["crop_mode"] == "center":
        values |= {"crop": True, "resize_to": math.floor(min(height, width) / data["crop_pct"])}
    return values


def choose_preprocessing(
    name: str,
    arch: str,
    stored: Mapping[str, Any] | None,
    options: ModelOptions,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
) -> Preprocessing:
    """Put a network's preprocessing together; what the user says goes before what the file or the preset says.

    A size without a word on cropping means that the image is stretched to it, unless the file's own header crops. Other
    channels than the file or the preset has take the average of its means and deviations (or repeat the one).

    Parameters
    ----------
    name : str
        The model's, for the sentence.
    arch : str
        The architecture, which the preset is of.
    stored : mapping or None
        Values of `Preprocessing` from the file's header.
    options : ModelOptions
        What the user says.
    channels : int, optional
        Of the first convolution, where the weights tell.
    size : tuple of int, optional
        (height, width) that the weights were trained for, where they tell.

    Raises
    ------
    ModelError
        The values cannot be used together.
    """
    given = options.preprocessing
    values = dict(stored) if stored else preset(arch)
    if not stored and size is not None and size != values["size"]:
        values |= {"size": size, "crop": False, "resize_to": None}
    if not stored and "size" in given and not given.keys() & {"crop", "resize_to"}:
        values |= {"crop": False, "resize_to": None}
    if "resize_to" in given and "crop" not in given:
        given["crop"] = True
    too_large = "size" in given and max(given["size"]) > (values.get("resize_to") or math.inf)
    if given.get("crop") is False or too_large:
        values["resize_to"] = None
    if channels is None and len(given.get("mean", ())) in (1, 3):
        channels = len(given["mean"])
    if not stored and channels is not None:
        values = _for_channels(values, channels, preset_of=arch)
    if "channels" in given:
        values = _for_channels(values, given["channels"])
    count = given.get("channels", values.get("channels", 3))
    for part in ("mean", "std"):
        # One number is meant for all channels.
        if len(given.get(part, ())) == 1 < count:
            given[part] = tuple(given[part]) * count
    try:
        return Preprocessing.model_validate({**values, **given})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        where = f"{field}: " if field else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"The preprocessing of {name} cannot be used ({where}{message}).") from error


def _for_channels(values: dict[str, Any], channels: int, *, preset_of: str = TORCHVISION) -> dict[str, Any]:
    """Return values whose mean and std are for that many channels."""
    mean, std = values["mean"], values["std"]
    if len(mean) != channels:
        if not Architecture.of(preset_of).has_preset:
            mean, std = (0.5,) * channels, (0.5,) * channels
        else:
            mean, std = ((round(sum(part) / len(part), 4),) * channels for part in (mean, std))
    return {**values, "channels": channels, "mean": mean, "std": std}


def trained_size(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> tuple[int, int] | None:
    """Return the (height, width) of the square images that a vision transformer's positions are for; None if none tell.

    Parameters
    ----------
    module : torch.nn.Module
        The network for its usual size: it tells how many tokens come before those of the image.
    tensors : mapping of str to Tensor
        The weights, under the network's names.
    """
    own = module.state_dict()
    patches = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    for key, positions in own.items():
        theirs = tensors.get(key)
        if not key.endswith(("pos_embedding", "pos_embed")) or positions.ndim != 3 or theirs is None or theirs.ndim != 3:
            continue
        before = positions.shape[1] - math.isqrt(positions.shape[1]) ** 2
        side = math.isqrt(theirs.shape[1] - before)
        if patches and theirs.shape[1] != positions.shape[1] and side * side + before == theirs.shape[1]:
            height, width = patches[0].kernel_size
            return side * height, side * width
    return None


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
        update={"mean": tuple(round(float(v), 4) for v in mean), "std": tuple(round(float(v), 4) for v in std)}
    )


def _plain(size: tuple[int, int], channels: Literal[1, 3], value_range: tuple[float, float] | None) -> Preprocessing:
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    try:
        return Preprocessing(size=size, channels=channels, mean=zeros, std=ones, value_range=value_range)
    except ValidationError as error:
        raise ConfigError(f"The value range cannot be {value_range}; give two numbers, the lower one first.") from error
