"""Weights of a network with one output for two classes, as for a sigmoid: they are given an output for each class."""

from __future__ import annotations

from napari_cam_feedback.model_names import Architecture, without_one_output
from napari_cam_feedback.models.files.statedict import align
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.models.networks.architectures import build_module
from napari_cam_feedback.models.networks.one_output import named_one_output, one_output
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
Tensors = dict[str, torch.Tensor]


def two_outputs(
    arch: str, tensors: Tensors, outputs: int | None, channels: int, size: tuple[int, int], *, trust: bool = False
) -> tuple[str, Tensors]:
    """Return architecture and weights of a network for two classes, of which the file may know one output only.

    Where the architecture is made for a number of classes, its last layer gets half of its one row, once negated; where it
    has one output whatever is asked, or applies the sigmoid itself, it is wrapped (`networks.one_output`).

    Parameters
    ----------
    arch : str
        As `build_module` takes it.
    tensors : mapping of str to Tensor
        The file's; empty for a saved program.
    outputs : int or None
        Outputs that the file tells of.
    channels, size : int, tuple of int
        Of the input.
    trust : bool
        As of `build_module`.
    """
    if without_one_output(arch) != arch or outputs not in (1, None):
        return arch, tensors
    if not Architecture.of(arch).runs_code:
        return arch, tensors if outputs is None else _widened(build_module(arch, 2, channels, size), tensors)
    if Architecture.of(arch).origin == "export":
        found = one_output(build_module(arch, 1, channels, size, trust=trust), channels, size) if outputs == 1 else None
        return arch if found is None else named_one_output(arch, found), tensors
    return _of_code(arch, tensors, channels, size, trust)


def _of_code(arch: str, tensors: Tensors, channels: int, size: tuple[int, int], trust: bool) -> tuple[str, Tensors]:
    double = build_module(arch, 2, channels, size, trust=trust)
    if _filled(double, tensors):
        # One output whatever number is asked for, or what there should be.
        found = one_output(double, channels, size)
        return arch if found is None else named_one_output(arch, found), tensors
    single = build_module(arch, 1, channels, size, trust=trust)
    found = one_output(single, channels, size) if _filled(single, tensors) else None
    if found is None:
        return arch, tensors
    wide = _widened(double, tensors)
    if _filled(double, wide) and _same(double, single, channels, size):
        return arch, wide
    return named_one_output(arch, found), tensors


def _widened(module: nn.Module, tensors: Tensors) -> Tensors:
    """Return weights whose one row is halved in a layer that has two, negated in the first, under the network's names."""
    own = module.state_dict()
    aligned = dict(align(tensors, own))
    for name, tensor in aligned.items():
        wanted = own.get(name)
        if wanted is not None and tensor.ndim and len(tensor) == 1 and wanted.shape == (2, *tensor.shape[1:]):
            aligned[name] = torch.cat([-tensor / 2, tensor / 2])
    return aligned


def _filled(module: nn.Module, tensors: Tensors) -> bool:
    """Put the weights into a network; tell whether they fit."""
    own = module.state_dict()
    aligned = align(tensors, own)
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    if not needed <= aligned.keys() or any(aligned[name].shape != own[name].shape for name in needed):
        return False
    module.load_state_dict({name: tensor for name, tensor in aligned.items() if name in own}, strict=False)
    return True


def _same(double: nn.Module, single: nn.Module, channels: int, size: tuple[int, int]) -> bool:
    """Tell whether the difference of two outputs is the one of the other network."""
    images = torch.randn(4, channels, *size, generator=torch.Generator().manual_seed(1))
    try:
        with torch.no_grad():
            two, one = in_evaluation(double)(images), in_evaluation(single)(images)
    except Exception:  # whatever keeps one from taking an image is said by who builds it for good
        return False
    if two.shape != (len(images), 2):
        return False
    return torch.allclose(two[:, 1] - two[:, 0], one.reshape(-1), rtol=1e-3, atol=1e-4)
