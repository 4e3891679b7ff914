"""The checkpoints worth keeping: no other one is at least as good in every measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from napari_cam_feedback.retuning.judging.metrics import MIN_GAIN, ValidationMetrics
from napari_cam_feedback.torch_loader import torch

State = dict[str, torch.Tensor]

#: Scores that lie so near to the highest differ by chance. On eleven runs of seven data sets, other seeds than those of the
#: tables, the latest of these had a higher accuracy on test than the highest one (by 0.8 points on average).
NEARLY = 0.02
#: Accuracy on all images that may be lost for the worst group's sake.
MAX_LOST = 0.01
#: Checkpoints kept at most, so that a large network's copies do not fill the memory.
MAX_CHECKPOINTS = 6


@dataclass(frozen=True)
class Checkpoint:
    """Weights at some iteration, and how they stood there.

    Attributes
    ----------
    check : ValidationMetrics
        The measures.
    state : dict of str to Tensor
        The module's state dict; copies of its own.
    """

    check: ValidationMetrics
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


def choose(front: ParetoFront, path: Sequence[ValidationMetrics]) -> ValidationMetrics:
    """Return the front's best check, or one between the given and those weights that wins `MIN_GAIN` over it.

    Where the data name groups, it is that of those which score nearly as high, and lose no more than `MAX_LOST` of the
    accuracy on all images, whose worst group is told best.
    """
    best = front.best.check
    nearer = max(path, key=lambda check: check.score, default=best)
    best = nearer if nearer.score > best.score + MIN_GAIN else best
    if best.worst_group is None or best.iteration == 0:
        return best
    tuned = [check for check in (*(each.check for each in front.checkpoints), *path) if check.iteration > 0]
    alike = [
        check for check in tuned if check.score >= best.score - NEARLY and check.accuracy >= best.accuracy - MAX_LOST - 1e-9
    ]
    return max([best, *alike], key=_of_worst)


class ParetoFront:
    """The Pareto front of checkpoints by accuracy, conflict accuracy, share of changed predictions, and worst group.

    Attributes
    ----------
    checkpoints : list of Checkpoint
        By iteration.
    """

    def __init__(self, checkpoints: list[Checkpoint] | None = None) -> None:
        self.checkpoints = checkpoints or []

    @property
    def best(self) -> Checkpoint:
        """The latest one whose score is nearly the highest; the start if none wins `MIN_GAIN`.

        Which of several checks that differ by chance is the highest says little, and the later one has learnt more.
        """
        chosen = _best_of([each.check for each in self.checkpoints])
        return next(each for each in self.checkpoints if each.check is chosen)

    def state_of(self, check: ValidationMetrics, given: State) -> State:
        """Return the weights that a check was of: a kept one's, or some between those and the given ones."""
        state = next(each.state for each in self.checkpoints if each.check.iteration == check.iteration)
        return state if check.share == 1 else between(given, state, check.share)

    def measure_again(self, check: ValidationMetrics) -> None:
        """Take a check with further measures for the one of the same iteration."""
        self.checkpoints = [
            replace(each, check=check) if each.check.iteration == check.iteration else each for each in self.checkpoints
        ]

    def add(self, check: ValidationMetrics, module: torch.nn.Module) -> bool:
        """Keep the module's present state if no kept one beats it or it is the best; drop those that it beats.

        Returns whether it was kept.
        """
        checks = [each.check for each in self.checkpoints]
        best = _best_of([*checks, check])
        if check is not best and any(_beats(each, check) and not _replaces(check, each) for each in checks):
            return False
        kept = [each for each in self.checkpoints if each.check is best or not _beats(check, each.check)]
        self.checkpoints = [*kept, Checkpoint(check, copy_of(module.state_dict()))]
        # One that was the best for being late is beaten by an earlier one now and then.
        self.checkpoints = [
            each
            for each in self.checkpoints
            if each.check is best
            or not any(_beats(other.check, each.check) for other in self.checkpoints if other is not each)
        ]
        if len(self.checkpoints) > MAX_CHECKPOINTS:
            worst = min((each for each in self.checkpoints if each.check is not best), key=lambda each: each.check.score)
            self.checkpoints = [each for each in self.checkpoints if each is not worst]
        return True


def _best_of(checks: Sequence[ValidationMetrics]) -> ValidationMetrics:
    highest = max(check.score for check in checks)
    start = [check for check in checks if check.iteration == 0]
    if start and highest <= start[0].score + MIN_GAIN:
        return start[0]
    return max((check for check in checks if check.score >= highest - NEARLY), key=lambda check: check.iteration)


def _of_worst(check: ValidationMetrics) -> float:
    return 0.0 if check.worst_group is None else check.worst_group[1]


def _measures(check: ValidationMetrics) -> tuple[float, ...]:
    return check.accuracy, check.conflict_accuracy, -check.conflict_flip_rate, check.score, _of_worst(check)


def _beats(one: ValidationMetrics, other: ValidationMetrics) -> bool:
    """Whether `one` is at least as good in every measure."""
    return all(a >= b for a, b in zip(_measures(one), _measures(other), strict=True))


def _replaces(later: ValidationMetrics, earlier: ValidationMetrics) -> bool:
    """Whether a later one takes an equal's place: it has learnt more, but the start is kept where nothing is won."""
    return _measures(later) == _measures(earlier) and earlier.iteration > 0
