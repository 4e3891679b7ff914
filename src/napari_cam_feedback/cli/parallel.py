"""Sharing a command's work among several processes; only the first of them speaks and writes."""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING

from napari_cam_feedback.cli.app import err, out
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import ClusterEnvironment

LOST = "Another process ended before its time, so this one stopped; run the command with --devices 1 to see what it says."
#: Seconds that a process gets to clean up before it is ended.
PATIENCE = 10.0

# Tells a process that another one of the same machine has started it, and ends when that one ends.
_STARTED = "NAPARI_CAM_FEEDBACK_STARTED"
_NEEDED = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
_arguments: list[str] = []
_others: list[subprocess.Popen[bytes]] = []


def remember(arguments: Sequence[str] | None) -> None:
    """Keep what the command was called with, for the processes that it may start."""
    _arguments[:] = sys.argv[1:] if arguments is None else arguments


def arguments() -> list[str]:
    """Return what the command was called with, without the program's name."""
    return list(_arguments)


def launch(device: str, devices: int, nodes: int, strategy: str, precision: str) -> Fabric:
    """Start, or join, the processes that a command asks for, and silence all but the first.

    Parameters
    ----------
    device : str
        auto, cpu, cuda or mps.
    devices, nodes : int
        Processes on each machine, and machines.
    strategy, precision : str
        As in `many_processes`.

    Raises
    ------
    ConfigError, ModelError
        There are not as many devices, a name is unknown, or the machines do not know of each other.
    """
    from napari_cam_feedback.models.devices import pick_device
    from napari_cam_feedback.models.parallel import many_processes

    # It tells of each process and of the precision; its own level is set when it is imported.
    import_module("lightning_fabric")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = many_processes(pick_device(device), devices, nodes=nodes, strategy=strategy, precision=precision)
    if devices * nodes > 1:
        if os.environ.pop(_STARTED, None):
            _end_with_the_first()
        environment = getattr(fabric.strategy, "cluster_environment", None)
        if environment is not None and not environment.creates_processes_externally:
            _start_others(environment, devices, nodes)
        try:
            fabric.launch()
        except ValueError as error:
            # A launcher has started another number of processes.
            raise ConfigError(f"{str(error).rstrip('.')}; start as many processes as --devices times --nodes.") from error
        atexit.register(_leave_group)
    if not fabric.is_global_zero:
        out.quiet = err.quiet = True
    return fabric


def agreed(fabric: Fabric) -> AbstractContextManager[None]:
    """Return a context that fails in all processes if it fails in one; see `models.parallel_shares.agreed`."""
    from napari_cam_feedback.models.parallel import agreed as all_agree

    return all_agree(fabric)


def ended() -> None:
    """Note that the command has ended: from now on nobody needs to end it."""
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def lost_another() -> bool:
    """Tell whether one of the processes that this one started has failed, which breaks what they do together."""
    until = time.monotonic() + (2.0 if _others else 0.0)
    while time.monotonic() < until:
        if any(each.poll() for each in _others):
            return True
        time.sleep(0.05)
    return False


def _start_others(environment: ClusterEnvironment, devices: int, nodes: int) -> None:
    """Start the other processes of this machine; Lightning's own start would end this one by force if one of them fails."""
    missing = [name for name in _NEEDED if name not in os.environ]
    if nodes > 1 and missing:
        raise ConfigError(
            f"With --nodes {nodes} each machine must be told of the others by environment variables, and "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; set MASTER_ADDR (the first machine's "
            "address) and MASTER_PORT (a free port of it) alike on all, and NODE_RANK (0, 1, …) on each its own."
        )
    shared = {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(devices * nodes),
    }
    os.environ.update(shared)
    command = [sys.executable, "-m", "napari_cam_feedback.cli", *_arguments]
    # Ctrl-C goes to all processes of a terminal; only this one is to act on it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None
    try:
        for rank in range(1, devices):
            own = {**os.environ, "LOCAL_RANK": str(rank), _STARTED: "1"}
            _others.append(subprocess.Popen(command, env=own, stdin=subprocess.PIPE))
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
    atexit.register(_end_others)
    os.environ["LOCAL_RANK"] = "0"
    threading.Thread(target=_watch_others, daemon=True).start()


def _leave_group() -> None:
    """Leave the group of processes: Gloo's threads, if the interpreter's end meets them, abort a process that was done."""
    from napari_cam_feedback.torch_loader import torch

    distributed = torch.distributed
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def _end_others() -> None:
    """Let the other processes go, and wait until they have cleaned up."""
    until = time.monotonic() + PATIENCE
    for each in _others:
        if each.stdin is not None:
            each.stdin.close()
    for each in _others:
        try:
            each.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.kill()
    _others.clear()


def _watch_others() -> None:
    """End this process too if another one fails and this one waits for it for ever, as on GPUs."""
    while not any(each.poll() for each in list(_others)):
        time.sleep(1)
    time.sleep(PATIENCE)
    err.print(LOST, markup=False, highlight=False)
    _end_others()
    os._exit(1)


def _end_with_the_first() -> None:
    """End this process, by an interruption first, once the process that started it has ended or lets it go."""

    def wait() -> None:
        # Not through sys.stdin, whose lock the interpreter needs at its end.
        while os.read(0, 1):
            pass
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(PATIENCE / 2)
        os._exit(1)

    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=wait, daemon=True).start()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
