"""A network together with what the loop needs to know of it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.architectures import build_module
from napari_cam_feedback.models.layers import LayerInfo, default_layer, list_layers
from napari_cam_feedback.models.taps import ActivationTap, get_layer
from napari_cam_feedback.torch_loader import torch


@dataclass(frozen=True)
class LinearHead:
    """The linear layer after global average pooling: logits = weight @ GAP(activation) + bias.

    Attributes
    ----------
    name : str
        Dotted name of the layer in the module.
    weight : Tensor
        (K, F) float.
    bias : Tensor
        (K,) float.
    """

    name: str
    weight: torch.Tensor
    bias: torch.Tensor


@dataclass
class Classifier:
    """A network in evaluation mode with frozen parameters, its classes, preprocessing and target layer.

    Since nothing changes the module, several threads may use it at once; whoever trains does so on a `copy`.

    Attributes
    ----------
    module : torch.nn.Module
        Takes (N, C, h, w) float inputs, gives (N, K) logits.
    class_names : tuple of str
        The K classes, in the order of the logits.
    preprocessing : Preprocessing
        From an image as read to an input.
    target_layer : str
        Dotted name of the layer whose activations are explained and penalised.
    arch : str
        Name from which `build_module` makes the module again.
    info : dict
        How this classifier came to be; plain JSON values.
    """

    module: torch.nn.Module
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    target_layer: str
    arch: str
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(False)
        get_layer(self.module, self.target_layer)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def split_seed(self) -> int | None:
        """Seed of the split that it was trained on, where that was made by us; other data must not be split anew."""
        return self.info.get("training", {}).get("split_seed")

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @cached_property
    def layers(self) -> list[LayerInfo]:
        """Layers that can be the target layer, with shapes."""
        return list_layers(self.module, self.preprocessing.channels, self.preprocessing.size)

    @cached_property
    def head(self) -> LinearHead | None:
        """The linear head over globally pooled target-layer activations, or None where the model is not built so.

        It is found by numbers, not by names: for a random batch, weight @ GAP(activation) + bias must be the logits.
        """
        weights = [
            (name, layer)
            for name, layer in self.module.named_modules()
            if isinstance(layer, torch.nn.Linear) and layer.out_features == self.num_classes
        ]
        if not weights:
            return None
        generator = torch.Generator().manual_seed(0)
        batch = torch.randn(2, self.preprocessing.channels, *self.preprocessing.size, generator=generator).to(self.device)
        logits, activations = self.forward_with_activations(batch)
        pooled = activations.mean((2, 3))
        for name, layer in reversed(weights):
            if layer.in_features != pooled.shape[1]:
                continue
            if torch.allclose(layer(pooled), logits, rtol=1e-3, atol=1e-4 * float(logits.abs().max()) + 1e-6):
                bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(self.num_classes)
                return LinearHead(name, layer.weight, bias)
        return None

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (N, K) logits of (N, C, h, w) inputs, on the classifier's device, without a graph."""
        with torch.inference_mode():
            return self.module(inputs.to(self.device, non_blocking=True))

    def forward_with_activations(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, K) logits and (N, F, h, w) target-layer activations, without a graph."""
        with torch.inference_mode(), ActivationTap(self.module, self.target_layer) as tap:
            logits = self.module(inputs.to(self.device, non_blocking=True))
            return logits, tap.take()

    def with_layer(self, name: str) -> Classifier:
        """Return the same classifier with another target layer; the module is shared.

        Raises
        ------
        ModelError
            The model has no such layer, or its activations are not two-dimensional.
        """
        layer = get_layer(self.module, name)
        if name not in {info.name for info in self.layers}:
            raise ModelError(
                f"Layer {name!r} ({type(layer).__name__}) does not put out maps; choose one of the listed layers."
            )
        return replace(self, target_layer=name)

    def copy(self) -> Classifier:
        """Return a classifier with a module of its own."""
        return replace(self, module=copy.deepcopy(self.module), info=copy.deepcopy(self.info))

    def to(self, device: torch.device | str) -> Classifier:
        """Move the module to `device` (in place) and return the classifier."""
        self.module.to(device)
        self.__dict__.pop("head", None)
        return self

    def fingerprint(self) -> str:
        """Return a SHA-256 hex digest of weights, target layer and preprocessing; what caches are kept by."""
        digest = hashlib.sha256(f"{self.arch}|{self.target_layer}|{self.preprocessing!r}".encode())
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def build_classifier(
    arch: str,
    class_names: tuple[str, ...],
    preprocessing: Preprocessing,
    *,
    target_layer: str | None = None,
    seed: int = 0,
) -> Classifier:
    """Make a classifier with random weights.

    Parameters
    ----------
    arch : str
        ``small-gap``, ``residual-vgg`` or ``torchvision:NAME``.
    class_names : tuple of str
        At least two.
    preprocessing : Preprocessing
        Size and channels of the input among it.
    target_layer : str, optional
        By default the last layer with two-dimensional activations.
    seed : int
        Of the weights; torch's own generator is left as it was.

    Raises
    ------
    ModelError
        Unknown architecture, fewer than two classes, an input that the network cannot take, no layer to explain.
    """
    if len(class_names) < 2:
        raise ModelError(f"A classifier needs at least two classes, not {len(class_names)}; add images of another class.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build_module(arch, len(class_names), preprocessing.channels)
    layer = target_layer or default_layer(list_layers(module, preprocessing.channels, preprocessing.size))
    return Classifier(module, tuple(class_names), preprocessing, layer, arch)


def check_fits(classifier: Classifier, dataset: Dataset) -> None:
    """Check that the dataset's labels mean the classifier's classes.

    Raises
    ------
    ModelError
        Number, names or order of the classes differ.
    """
    ours, theirs = classifier.class_names, dataset.class_names
    if tuple(ours) == tuple(theirs):
        return
    if len(ours) != len(theirs):
        raise ModelError(
            f"The model knows {len(ours)} classes ({_some(ours)}) and the dataset has {len(theirs)} ({_some(theirs)}); "
            "choose the model that was trained for this dataset."
        )
    raise ModelError(
        f"The model's classes ({_some(ours)}) are not the dataset's ({_some(theirs)}), or not in that order; "
        "choose the model that was trained for this dataset."
    )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
