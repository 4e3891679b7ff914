"""What a retune tells while it runs, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.old_names import OldAttributes
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics
from napari_cam_feedback.retuning.judging.verdict import Verdict

if TYPE_CHECKING:
    from napari_cam_feedback.retuning.images.style import Style
    from napari_cam_feedback.retuning.judging.pareto import Checkpoint
    from napari_cam_feedback.retuning.run_state import RunState

Status = Literal["done", "stopped", "rolled back"]


@dataclass(frozen=True)
class RetuneStep:
    """What one step came to.

    Attributes
    ----------
    iteration, iterations : int
        Done, and in all.
    losses : dict
        Each term of the loss as it entered the sum, by name; ``total`` among them; in nats. Empty at iteration 0.
    painted_keys : tuple of str
        The painted images learnt from.
    painted_probabilities : ndarray or None
        (P,) float32, probability of the true class of each; None where this step did not look.
    check : ValidationMetrics or None
        Validation measures, where this step looked.
    message : str or None
        Something the user should know.
    trying : float or None
        The learning rate of which this was a trial step; it does not count.
    """

    iteration: int
    iterations: int
    losses: dict[str, float]
    painted_keys: tuple[str, ...]
    painted_probabilities: np.ndarray | None = None
    check: ValidationMetrics | None = None
    message: str | None = None
    trying: float | None = None


@dataclass(frozen=True)
class RetuneResult(OldAttributes):
    """How a retune ended.

    Attributes
    ----------
    classifier : Classifier
        The best seen; weights of its own. The classifier given is as it was.
    given : Classifier
        The one that was retuned.
    config : RetuneConfig
        Settings as they were given.
    resolved : dict
        What the settings left open, as it was carried out: method, learning rate and how it was found, strength, sizes,
        steps, layer, versions of packages.
    status : str
        ``done``; ``stopped`` by the user; ``rolled back`` because it kept going astray.
    verdict : Verdict
        Whether it helped.
    before, after : ValidationMetrics
        Validation measures of the classifier given and of the one returned.
    selected_iteration : int
        Where the one returned was; 0 where nothing better than the start was seen.
    selected_share : float
        How far its weights are on the way from the given ones to those of that iteration.
    painted_keys : tuple of str
        Images learnt from.
    held_out_keys : tuple of str
        Painted images kept out to judge by; the same as those learnt from where there were too few.
    masks : mapping
        Key to (H, W) bool of those images, as they were when the run began; none where a style alone was taken out.
    style : Style or None
        What was taken out, where that lies over whole images.
    history : list of dict
        One row a step: iteration, loss terms, and validation measures where it looked.
    painted_history : list of dict
        Probability of the true class of each painted image where it looked: iteration, key, probability.
    skipped : dict
        Key and sentence for each image that could not be read.
    checkpoints : tuple of Checkpoint
        States that no other one seen beats in every measure, by iteration; the one returned is among them.
    path : tuple of ValidationMetrics
        Measures of weights between the given and the best ones, by how far they are on the way (`ValidationMetrics.share`).
    run_state : RunState or None
        Where a run that was stopped can be taken up again; None for one that ended.
    troubles : tuple of str
        Why weights were thrown away on the way, beginnings of sentences.
    """

    classifier: Classifier
    given: Classifier
    config: RetuneConfig
    resolved: dict[str, Any]
    status: Status
    verdict: Verdict
    before: ValidationMetrics
    after: ValidationMetrics
    selected_iteration: int
    selected_share: float
    painted_keys: tuple[str, ...]
    held_out_keys: tuple[str, ...]
    history: list[dict[str, Any]] = field(repr=False)
    painted_history: list[dict[str, Any]] = field(repr=False)
    skipped: dict[str, str] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = field(default=(), repr=False)
    path: tuple[ValidationMetrics, ...] = field(default=(), repr=False)
    run_state: RunState | None = field(default=None, repr=False)
    troubles: tuple[str, ...] = ()
    masks: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    style: Style | None = field(default=None, repr=False)

    @property
    def path_checks(self) -> tuple[ValidationMetrics, ...]:
        """The path with the checkpoint itself in front, by how much of the old is kept; empty where there is no path."""
        if not self.path:
            return ()
        own = next(each.check for each in self.checkpoints if each.check.iteration == self.path[0].iteration)
        return own, *sorted(self.path, key=lambda check: -check.share)

    def to_json(self) -> dict[str, Any]:
        """Plain values of everything but weights and history."""
        return {
            "status": self.status,
            "verdict": {"name": self.verdict.name, "reason": self.verdict.reason},
            "selected_iteration": self.selected_iteration,
            "selected_share": self.selected_share,
            "resolved": self.resolved,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "checkpoints": [checkpoint.check.to_json() for checkpoint in self.checkpoints],
            "path": [check.to_json() for check in self.path],
            "painted": list(self.painted_keys),
            "held_out": list(self.held_out_keys),
            "skipped": self.skipped,
        }

    def classifier_at(self, iteration: int, share: float = 1.0) -> Classifier:
        """Return a classifier with the weights of one of the checkpoints, or with some between those and the given ones.

        Parameters
        ----------
        iteration : int
            Of the checkpoint.
        share : float
            How far on the way from the given weights, 0 to 1.

        Raises
        ------
        KeyError
            None is of that iteration.
        """
        from napari_cam_feedback.retuning.judging.pareto import between

        state = {checkpoint.check.iteration: checkpoint.state for checkpoint in self.checkpoints}[iteration]
        chosen = self.classifier.copy()
        chosen.module.load_state_dict(state if share == 1 else between(self.given.module.state_dict(), state, share))
        info = chosen.info.get("retune")
        if isinstance(info, dict):
            info |= {"iteration": iteration, "share": share}
        return chosen
