"""What is retuned: data with a shortcut, and the network that fell for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.retuning import decoy_mnist, imagenet
from napari_cam_feedback.data import Dataset, make_sample
from napari_cam_feedback.models.networks.efficientnet_lite import has_lite_weights
from napari_cam_feedback.sample_models import PHOTOS_TRAINING, SAMPLE_ARCH, SAMPLE_TRAINING
from napari_cam_feedback.training import TrainConfig

NETWORKS = Path(__file__).parent / "networks.py"
#: From random weights, long enough to learn the shortcut alone (seed 101: accuracy on test 0.32 and 0.30), or the digits and
#: letters where there is none (0.96 and 0.99). Trained longer on tag-digits, ResNet-18 learns the digits beside their tags.
RESNET_TRAINING = {"tag-digits": TrainConfig(epochs=2), "symbols": TrainConfig(epochs=8, batch_size=32)}
#: So that it reaches 0.86 and 0.88 without the shortcut; with it, it had 0.11 and 0.31 after 40 epochs at half the rate. Of
#: so few letters it learns little (0.61) where they are not turned and shifted.
VIT_TRAINING = {
    "tag-digits": TrainConfig(epochs=60, batch_size=32, learning_rate=2e-3),
    "symbols": TrainConfig(epochs=100, batch_size=32, learning_rate=2e-3, augment=True),
}


@dataclass(frozen=True)
class Case:
    """Data and network.

    Attributes
    ----------
    name : str
        As in the tables.
    data : callable
        Takes a seed and ``shortcut``; returns a dataset with the splits train, val, and test, where the shortcut conflicts
        with the class.
    arch : str
        The network.
    training : TrainConfig or None
        How it is trained before it is retuned; None where it is retuned as it comes with its ImageNet weights.
    watched : str or None
        A class whose F1 is told too.
    counted : str or None
        A class of which is told how often it is predicted on test.
    lacks : callable or None
        Returns, in a sentence, what is missing without which the data or the network cannot be had; None where nothing is.
    pretrained : bool
        Whether the network starts from its ImageNet weights, with a new head, instead of random ones.
    """

    name: str
    data: Callable[..., Dataset]
    arch: str = SAMPLE_ARCH
    training: TrainConfig | None = SAMPLE_TRAINING
    watched: str | None = None
    counted: str | None = None
    lacks: Callable[[], str | None] | None = None
    pretrained: bool = False

    def missing(self) -> str | None:
        """Say what is missing; None where nothing is."""
        if (self.pretrained or self.training is None) and not has_lite_weights(self.arch):
            return f'{self.name} is left out: it needs the weights of {self.arch}; pip install -e ".[benchmark]".'
        reason = None if self.lacks is None else self.lacks()
        return None if reason is None else f"{self.name} is left out: {reason}"


def _lacks_timm() -> str | None:
    return None if find_spec("timm") else "it needs the package timm; pip install timm."


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    mnist = decoy_mnist.missing
    brief = TrainConfig(epochs=1)
    found = (
        *(Case(name, partial(make_sample, name)) for name in ("tag-digits", "crosses")),
        Case("baggage", partial(make_sample, "baggage"), watched="knife"),
        Case("symbols", partial(make_sample, "symbols")),
        Case("decoy-cnn", decoy_mnist.make, f"{NETWORKS}:cnn", brief, lacks=mnist),
        Case("decoy-mlp", decoy_mnist.make, f"{NETWORKS}:mlp", TrainConfig(epochs=2), lacks=mnist),
        Case("clothes-lite0", partial(make_sample, "clothes"), "efficientnet-lite0", PHOTOS_TRAINING, pretrained=True),
        Case("clothes-lite2", partial(make_sample, "clothes"), "efficientnet-lite2", PHOTOS_TRAINING, pretrained=True),
        Case("imagenet-watermark", imagenet.make, "efficientnet-lite0", None, counted="carton", lacks=imagenet.missing),
        *(
            Case(f"{name}-resnet18", partial(make_sample, name), arch, RESNET_TRAINING[name])
            for name, arch in (("tag-digits", f"{NETWORKS}:resnet18_28"), ("symbols", "torchvision:resnet18"))
        ),
        *(
            Case(f"{name}-vit", partial(make_sample, name), f"{NETWORKS}:{network}", VIT_TRAINING[name], lacks=_lacks_timm)
            for name, network in (("tag-digits", "vit_28"), ("symbols", "vit_72"))
        ),
    )
    return {case.name: case for case in found}
