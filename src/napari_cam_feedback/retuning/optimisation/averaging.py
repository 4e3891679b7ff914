"""The running mean of a network's weights over its steps, which is what is looked at and returned.

Single steps of a large learning rate jump about; their exponential moving average (Polyak and Juditsky 1992; as in Izmailov
et al. 2018, "Averaging weights leads to wider optima") does at any moment what a falling learning rate does at its end.
Batch norm's running statistics lag behind weights that move fast, by so much that predictions fail for dozens of steps
while the loss falls; so they are taken anew from the last steps' images (as update_bn there).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_cam_feedback.torch_loader import torch

State = dict[str, torch.Tensor]

#: Weight of the past in the mean at most: one over some thirty steps. Before, it is one over the last eighth of the steps
#: (polynomial-decay averaging, Shamir and Zhang 2013), since a short run's first steps are far from its last.
DECAY, WARM_UP = 0.97, 9
#: Steps whose images batch norm's statistics are taken from.
MAX_BATCHES = 4


class WeightAverage:
    """Exponential moving average of a module's state.

    Parameters
    ----------
    module : torch.nn.Module
        Under training; its present weights are where the mean begins.
    batch_norm : list of Module
        Its batch norm layers that learn statistics; they are taken anew whenever the mean is used.
    """

    def __init__(self, module: torch.nn.Module, batch_norm: list[torch.nn.Module]) -> None:
        self.module = module
        self._batch_norm = batch_norm
        self.batches: deque[torch.Tensor] = deque(maxlen=MAX_BATCHES)
        self.restart()

    def restart(self) -> None:
        """Begin anew from the present weights."""
        self.steps = 0
        self.mean: State = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def update(self, inputs: torch.Tensor) -> None:
        """Take in the weights after a step on these images (N, C, h, w)."""
        self.steps += 1
        if self._batch_norm:
            self.batches.append(inputs.detach())
        weight = 1 - min(DECAY, self.steps / (self.steps + WARM_UP))
        state = self.module.state_dict()
        names = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.mean[name] for name in names], [state[name].detach() for name in names], weight)
        for name in state.keys() - set(names):
            self.mean[name].copy_(state[name])

    def to_plain(self) -> dict[str, Any]:
        """Plain values and tensors, from which `load_plain` makes the same mean again."""
        mean = {name: tensor.clone() for name, tensor in self.mean.items()}
        return {"steps": self.steps, "mean": mean, "batches": list(self.batches)}

    def load_plain(self, values: dict[str, Any]) -> None:
        """Take the mean that `to_plain` wrote."""
        self.steps = values["steps"]
        self.mean = {name: tensor.to(self.mean[name].device, copy=True) for name, tensor in values["mean"].items()}
        self.batches = deque(values["batches"], MAX_BATCHES)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While entered, the module has the mean weights; afterwards those that it had."""
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        try:
            self.module.load_state_dict(self.mean)
            self.recalibrate()
            yield
        finally:
            self.module.load_state_dict(own)

    def recalibrate(self) -> None:
        """Take batch norm's statistics anew, with the module's present weights, from the last steps' images."""
        if not self._batch_norm or not self.batches:
            return
        layers: list[Any] = list(self._batch_norm)
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
            layer.train()
        try:
            with torch.no_grad():
                for inputs in self.batches:
                    self.module(inputs)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
                layer.eval()
