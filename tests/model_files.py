"""Files of weights as other people's programs save them, for the tests of loading."""

from __future__ import annotations

from pathlib import Path

from torchvision import models as theirs

from core_builders import small_gap
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
NAMES = ("a", "b", "c")
GRAY = {"arch": "small-gap", "class_names": NAMES, "size": (16, 16), "mean": (0.0,), "std": (1.0,)}


def saved(path: Path, content: object, **options) -> Path:
    torch.save(content, path, **options)
    return path


def load(path: Path, **settings):
    """Load a state dict of a small-gap network for 16x16 gray images."""
    return load_classifier(path, device="cpu", **{**GRAY, **settings})


def weights_of(**more: object) -> dict:
    return {**small_gap().module.state_dict(), **more}


def torchvision_file(path: Path, name: str, classes: int = 3, channels: int = 3, **options) -> tuple[nn.Module, Path]:
    """Save the weights of torchvision's own network as its users do, and return the network too."""
    torch.manual_seed(0)
    module = theirs.get_model(name, weights=None, num_classes=classes, **options).eval()
    if channels != 3:
        first = module.conv1
        module.conv1 = nn.Conv2d(channels, first.out_channels, first.kernel_size, first.stride, first.padding, bias=False)
    return module, saved(path, module.state_dict())


def same_logits(module: nn.Module, classifier) -> bool:
    size, channels = classifier.preprocessing.size, classifier.preprocessing.channels
    images = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.allclose(module(images), classifier.logits(images), atol=1e-5)
