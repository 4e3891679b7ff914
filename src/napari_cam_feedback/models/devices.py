"""Which device to compute on."""

from __future__ import annotations

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.torch_loader import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    Raises
    ------
    ConfigError
        The name is unknown, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise ConfigError(f"There is no device {name!r}; choose one of {', '.join(DEVICES)}.")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not there:
        raise ConfigError(f"This machine has no {kind} device; choose auto or cpu.")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"There is no device {name!r}; choose one of {', '.join(DEVICES)}.") from error
    if kind == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ConfigError(f"This machine has {torch.cuda.device_count()} cuda devices, so no {name}.")
    return device
