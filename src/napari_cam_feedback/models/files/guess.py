"""Which of the known architectures a state dict belongs to, told by the names and shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.files.statedict import align
from napari_cam_feedback.models.networks.architectures import known_architectures, skeleton
from napari_cam_feedback.torch_loader import torch

# Stands for the number of classes, so that the head is known by its shape.
_CLASSES = 1009


def guess_architecture(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return the architecture of ours or of torchvision that weights fit, whatever their classes and channels.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        A state dict.

    Returns
    -------
    str or None
        It takes some seconds to find that there is none.
    """
    ruled_out: set[str] = set()
    for arch in known_architectures():
        family = _family(arch)
        if family in ruled_out:
            continue
        module = skeleton(arch, _CLASSES)
        if module is None:
            continue
        share, fits = _compare(module, tensors)
        if fits:
            return arch
        if share < 0.1:
            ruled_out.add(family)
    return None


def _family(arch: str) -> str:
    """Return the start of a name: networks of one family share most names of weights."""
    name = Architecture.of(arch).name
    start = re.match(r"[a-z-]+(_v\d)?", name)
    return (start[0] if start else name) + ("_bn" if name.endswith("_bn") else "")


def _compare(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> tuple[float, bool]:
    """Return the share of the network's weights that are there by name, and whether all of them fit."""
    own = {name: t for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    aligned = align(tensors, own)
    theirs = {name: t for name, t in aligned.items() if not name.endswith("num_batches_tracked")}
    share = sum(name in theirs for name in own) / len(own)
    if own.keys() != theirs.keys():
        return share, False
    for name, tensor in own.items():
        a, b = list(tensor.shape), list(theirs[name].shape)
        if len(a) != len(b):
            return share, False
        if len(a) == 4 and a[1] == 3:
            a[1] = b[1]
        if a and a[0] == _CLASSES:
            a[0] = b[0]
        if name.endswith("pos_embedding"):
            a[1] = b[1]
        if a != b:
            return share, False
    return share, True
