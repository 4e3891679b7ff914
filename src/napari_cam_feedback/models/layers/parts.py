"""Parts of a network by their dotted names: which are frozen, and what is left to learn."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.torch_loader import torch

nn = torch.nn


def in_evaluation(module: nn.Module) -> nn.Module:
    """Put a network into evaluation mode and return it; a `train` or `eval` of the network's own may return nothing."""
    module.eval()
    return module


def inside(name: str, parts: Sequence[str]) -> bool:
    """Tell whether a layer or a weight is one of the parts or belongs to one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def learning_parameters(module: nn.Module, freeze: Sequence[str] = ()) -> list[nn.Parameter]:
    """Return the parameters that are in no frozen part.

    Raises
    ------
    ConfigError
        There is no part of a name (the nearest are given), or nothing is left to train.
    """
    names = [name for name, _ in module.named_parameters()]
    parts = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)}
    for part in freeze:
        if part not in parts:
            near = difflib.get_close_matches(part, parts, n=3)
            top = list(dict.fromkeys(name.split(".")[0] for name in names))
            hint = f"did you mean {' or '.join(near)}?" if near else f"its parts are {', '.join(top)}."
            raise ConfigError(f"The model has no part {part!r} to freeze; {hint}")
    kept = [parameter for name, parameter in module.named_parameters() if not inside(name, freeze)]
    if not kept:
        raise ConfigError("All parts of the model are frozen, so nothing can be trained; freeze fewer.")
    return kept


def set_learning(module: nn.Module, freeze: Sequence[str], *, keep_statistics: bool) -> None:
    """Put a network into training mode, but for frozen parts, and batch norm where that is to keep its statistics.

    Dropout in a frozen part is off, since what it puts out is to be what it put out before.
    """
    module.train()
    for name, layer in module.named_modules():
        fixed = keep_statistics and isinstance(layer, nn.modules.batchnorm._BatchNorm)
        if fixed or (name and inside(name, freeze)):
            layer.eval()
