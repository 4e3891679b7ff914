"""Stopping a network in the middle of a forward or backward pass, at the next layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari_cam_feedback.torch_loader import torch


class Interrupted(Exception):
    """The person asked to stop."""


@contextmanager
def interruptible(module: torch.nn.Module, stop: Callable[[], bool]) -> Iterator[None]:
    """While entered, raise `Interrupted` from forward and backward passes of `module` once `stop` says True.

    A step of a large network on a CPU takes many seconds; its layers take a fraction of one. Only the innermost modules
    ask, so small networks do not slow down.
    """

    def ask(*_: Any) -> None:
        if stop():
            raise Interrupted

    def ask_later(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        ask()
        if isinstance(output, torch.Tensor) and output.requires_grad:
            output.register_hook(ask)

    leaves = [child for child in module.modules() if next(child.children(), None) is None]
    handles = [leaf.register_forward_hook(ask_later) for leaf in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
