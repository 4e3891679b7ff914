"""What a frozen network hands to its head, kept for each image, so that each passes through the network once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.models.layers.hooks import hooked
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
#: Bytes that these may take; where there are more images, each passes through the network in each epoch.
MAX_BYTES = 512 << 20


class HeadInputs:
    """The inputs (N, F) of a network's last linear layer, for a network that does not change and is in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    layer : torch.nn.Linear
        Its last layer.
    cache : InputCache
        Reads the images.
    """

    def __init__(self, module: nn.Module, layer: nn.Linear, cache: InputCache) -> None:
        self._module, self._layer, self._cache = module, layer, cache
        self._rows: dict[int, torch.Tensor] = {}
        self._unread: set[int] = set()

    @classmethod
    def make(cls, module: nn.Module, layer: nn.Module, cache: InputCache, images: int) -> HeadInputs | None:
        """Return those of a network; None where the layer is not its last, or there would be too many."""
        if not isinstance(layer, nn.Linear) or images * layer.in_features * 4 > MAX_BYTES:
            return None
        made = cls(module, layer, cache)
        generator = torch.Generator().manual_seed(0)
        prepared = cache.preprocessing
        batch = torch.randn(2, prepared.channels, *prepared.size, generator=generator)
        with torch.no_grad():
            found, logits = made._run(batch)
            return made if found is not None and torch.equal(layer(found), logits) else None

    def batches(self, indices: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield (indices, head inputs) of up to `size` items at a time, as `InputCache.batches` does with inputs."""
        for start in range(0, len(indices), size):
            part = [int(index) for index in indices[start : start + size]]
            new = [index for index in part if index not in self._rows and index not in self._unread]
            for picked, inputs in self._cache.batches(new, size):
                with torch.no_grad():
                    rows, _ = self._run(inputs)
                assert rows is not None
                self._rows.update(zip(picked.tolist(), rows, strict=True))
            self._unread.update(index for index in new if index not in self._rows)
            known = [index for index in part if index in self._rows]
            if known:
                yield np.array(known, np.int64), torch.stack([self._rows[index] for index in known])

    def _run(self, inputs: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return what the layer was given, if that is (N, F), and the network's logits."""
        taken: list[torch.Tensor] = []
        with hooked([self._layer], lambda _, given: taken.append(given[0].detach().float()), before=True):
            logits = self._module(inputs.to(next(self._layer.parameters()).device))
        good = len(taken) == 1 and taken[0].ndim == 2
        return taken[0] if good else None, logits
