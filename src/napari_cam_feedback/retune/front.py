"""The checkpoints worth keeping: no other one is at least as good in every measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from napari_cam_feedback.retune.checks import MIN_GAIN, Check
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


def copy_of(state: Mapping[str, torch.Tensor]) -> State:
    """Return a state dict with tensors of its own."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def between(given: State, tuned: State, share: float) -> State:
    """Return weights on the line from the given to the tuned ones (WiSE-FT, Wortsman et al. 2022, equation 2).

    Parameters
    ----------
    given, tuned : dict of str to Tensor
        State dicts of the same network.
    share : float
        0 for the given, 1 for the tuned ones. What is not a float, as a count of batches, is that of the tuned ones.
    """
    return {
        name: torch.lerp(given[name].to(tensor), tensor, share) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tuned.items()
    }


def choose(front: Front, path: Sequence[Check]) -> Check:
    """Return the check with the highest score, of the front's and of those between the given and the best weights.

    Of equals the front's own, since it has learnt most.
    """
    return max([front.best.check, *path], key=lambda check: (check.score, check.share == 1))


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
        """The one with the highest score, of equals the latest, which has learnt most; the start if none wins `MIN_GAIN`."""

        def worth(each: Checkpoint) -> tuple[float, int]:
            return each.check.score + (MIN_GAIN if each.check.iteration == 0 else 0), each.check.iteration

        return max(self.checkpoints, key=worth)

    def state_of(self, check: Check, given: State) -> State:
        """Return the weights that a check was of: a kept one's, or some between those and the given ones."""
        state = next(each.state for each in self.checkpoints if each.check.iteration == check.iteration)
        return state if check.share == 1 else between(given, state, check.share)

    def measure_again(self, check: Check) -> None:
        """Take a check with further measures for the one of the same iteration."""
        self.checkpoints = [
            replace(each, check=check) if each.check.iteration == check.iteration else each for each in self.checkpoints
        ]

    def add(self, check: Check, module: torch.nn.Module) -> bool:
        """Keep the module's present state if no kept one beats it; drop those that it beats; tell whether it was kept."""
        if any(_beats(each.check, check) and not _replaces(check, each.check) for each in self.checkpoints):
            return False
        state = copy_of(module.state_dict())
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
