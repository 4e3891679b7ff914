"""Where a computation runs: in one process, or in several on one or more machines, through Lightning Fabric."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STRATEGIES = ("auto", "ddp")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def one_process(device: torch.device | str = "cpu", precision: str = "32-true") -> Fabric:
    """Return a Fabric of this process alone, on one device.

    Parameters
    ----------
    device : torch.device or str
        Where to compute.
    precision : str
        One of `PRECISIONS`.

    Raises
    ------
    ConfigError
        There is no such precision, or the device does not have it.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return _fabric("cuda", [device.index or 0], 1, "auto", precision)
    return _fabric(device.type, 1, 1, "auto", precision)


def many_processes(
    device: torch.device | str, devices: int, *, nodes: int = 1, strategy: str = "auto", precision: str = "32-true"
) -> Fabric:
    """Return a Fabric of several processes, not yet launched.

    `Fabric.launch` starts the others by running the same command again; where a launcher such as torchrun or Slurm
    has started them, it joins them.

    Parameters
    ----------
    device : torch.device or str
        The kind of device that each process has one of.
    devices : int
        Processes on each machine.
    nodes : int
        Machines, on each of which the same command is started.
    strategy : str
        One of `STRATEGIES`; ``auto`` is ``ddp`` where there is more than one process.
    precision : str
        One of `PRECISIONS`.

    Raises
    ------
    ConfigError
        There are not as many devices, or a name is unknown.
    """
    if devices < 1 or nodes < 1:
        raise ConfigError(f"There must be at least one device on one machine, not {devices} on {nodes}.")
    if strategy not in STRATEGIES:
        raise ConfigError(f"There is no strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}.")
    if devices * nodes == 1:
        return one_process(device, precision)
    kind = torch.device(device).type
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, devices)
    if devices > there:
        plural = "" if there == 1 else "s"
        raise ConfigError(f"This machine has {there} {kind} device{plural}, not {devices}; ask for fewer.")
    return _fabric(kind, devices, nodes, "ddp", precision)


def _fabric(kind: str, devices: int | list[int], nodes: int, strategy: str, precision: str) -> Fabric:
    from lightning_fabric import Fabric

    if precision not in PRECISIONS:
        raise ConfigError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    if precision == "16-mixed" and kind == "cpu":
        raise ConfigError("The processor cannot compute in 16-mixed; choose bf16-mixed or 32-true.")
    chosen: Any = precision
    with warnings.catch_warnings():
        # That a GPU is there and not used is what the user asked for.
        warnings.simplefilter("ignore")
        return Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy=strategy, precision=chosen)
