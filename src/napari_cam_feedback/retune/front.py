"""The checkpoints worth keeping: no other one is at least as good in every measure."""

from __future__ import annotations

from dataclasses import dataclass

from napari_cam_feedback.retune.checks import Check
from napari_cam_feedback.torch_loader import torch

State = dict[str, torch.Tensor]

#: Checkpoints kept at most, so that a large network's copies do not fill the memory.
MOST_CHECKPOINTS = 6


@dataclass(frozen=True)
class Checkpoint:
    """Weights at some iteration, and how they stood there.

    Attributes
    ----------
    check : Check
        The measures.
    state : dict of str to Tensor
        The module's state dict; copies of its own.
    """

    check: Check
    state: State


class Front:
    """The Pareto front of checkpoints by accuracy, accuracy where the shortcut lies, and share of changed predictions.

    Attributes
    ----------
    checkpoints : list of Checkpoint
        By iteration.
    """

    def __init__(self, checkpoints: list[Checkpoint] | None = None) -> None:
        self.checkpoints = checkpoints or []

    @property
    def best(self) -> Checkpoint:
        """The one with the highest score; of equals the start, else the latest, which has learnt most."""
        return max(self.checkpoints, key=lambda each: (each.check.score, each.check.iteration == 0, each.check.iteration))

    def add(self, check: Check, module: torch.nn.Module) -> bool:
        """Keep the module's present state if no kept one beats it; drop those that it beats; tell whether it was kept."""
        if any(_beats(each.check, check) and not _replaces(check, each.check) for each in self.checkpoints):
            return False
        state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        self.checkpoints = [each for each in self.checkpoints if not _beats(check, each.check)]
        self.checkpoints.append(Checkpoint(check, state))
        if len(self.checkpoints) > MOST_CHECKPOINTS:
            worst = min(self.checkpoints, key=lambda each: each.check.score)
            self.checkpoints = [each for each in self.checkpoints if each is not worst]
        return True


def _measures(check: Check) -> tuple[float, float, float, float]:
    return check.accuracy, check.misled_accuracy, -check.misled_flip_rate, check.score


def _beats(one: Check, other: Check) -> bool:
    """Whether `one` is at least as good in every measure."""
    return all(a >= b for a, b in zip(_measures(one), _measures(other), strict=True))


def _replaces(later: Check, earlier: Check) -> bool:
    """Whether a later one takes an equal's place: it has learnt more, but the start is kept where nothing is won."""
    return _measures(later) == _measures(earlier) and earlier.iteration > 0
