"""Running a network that code makes once, before it is used: does it take images, and how many outputs has it?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import Mismatch, ModelError
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.models.files.mismatch import classes_mismatch
from napari_cam_feedback.models.layers.parts import in_evaluation
from napari_cam_feedback.torch_loader import torch

# How torch says that numbers of two precisions meet, and that there is no such device.
_OTHER_PRECISION = re.compile(r"dtype|BFloat16|Half\b|[Dd]ouble\b")
_OTHER_DEVICE = re.compile(r"CUDA|NVIDIA|same device|expected device|MPS")


def try_network(
    module: torch.nn.Module, preprocessing: Preprocessing, name: str, arch: str, names: Sequence[str], origin: str
) -> None:
    """Run a network made by code, since only that tells how many outputs it has.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU.
    preprocessing : Preprocessing
        Tells the images' size and channels.
    name, arch : str
        The file and the architecture.
    names : sequence of str
        The class names.
    origin : str
        Where they come from; see `mismatch.fill`.

    Raises
    ------
    ModelError
        It cannot take images, or does not put out a number for each class; the sentence says what to do.
    """
    if not Architecture.of(arch).runs_code:
        return
    logits = _run(module, 1, preprocessing, name)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ModelError(f"{name} does not put out one number for each class; give a network that puts out (N, K) logits.")
    if logits.shape[1] != len(names):
        row = Mismatch("classes", str(logits.shape[1]), str(len(names)))
        raise classes_mismatch(name, logits.shape[1], names, origin, [row])
    rows = len(logits), len(_run(module, 2, preprocessing, name))
    if rows != (1, 2):
        raise ModelError(
            f"{name} puts out {rows[0]} rows for one image and {rows[1]} for two; let its forward take any number of images."
        )


def _run(module: torch.nn.Module, count: int, preprocessing: Preprocessing, name: str) -> torch.Tensor:
    height, width = preprocessing.size
    channels = preprocessing.channels
    try:
        with torch.no_grad():
            return in_evaluation(module)(torch.zeros(count, channels, height, width))
    except (Exception, SystemExit) as error:  # what a network of a user may raise has no end
        reason = " ".join(str(error).split())[:200]
        remedy = _remedy(module, reason)
        if remedy is not None:
            raise ModelError(f"{name} {remedy} ({reason}); take that out of its forward.") from error
        if count > 1:
            raise ModelError(
                f"{name} takes one image and not {count} at a time ({reason}); let its forward take any number."
            ) from error
        raise ModelError(
            f"{name} cannot take images of {channels} channels and {height}x{width} pixels ({reason}); "
            "say those it was made for.",
            field=("size", "channels"),
        ) from error


def _remedy(module: torch.nn.Module, reason: str) -> str | None:
    """Say what in a network's forward keeps it from taking an image; None where it is nothing known."""
    if _OTHER_PRECISION.search(reason):
        return "turns its images into another precision than that of its weights here, float32"
    if _OTHER_DEVICE.search(reason):
        return "moves its images to a device of its own choice"
    if any(layer.training for layer in module.modules()):
        return "puts itself into training mode as it runs, and cannot take an image then"
    return None
