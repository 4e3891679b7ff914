"""A network that was trained for other classes, made into one for a dataset's: its head is dropped, a new one put on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_cam_feedback.errors import ConfigError, ModelError
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.files.loading import ModelSource, load_named, open_source
from napari_cam_feedback.models.files.mismatch import count_outputs, output_layer
from napari_cam_feedback.models.files.statedict import MODEL_SUFFIXES, align, read_state_dict
from napari_cam_feedback.models.layers.layouts import Grid
from napari_cam_feedback.models.layers.parts import inside
from napari_cam_feedback.models.layers.target import choose_layer
from napari_cam_feedback.models.networks.architectures import build_module, skeleton
from napari_cam_feedback.models.networks.gap import FEATURES, GAP, HEAD, find_maps_part
from napari_cam_feedback.models.options import ModelOptions, make_options
from napari_cam_feedback.torch_loader import torch

# Stands for a number of classes that is not known yet, so that the head is known by its shape.
_ANY_COUNT = 1009


@dataclass(frozen=True)
class Transfer:
    """A network with a new head, to be trained by `train_classifier`.

    Attributes
    ----------
    classifier : Classifier
        The backbone's weights, and a head with random ones.
    head : str
        Dotted name of the new layer.
    """

    classifier: Classifier
    head: str


def backbone_source(weights: str | os.PathLike[str], options: ModelOptions | None = None) -> ModelSource:
    """Find out which network to start from, without loading it.

    Parameters
    ----------
    weights : path or str
        A model file of ours or of others, ``torchvision:NAME``, ``efficientnet-lite0``; or, where the architecture is one
        of those, the name of its weights, as ``IMAGENET1K_V1`` or ``DEFAULT``.
    options : ModelOptions, optional
        What the file does not say; class names in it are the dataset's and do not count here.

    Raises
    ------
    ModelError, ConfigError
        As `open_source`; or it is a saved program.
    """
    options = _without_classes(options)
    arch, text = options.arch or "", str(weights)
    if Architecture.of(arch).pretrained and not Architecture.of(text).pretrained and _names_weights(text):
        return open_source(arch, make_options(options, weights=text))
    source = open_source(weights, options)
    if Architecture.of(source.arch or "").origin == "export":
        raise ConfigError(
            f"{source.name} is a saved program, whose head cannot be replaced; start from a file of weights and name its "
            "architecture.",
            field="arch",
        )
    return source


def load_backbone(source: ModelSource, options: ModelOptions | None = None, *, device: str = "auto") -> Classifier:
    """Load a network to start from; it need not know the names of its classes.

    Parameters
    ----------
    source : ModelSource
        Of `backbone_source`.
    options : ModelOptions, optional
        The same.
    device : str
        Where to put it.

    Raises
    ------
    ModelError, ConsentNeeded, ConfigError
        As `load_classifier`.
    """
    options = _without_classes(options)
    if source.class_names or source.path is None or source.arch is None:
        return load_named(source, options, device=device)
    tensors = read_state_dict(source.path)
    plain = skeleton(source.arch, _ANY_COUNT)
    count = _last_width(tensors) if plain is None else count_outputs(plain, _ANY_COUNT, align(tensors, plain.state_dict()))
    return load_named(source, options, device=device, folders=[str(number) for number in range(count or 2)])


def transfer(
    source: Classifier,
    class_names: Sequence[str],
    *,
    layer: str | None = None,
    grid: Grid | None = None,
    trust: bool = False,
    seed: int = 0,
) -> Transfer:
    """Drop a network's head, and put global average pooling with a new linear head on its last maps.

    Where the network is built so already, its last layer is new. Of other networks the part that makes the maps is kept
    (`gap.GapNetwork`). Where no part does, as in vision transformers, the network keeps its own way from maps to classes
    and gets a new last layer.

    Parameters
    ----------
    source : Classifier
        Trained before; it is not changed. Its preprocessing is kept.
    class_names : sequence of str
        The new classes, at least two.
    layer : str, optional
        Target layer; by default the last with maps.
    grid : tuple of int, optional
        (rows, columns) of its tokens.
    trust : bool
        The user agrees that the code of a file that makes the network runs.
    seed : int
        Of the new head's weights.

    Raises
    ------
    ModelError
        There are fewer than two classes, the network has no last layer that could be new, or the code that makes it
        cannot make it for that many classes.
    """
    if len(class_names) < 2:
        raise ModelError(f"A classifier needs at least two classes, not {len(class_names)}; add images of another class.")
    prepared = source.preprocessing
    arch, head, part = _plan(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build_module(arch, len(class_names), prepared.channels, prepared.size, trust=trust)
    weights = source.module.state_dict()
    if part is not None:
        weights = {
            f"{FEATURES}.{name.removeprefix(f'{part}.')}": tensor
            for name, tensor in weights.items()
            if name.startswith(f"{part}.")
        }
    _check_head(module, head, len(class_names), arch)
    _copy(weights, module, head, arch)
    found = choose_layer(module, prepared.channels, prepared.size, layer=layer, grid=grid)
    told = {"from": source.info.get("pretrained"), "arch": source.arch, "weights": source.fingerprint(), "head": head}
    made = Classifier(module, tuple(class_names), prepared, found.name, arch, {"transfer": told}, grid)
    return Transfer(made.to(source.device), head)


def _plan(source: Classifier) -> tuple[str, str, str | None]:
    """Return the new network's architecture, its head, and the part of the old one that is kept (None: all)."""
    prepared, module = source.preprocessing, source.module
    last = choose_layer(module, prepared.channels, prepared.size).name
    pooled = source.with_layer(last).head
    if pooled is not None:
        return source.arch, pooled.name, None
    head = output_layer(module, source.num_classes)
    if not Architecture.of(source.arch).runs_code:
        part = find_maps_part(module, prepared.channels, prepared.size, head)
        if part is not None:
            return f"{GAP}{part}:{source.arch}", HEAD, part
    if head is None:
        raise ModelError(
            f"{source.arch} has no last layer of {source.num_classes} outputs that could be new; choose another network."
        )
    return source.arch, head, None


def _check_head(module: torch.nn.Module, head: str, count: int, arch: str) -> None:
    """Code may make a network of so many outputs whatever it is told."""
    weight = dict(module.named_parameters()).get(f"{head}.weight")
    if weight is None or len(weight) != count:
        raise ModelError(f"{arch} makes no network for {count} classes; let its function take num_classes.")


def _copy(weights: Mapping[str, torch.Tensor], module: torch.nn.Module, head: str, arch: str) -> None:
    """Put all weights but the head's into a network, in place."""
    own = module.state_dict()
    kept = [name for name in own if not inside(name, [head])]
    wrong = next((name for name in kept if name not in weights or weights[name].shape != own[name].shape), None)
    if wrong is not None:
        raise ModelError(f"The weights do not fit {arch} for other classes, first {wrong}; let only its last layer differ.")
    # Not by load_state_dict, since some networks translate weights that come without a version.
    for name in kept:
        own[name].copy_(weights[name])


def _names_weights(text: str) -> bool:
    """Tell whether a text is the name of some weights of a network and not a file or a network."""
    return all(part.isidentifier() for part in text.split(".")) and Path(text).suffix.lower() not in MODEL_SUFFIXES


def _last_width(tensors: Mapping[str, torch.Tensor]) -> int | None:
    """Return the number of outputs of the last matrix, which by custom makes the logits."""
    return next((len(tensor) for tensor in reversed(list(tensors.values())) if tensor.ndim == 2), None)


def _without_classes(options: ModelOptions | None) -> ModelOptions:
    return make_options(options).model_copy(update={"class_names": None})
