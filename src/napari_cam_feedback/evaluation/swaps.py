"""Masked parts of other images, to be pasted where the model is asked whether it follows them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.torch_loader import torch


class Swaps:
    """Which masked image of another class each masked image gets its patch from."""

    def __init__(
        self, dataset: Dataset, masked: np.ndarray, masks: Mapping[str, np.ndarray], cache: InputCache, seed: int
    ) -> None:
        self.dataset, self.masks, self.cache = dataset, masks, cache
        rng = np.random.default_rng(seed)
        labels = dataset.labels[masked]
        by_class = {label: masked[labels != label] for label in np.unique(labels)}
        self.donor = {
            int(index): int(rng.choice(by_class[label]))
            for index, label in zip(masked, labels, strict=True)
            if len(by_class[label])
        }

    def of(self, picked: np.ndarray) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
        """Return which of these images have a donor that can be read (M,), and the donors' inputs and masks."""
        wanted = [(n, self.donor[int(index)]) for n, index in enumerate(picked) if int(index) in self.donor]
        read = {
            int(index): row
            for indices, inputs in self.cache.batches(sorted({donor for _, donor in wanted}))
            for index, row in zip(indices, inputs, strict=True)
        }
        found = [(n, donor) for n, donor in wanted if donor in read]
        if not found:
            return np.empty(0, np.int64), torch.empty(0), torch.empty(0)
        places = [self.cache.preprocessing.mask(self.masks[self.dataset.keys[donor]]) for _, donor in found]
        return (
            np.array([n for n, _ in found], np.int64),
            torch.stack([read[donor] for _, donor in found]),
            torch.stack(places),
        )
