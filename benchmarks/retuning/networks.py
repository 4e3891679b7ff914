"""Networks as a user would bring their own, as ``networks.py:cnn``: for decoy MNIST, and larger ones for small images."""

from __future__ import annotations

from typing import Any

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


def resnet18_28(num_classes: int, channels: int = 1) -> nn.Module:
    """ResNet-18 for small images: its first convolution is 3x3 without a stride, and no pooling follows (as for CIFAR)."""
    from torchvision.models import resnet18

    network = resnet18(num_classes=num_classes)
    network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def vit_28(num_classes: int, channels: int = 1) -> nn.Module:
    """A vision transformer for 28x28 images in patches of 4."""
    return _vit(num_classes, channels, side=28, patch=4)


def vit_72(num_classes: int, channels: int = 1) -> nn.Module:
    """A vision transformer for 72x72 images in patches of 8."""
    return _vit(num_classes, channels, side=72, patch=8)


def _vit(num_classes: int, channels: int, *, side: int, patch: int) -> nn.Module:
    """That of timm with 4 blocks of 4 heads on 64 numbers a patch, which learns on one core in minutes."""
    from timm.models.vision_transformer import VisionTransformer

    settings: dict[str, Any] = {"embed_dim": 64, "depth": 4, "num_heads": 4}
    return VisionTransformer(
        img_size=side, patch_size=patch, in_chans=channels, num_classes=num_classes, class_token=True, **settings
    )
