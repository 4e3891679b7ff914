"""The networks of ours: a small one and the thesis's residual ladder, both with global average pooling and a linear head."""

from __future__ import annotations

from collections.abc import Callable

from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class SmallGap(nn.Module):
    """Four 3x3 convolutions with two max-poolings, global average pooling and a linear head; for small images.

    Parameters
    ----------
    num_classes, channels : int
        Size of the output, channels of the input. Activations before the pooling are (N, 64, H/4, W/4).
    """

    def __init__(self, num_classes: int, channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(channels, 16), _conv(16, 32), nn.MaxPool2d(2), _conv(32, 32), nn.MaxPool2d(2), _conv(32, 64)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes) of images (N, channels, H, W)."""
        return self.head(self.pool(self.features(x)).flatten(1))


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a 1x1 projection of their input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.first(x)) + self.skip(x))


class ResidualVgg(nn.Module):
    """Five residual blocks of 3x3 convolutions with batch norm, 64 filters before global average pooling.

    After the network of Ferrada (2019): a VGG-like ladder with max-pooling between the blocks, shortened by skip
    connections. The first four blocks halve the image, so activations are (N, 64, H/16, W/16).
    """

    widths = (16, 32, 64, 64, 64)

    def __init__(self, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for number, width in enumerate(self.widths):
            if number:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            layers.append(_ResidualBlock(inputs, width))
            inputs = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes) of images (N, channels, H, W)."""
        return self.head(self.pool(self.features(x)).flatten(1))


ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {"small-gap": SmallGap, "residual-vgg": ResidualVgg}
