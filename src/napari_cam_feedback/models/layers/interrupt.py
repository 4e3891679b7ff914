"""Stopping a network in the middle of a forward or backward pass, at the next layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari_cam_feedback.models.layers.hooks import hooked
from napari_cam_feedback.monitor import Callbacks, Monitor
from napari_cam_feedback.torch_loader import torch


class Interrupted(Exception):
    """The user asked to stop."""


@contextmanager
def interruptible(module: torch.nn.Module, monitor: Monitor | Callable[[], bool]) -> Iterator[None]:
    """While entered, raise `Interrupted` from this thread's forward and backward passes of `module` once it is to stop.

    A step of a large network on a CPU takes many seconds; its layers take a fraction of one. Only the innermost modules
    ask, so small networks do not slow down.
    """
    if callable(monitor):
        warnings.warn("interruptible takes a monitor in place of a function.", DeprecationWarning, stacklevel=3)
        monitor = Callbacks(stop=monitor)

    def ask(*_: Any) -> None:
        if monitor.stopped:
            raise Interrupted

    def ran(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        """After a layer: ask, and once more when the backward pass comes to it."""
        ask()
        if isinstance(output, torch.Tensor) and output.requires_grad:
            output.register_hook(ask)

    leaves = [child for child in module.modules() if next(child.children(), None) is None]
    with hooked(leaves, ran):
        yield
