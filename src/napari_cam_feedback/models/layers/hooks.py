"""Hooks that are in a network for a while: they run in one thread only, and copies of the network do not have them.

Several threads use one network: one explains the image shown, one measures, one makes a copy to change.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.torch_loader import torch


class _PassingHook:
    """What is called in the thread that made it, and does nothing in others."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook
        self._thread = threading.get_ident()

    def __call__(self, *args: Any) -> Any:
        return self._hook(*args) if threading.get_ident() == self._thread else None


@contextmanager
def hooked(layers: Iterable[torch.nn.Module], hook: Callable[..., Any], *, before: bool = False) -> Iterator[None]:
    """While entered, call `hook` in this thread's forward passes, as PyTorch's forward hooks are.

    Parameters
    ----------
    layers : iterable of torch.nn.Module
        Where.
    hook : callable
        Takes the layer, its inputs, and its output; what it returns, if not None, takes the output's place.
    before : bool
        It takes the layer and its inputs, before the layer runs.
    """
    passing = _PassingHook(hook)
    handles: list[Any] = []
    try:
        for layer in layers:
            put = layer.register_forward_pre_hook if before else layer.register_forward_hook
            handles.append(put(passing))  # one by one, or those of a first part would stay where the second cannot take one
        yield
    finally:
        for handle in handles:
            handle.remove()


def copy_module(module: torch.nn.Module, device: str | None = None) -> torch.nn.Module:
    """Return a deep copy of a network, without the hooks that are in it only for a while (`hooked`).

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    device : str, optional
        ``meta``: parameters and buffers of the copy have shapes and no memory.

    Raises
    ------
    ModelError
        It holds what cannot be copied, such as a lock, or a tensor computed from its weights.
    """
    memo: dict[int, Any] = {}
    for child in module.modules():
        # Also where there are none: another thread may put one there while the copy is made.
        for hooks in (child._forward_hooks, child._forward_pre_hooks):
            kept = [(key, hook) for key, hook in hooks.copy().items() if not isinstance(hook, _PassingHook)]
            memo[id(hooks)] = OrderedDict(kept)
    if device is not None:
        for parameter in module.parameters():
            empty = torch.empty_like(parameter, device=device)
            memo[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for buffer in module.buffers():
            memo[id(buffer)] = torch.empty_like(buffer, device=device)
    try:
        return copy.deepcopy(module, memo)
    except (TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"The network cannot be copied ({reason}), and it is a copy that is changed; make such things in its forward, "
            "not when it is built."
        ) from error
