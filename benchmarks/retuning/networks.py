"""Networks for decoy MNIST, as a person would bring their own: ``networks.py:lenet`` and ``networks.py:mlp``."""

from __future__ import annotations

from torch import nn


def lenet(num_classes: int, channels: int = 1) -> nn.Sequential:
    """Two 5x5 convolutions with max-pooling and a dense head, for 28x28 images."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )


def mlp(num_classes: int) -> nn.Sequential:
    """The perceptron of Ross et al. (2017): 784-50-30-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, num_classes)
    )
