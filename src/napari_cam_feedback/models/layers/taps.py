"""Reading a layer's activations during a forward pass, without leaving a trace in the module."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from types import TracebackType
from typing import Any

from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.layers.hooks import hooked
from napari_cam_feedback.models.layers.layouts import Grid, Layout, find_layout, puts_channels_first
from napari_cam_feedback.torch_loader import torch


def get_layer(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """Return the submodule of that dotted name.

    Raises
    ------
    ModelError
        There is none; the nearest names are given.
    """
    modules = dict(module.named_modules())
    if name in modules and name:
        return modules[name]
    near = difflib.get_close_matches(name, modules, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "choose one from the list of layers."
    raise ModelError(f"The model has no layer {name!r}; {hint}")


class ActivationTap:
    """While entered, keeps what one layer puts out: the activations (N, F, h, w), with h = w = 1 of features (N, F).

    Only forward passes of the thread that entered it are read, so that several threads can use one module.

    Parameters
    ----------
    module : torch.nn.Module
        The network; it is left as it was found.
    layer : str
        Dotted name of the layer.
    cut : bool
        Make the activations a leaf of the graph and hand a copy on, so that gradients with respect to them need the
        graph of what lies above the layer and nothing below. The parameters must be frozen for that to save anything.
    size : tuple of int, optional
        (H, W) of the network's input: what layers that put out (N, T, F) tokens, (N, h, w, F) maps or (N, F) features are
        read by. Without it the layer must put out (N, F, h, w).
    grid : tuple of int, optional
        (rows, columns) of the tokens, where the user has set it.
    put : Tensor, optional
        (M, F, h, w) activations to go on with instead of the layer's own.
    change : callable, optional
        Returns, of the activations (N, F, h, w), those to go on with; gradients pass through it.

    Examples
    --------
    >>> with ActivationTap(model, "features") as tap:  # doctest: +SKIP
    ...     logits = model(batch)
    ...     activations = tap.take()
    """

    def __init__(
        self,
        module: torch.nn.Module,
        layer: str,
        *,
        cut: bool = False,
        size: tuple[int, int] | None = None,
        grid: Grid | None = None,
        put: torch.Tensor | None = None,
        change: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.layer = layer
        self._target = get_layer(module, layer)
        self._cut = cut
        self._size, self._grid, self._put, self._change = size, grid, put, change
        self._output: torch.Tensor | None = None
        self._hooked: Any = None

    def __enter__(self) -> ActivationTap:
        self._hooked = hooked([self._target], self._hook)
        self._hooked.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hooked.__exit__(None, None, None)
        self._output = None

    def _layout(self, output: Any) -> Layout:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else ()
        if self._size is None:
            if len(shape) != 4:
                raise ModelError(f"Layer {self.layer!r} does not put out (N, F, h, w) activations; choose another layer.")
            return Layout("maps", *shape[1:])
        try:
            return find_layout(shape, self._size, self._grid, channels_first=puts_channels_first(self._target))
        except ModelError as error:
            raise ModelError(f"Layer {self.layer!r} {error}") from error

    def _hook(self, _module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        layout = self._layout(output)
        if self._put is not None:
            self._output = self._put
            # One image's output stands for all that is put in its place (tokens before those of the image are kept).
            return layout.from_maps(self._put, output.expand(len(self._put), *output.shape[1:])).to(output.dtype)
        if not self._cut:
            # Networks may compute in half precision inside; maps and what is made of them are in single.
            self._output = layout.to_maps(output).float()
            if self._change is not None:
                return layout.from_maps(self._change(self._output), output).to(output.dtype)
            # A copy goes on: what follows may change its input in place (ReLU does), and we want what the layer put out.
            return output.clone()
        # Networks run a frozen part under no_grad themselves; the layer may be the last of that part.
        with torch.enable_grad():
            self._output = layout.to_maps(output.detach()).float().requires_grad_(True)
            return layout.from_maps(self._output, output.detach()).to(output.dtype)

    def take(self) -> torch.Tensor:
        """Return the activations (N, F, h, w) of the last forward pass and forget them.

        Raises
        ------
        ModelError
            The layer did not run, as in a compiled or traced module, which ignores hooks.
        """
        if self._output is None:
            raise ModelError(
                f"Layer {self.layer!r} did not run in the forward pass; choose another layer, "
                "or load the model without torch.compile or tracing."
            )
        output, self._output = self._output, None
        return output
