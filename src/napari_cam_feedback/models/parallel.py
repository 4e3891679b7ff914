"""Where a computation runs, in one process or in several through Lightning Fabric, and how several share images.

Images are dealt out in blocks, one batch each, so that every batch holds the same images however many processes there are.
What travels between them are tensors and JSON; nothing is pickled. Without a Fabric, or with one process, it does nothing.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.errors import ConfigError, DataError, FeedbackError, MaskError, ModelError, StorageError, describe
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


_KINDS = {kind.__name__: kind for kind in (ConfigError, DataError, MaskError, ModelError, StorageError)}


def world_of(fabric: Fabric | None) -> tuple[int, int]:
    """Return which process this is, from 0, and how many there are."""
    return (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)


def autocast(fabric: Fabric | None) -> AbstractContextManager[Any]:
    """Return a context in which networks compute in the Fabric's precision."""
    return nullcontext() if fabric is None else fabric.autocast()


def own_blocks(indices: np.ndarray, size: int, fabric: Fabric | None = None) -> list[tuple[int, np.ndarray]]:
    """Return this process's blocks of the items, each with its number among all blocks.

    Parameters
    ----------
    indices : ndarray
        (N,) int64 items.
    size : int
        Items in a block; the last may have fewer.
    fabric : Fabric, optional
        Launched.
    """
    rank, world = world_of(fabric)
    return [(start // size, indices[start : start + size]) for start in range(rank * size, len(indices), world * size)]


def gather_rows(rows: np.ndarray, fabric: Fabric | None) -> np.ndarray:
    """Return the rows of all processes, those of the first one first; every process calls this.

    Parameters
    ----------
    rows : ndarray
        (n, ...) numbers; n may differ from process to process. Where n is 0, so may the rest of the shape.
    fabric : Fabric or None
        Launched.
    """
    if fabric is None or fabric.world_size == 1:
        return rows
    shapes = _all(torch.tensor(rows.shape), fabric)
    longest = shapes.amax(0).tolist()
    if not longest[0]:
        return rows
    padded = np.zeros(longest, rows.dtype)
    if len(rows):
        padded[: len(rows)] = rows
    gathered = _all(torch.from_numpy(padded), fabric).numpy()
    return np.concatenate([part[: int(shape[0])] for part, shape in zip(gathered, shapes, strict=True)])


def gather_json(value: Any, fabric: Fabric | None) -> list[Any]:
    """Return a plain value of each process; every process calls this."""
    if fabric is None or fabric.world_size == 1:
        return [value]
    # JSON written so has no bytes that are 0; one ends each text.
    text = np.frombuffer(json.dumps(value).encode() + b"\0", np.uint8)
    return [json.loads(part) for part in gather_rows(text, fabric).tobytes().split(b"\0")[:-1]]


def gather_skipped(skipped: dict[str, str], fabric: Fabric | None) -> dict[str, str]:
    """Return the images that any process could not read, key and sentence; every process calls this."""
    return {key: sentence for part in gather_json(skipped, fabric) for key, sentence in part.items()}


def any_of(flag: bool, fabric: Fabric | None) -> bool:
    """Tell whether any process says so; every process calls this."""
    if fabric is None or fabric.world_size == 1:
        return flag
    return bool(_all(torch.tensor([int(flag)]), fabric).any())


def take_from_first(module: torch.nn.Module, fabric: Fabric | None) -> None:
    """Give a network, in every process, the weights and statistics that it has in the first one."""
    if fabric is None or fabric.world_size == 1:
        return
    with torch.no_grad():
        for tensor in module.state_dict().values():
            own = tensor.contiguous()
            torch.distributed.broadcast(own, 0)
            tensor.copy_(own)


@contextmanager
def agreed(fabric: Fabric | None) -> Iterator[None]:
    """Run a block that all processes run; if it fails in one, it fails in all, with the same sentence.

    Otherwise those where it went well would wait for the others for ever. The block itself must not wait for them.
    """
    if fabric is None or fabric.world_size == 1:
        yield
        return
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # whatever it is, the others are told
        failure = error
    fields = getattr(failure, "fields", ())
    said = None if failure is None else {"kind": type(failure).__name__, "sentence": describe(failure), "fields": fields}
    failed = any_of(failure is not None, fabric)
    if not failed:
        return
    first = next(each for each in gather_json(said, fabric) if each is not None)
    if failure is not None:
        raise failure
    if first["sentence"].startswith("Unexpected"):
        raise RuntimeError(f"in another process: {first['sentence']}")
    raise _KINDS.get(first["kind"], FeedbackError)(first["sentence"], field=first["fields"])


def _all(tensor: torch.Tensor, fabric: Fabric) -> torch.Tensor:
    own = tensor.to(fabric.device)
    gathered = [torch.empty_like(own) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, own)
    return torch.stack(gathered).cpu()
