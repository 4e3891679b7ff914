"""A network under training, one epoch after the other: what learns in a phase, the steps, and the validation."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError, DataError, ModelError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.layers.parts import in_evaluation, inside, learning_parameters, set_learning
from napari_cam_feedback.models.layers.taps import get_layer
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training.augmentation import augment
from napari_cam_feedback.training.config import TrainConfig, TrainPhase
from napari_cam_feedback.training.head_inputs import HeadInputs
from napari_cam_feedback.training.split import TrainSplit

functional = torch.nn.functional


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean loss and accuracy over some images, and how many they are."""

    loss: float
    accuracy: float
    seen: int


class Trainer:
    """A network under training, one epoch after the other."""

    def __init__(
        self,
        trained: Classifier,
        dataset: Dataset,
        split: TrainSplit,
        config: TrainConfig,
        head: str | None,
        cache: InputCache | None,
    ) -> None:
        self._trained, self._dataset, self._split, self._config = trained, dataset, split, config
        self._module, self._device = trained.module, trained.device
        # Convolutions are about twice as fast on a CPU when the channels of a pixel lie together.
        self._module.to(memory_format=torch.channels_last)
        self._cache = cache or InputCache(dataset, trained.preprocessing)
        self._head = None if head is None else get_layer(self._module, head)
        if head is not None and inside(head, config.freeze):
            raise ConfigError(f"The new head {head!r} is to learn, so it cannot be frozen; leave it out.")
        learning_parameters(self._module, config.freeze)
        self._rng = np.random.default_rng(config.seed)
        self._moves = torch.Generator().manual_seed(config.seed)
        self._steps = 0
        self._kept: HeadInputs | None = None

    def begin(self, phase: TrainPhase) -> None:
        """Let learn what learns in this phase."""
        config, module = self._config, self._module
        module.requires_grad_(False)
        self._kept = None
        if phase.name == "head":
            assert self._head is not None
            parameters = list(self._head.parameters())
            module.eval()
            if not config.augment:
                images = len(self._split.train) + len(self._split.validation)
                self._kept = HeadInputs.make(module, self._head, self._cache, images)
        else:
            parameters = learning_parameters(module, config.freeze)
        for parameter in parameters:
            parameter.requires_grad_(True)
        self._phase = phase
        batches = math.ceil(len(self._split.train) / config.batch_size)
        self._optimizer = torch.optim.AdamW(parameters, lr=phase.learning_rate, weight_decay=config.weight_decay)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, phase.epochs * batches)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def epoch(self, monitor: Monitor) -> Measured:
        """Go through the training images once, or until it is time to stop; without images the measures are 0."""
        if self._phase.name != "head":
            statistics = self._config.keeps_statistics(self._head is not None)
            set_learning(self._module, self._config.freeze, keep_statistics=statistics)
        total, right, seen = 0.0, 0, 0
        order = self._rng.permutation(self._split.train)
        try:
            with interruptible(self._module, monitor):
                for picked, inputs in self._batches(order):
                    if monitor.stopped:
                        break
                    if len(picked) < 2:  # batch norm cannot learn from one image
                        continue
                    loss, hits = self._step(picked, inputs)
                    total += loss * len(picked)
                    right += hits
                    seen += len(picked)
                    monitor.progress(seen, len(order))
        except Interrupted:
            pass
        return Measured(total / max(seen, 1), right / max(seen, 1), seen)

    def _step(self, picked: np.ndarray, inputs: torch.Tensor) -> tuple[float, int]:
        """Take one step; return the loss and the number of images that were right before it."""
        if self._config.augment:
            inputs = augment(inputs, self._moves, mirror=self._config.mirror)
        labels = torch.from_numpy(self._dataset.labels[picked]).to(self._device)
        self._steps += 1
        with self._own_random_numbers():
            logits = self._logits(inputs.to(self._device))
            loss = functional.cross_entropy(logits, labels)
            self._optimizer.zero_grad(set_to_none=True)
            if not loss.requires_grad:
                raise ModelError(
                    "Nothing of this network can learn, since its forward runs without gradients (torch.no_grad, detach or "
                    "inference_mode); take that out of it."
                )
            loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach()), int((logits.detach().argmax(1) == labels).sum())

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Let dropout draw numbers that depend on the seed and on the step alone."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self._config.seed * 1_000_003 + self._steps)
            yield

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._kept is not None:
            assert self._head is not None
            return self._head(inputs)
        return self._module(inputs)

    def _batches(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        return (self._kept or self._cache).batches(indices, self._config.batch_size)

    def validate(self, monitor: Monitor) -> Measured | None:
        """Measure the network on the validation images; None where there are none that can be read.

        Raises
        ------
        Interrupted
            It is to stop.
        """
        total, right, seen = 0.0, 0, 0
        self._module.eval()
        with torch.no_grad(), interruptible(self._module, monitor):
            for picked, inputs in self._batches(self._split.validation):
                labels = torch.from_numpy(self._dataset.labels[picked]).to(self._device)
                logits = self._logits(inputs.to(self._device))
                total += float(functional.cross_entropy(logits, labels, reduction="sum"))
                right += int((logits.argmax(1) == labels).sum())
                seen += len(picked)
        return Measured(total / seen, right / seen, seen) if seen else None

    def complain(self) -> None:
        """Say why there is nothing to learn from."""
        first = next(iter(self._cache.skipped.values()), "there are fewer than two.")
        raise DataError(f"No training image could be read: {first}")

    def state(self) -> dict[str, torch.Tensor]:
        """Return a copy of the weights."""
        return copy.deepcopy(self._module.state_dict())

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go back to weights."""
        self._module.load_state_dict(state)

    def finish(self, state: dict[str, torch.Tensor], **told: Any) -> Classifier:
        """Return the classifier with these weights, and with how it was trained in its ``info``; `told` goes there too."""
        trained, module = self._trained, self._module
        self.restore(state)
        module.zero_grad(set_to_none=True)
        in_evaluation(module.to(memory_format=torch.contiguous_format)).requires_grad_(False)
        trained.info = {
            **trained.info,
            "training": {
                "config": self._config.model_dump(mode="json"),
                **told,
                "images": len(self._split.train),
                "split_seed": self._dataset.split_seed,
                "validation": self._split.drawn,
            },
        }
        trained.__dict__.pop("head", None)
        return trained
