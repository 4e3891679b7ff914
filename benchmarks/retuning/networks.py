"""Networks for decoy MNIST, as a person would bring their own: ``networks.py:cnn`` and ``networks.py:mlp``."""

from __future__ import annotations

from torch import nn


def cnn(num_classes: int, channels: int = 1) -> nn.Sequential:
    """Three 3x3 convolutions with batch norm, two max-poolings and a linear layer on all places, for 28x28 images."""
    return nn.Sequential(
        *_conv(channels, 16),
        nn.MaxPool2d(2),
        *_conv(16, 32),
        nn.MaxPool2d(2),
        *_conv(32, 64),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, num_classes),
    )


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def mlp(num_classes: int) -> nn.Sequential:
    """The perceptron of Ross et al. (2017): 784-50-30-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, num_classes)
    )
