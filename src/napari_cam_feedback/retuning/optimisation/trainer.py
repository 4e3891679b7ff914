"""One training step after another: the network, its optimizer, and the terms of the loss."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.parts import in_evaluation, inside, learning_parameters
from napari_cam_feedback.models.layers.taps import ActivationTap
from napari_cam_feedback.retuning.images.masked_set import Batch
from napari_cam_feedback.retuning.methods.base import Method, Outputs
from napari_cam_feedback.retuning.methods.gradients import plain_attention
from napari_cam_feedback.retuning.optimisation.teacher import distillation, has_answer
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

nn = torch.nn
functional = torch.nn.functional

#: Nats that a penalty starts with when nobody chose its strength.
PENALTY_AT_START = 1.0
#: A penalty below this is none: its weight is set when there is one.
MIN_PENALTY = 1e-6
#: Norm that the gradient is cut to.
LONGEST_GRADIENT = 5.0


#: Terms of the loss that say how well the labelled images are told, in contrast to penalties.
TASK_TERMS = ("cross-entropy", "distillation")


@dataclass(frozen=True)
class LastStep:
    """What the last step was of: the labelled images of this process, before their gradient was taken.

    Attributes
    ----------
    loss : float
        Their loss without penalties, in nats; the mean over all processes.
    predicted, labels : ndarray
        (N,) int64.
    """

    loss: float
    predicted: np.ndarray
    labels: np.ndarray


class RetuneTrainer:
    """A network under training.

    Parameters
    ----------
    tuned : Classifier
        Its module is trained in place.
    methods : list of Method
        What is added to the cross-entropy.
    fabric : Fabric
        Where the steps are computed, and in how many processes.
    learning_rate : float
        Of Adam.
    strength : float or None
        Weight of the penalties; None for one that makes each a nat at the first step.
    freeze : tuple of str
        Parts of the network that keep their weights, by dotted name.
    freeze_batch_norm : bool
        Whether batch norm keeps its statistics.
    labels_too : bool
        Whether the labels are learnt where the given classifier is the teacher and was wrong.

    Attributes
    ----------
    strengths : dict
        Weight of each penalty so far, by method.
    warm_up : int
        Steps over which the learning rate rises to what it is, from the first one on and after each restart.
    last : LastStep or None
        The last step, whether or not its loss was a number.
    inputs : Tensor or None
        (B, C, h, w), all its images of this process.

    Raises
    ------
    ConfigError
        There is no such part, or all of the network is frozen.
    """

    def __init__(
        self,
        tuned: Classifier,
        methods: list[Method],
        fabric: Fabric,
        *,
        learning_rate: float,
        strength: float | None,
        freeze: tuple[str, ...],
        freeze_batch_norm: bool,
        labels_too: bool = True,
    ) -> None:
        self.tuned, self.methods, self.fabric = tuned, methods, fabric
        self.strength = strength
        self.strengths: dict[str, float] = {}
        self.warm_up = 1
        self.freeze_batch_norm, self.labels_too = freeze_batch_norm, labels_too
        self.last: LastStep | None = None
        self.inputs: torch.Tensor | None = None
        self._trained = learning_parameters(tuned.module, freeze)
        self._frozen_parts = freeze
        self._layers = tuple(dict.fromkeys(name for method in methods for name in method.layers(tuned)))
        self._needs_layer = any(method.needs_layer for method in methods)
        self._awake = False
        self._wake()
        module = tuned.module
        if fabric.world_size > 1 and fabric.device.type == "cuda" and not freeze_batch_norm:
            tuned.module = module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        self._network = fabric.setup_module(module)
        self.restart(learning_rate)

    def restart(self, learning_rate: float) -> None:
        """Start anew with an optimizer that remembers no step."""
        # On a CPU a step of Adam on a small network is mostly calls of its kernels; fused they are one.
        # For complex weights there is no fused one.
        fused = self.fabric.device.type == "cpu" and all(each.is_floating_point() for each in self._trained)
        adam = torch.optim.Adam(self._trained, lr=learning_rate, fused=fused or None)
        self._learning_rate = learning_rate
        wrapped = self.fabric.setup_optimizers(adam)
        self._adam, self._optimizer = adam, wrapped[0] if isinstance(wrapped, tuple) else wrapped

    @cached_property
    def learning_batch_norm(self) -> list[nn.Module]:
        """The batch norm layers that learn their statistics."""
        if self.freeze_batch_norm:
            return []
        layers = self.tuned.module.named_modules()
        found = [(name, layer) for name, layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        return [layer for name, layer in found if layer.track_running_stats and not inside(name, self._frozen_parts)]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set Adam's step."""
        self._learning_rate = learning_rate

    def optimizer_state(self) -> dict[str, Any]:
        """Return the optimizer's state dict, with tensors of its own."""
        state = self._adam.state_dict()
        copied = {
            number: {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in values.items()}
            for number, values in state["state"].items()
        }
        return {**state, "state": copied}

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Go on from an optimizer's state dict."""
        self._adam.load_state_dict(state)

    def rest(self) -> None:
        """Make the network ready to be looked at."""
        in_evaluation(self.tuned.module).requires_grad_(False)
        self._awake = False

    def _wake(self) -> None:
        """Make the network ready to learn, if it is not; a walk through a large one takes a while."""
        if self._awake:
            return
        self._awake = True
        module = self.tuned.module
        for parameter in self._trained:
            parameter.requires_grad_(True)
        # Evaluation mode but for batch norm, if that is to learn: dropout would blur the penalty.
        module.eval()
        for layer in self.learning_batch_norm:
            layer.train()

    def step(self, batch: Batch, extras: list[torch.Tensor | None]) -> dict[str, float] | None:
        """Take one step; return the loss terms, or None (and leave the weights) where the loss is not a number.

        Parameters
        ----------
        batch : Batch
            The step's images, of all processes.
        extras : list
            For each method its extra images (P, C, h, w), or None.
        """
        batch, extras = self._own_share(batch, extras)
        device = self.fabric.device
        answers = None
        if batch.answers is not None and batch.painted_answers is not None:
            answers = torch.cat([batch.answers, batch.painted_answers]).to(device)
        stacked = torch.cat([batch.inputs, batch.painted.inputs, *(e for e in extras if e is not None)]).to(device)
        batch = Batch(batch.inputs, batch.labels.to(device), batch.painted.to(device))
        labelled = len(batch.inputs) + len(batch.painted)
        painted = slice(len(batch.inputs), labelled)
        self._wake()
        with torch.enable_grad(), ExitStack() as stack, ExitStack() as taps:
            if any(method.differentiates_twice for method in self.methods):
                stack.enter_context(plain_attention())
            tap = taps.enter_context(self._tap(painted, batch)) if self._needs_layer else None
            more = {name: taps.enter_context(ActivationTap(self.tuned.module, name)) for name in self._layers}
            logits = self._network(stacked)
            activations = None if tap is None else tap.take().float()
            layers = {name: each.take().float()[painted] for name, each in more.items()}
            # A method's further pass is one of the network as it is.
            taps.close()
            truth = torch.cat([batch.labels, batch.painted.labels])
            terms = _task(logits[:labelled], truth, answers, labels_too=self.labels_too)
            start = labelled
            for method, extra in zip(self.methods, extras, strict=True):
                rows = slice(start, start + (0 if extra is None else len(extra)))
                start = rows.stop
                outputs = Outputs(
                    logits[painted],
                    None if activations is None else activations[painted],
                    None if extra is None or activations is None else activations[rows],
                    layers,
                    self._again,
                )
                penalty = method.penalty(batch, outputs)
                if penalty is not None:
                    terms[method.name] = penalty * self._strength(method, penalty.detach())
            total = torch.stack(list(terms.values())).sum()
            task = torch.stack([terms[name] for name in TASK_TERMS if name in terms]).sum()
            values = self._values({**terms, "total": total, "task": task})
            self.last = LastStep(values.pop("task"), logits[:labelled].detach().argmax(1).cpu().numpy(), truth.cpu().numpy())
            self.inputs = stacked.detach()
            if not np.isfinite(values["total"]):
                return None
            if not total.requires_grad:
                raise RetuneError(
                    "Nothing of this network can learn, since its forward runs without gradients (torch.no_grad, detach or "
                    "inference_mode); take that out of it."
                )
            self._optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(total)
            # By Fabric, since in half precision on a GPU the gradients are scaled.
            self.fabric.clip_gradients(self._network, self._optimizer, max_norm=LONGEST_GRADIENT, error_if_nonfinite=False)
            self._warm_up()
            self._optimizer.step()
        return values

    def _warm_up(self) -> None:
        """Set the learning rate of the next step.

        Adam's first steps would move each weight by all of it, however small its gradient, and a network that knows much
        would lose what dozens of steps bring back (linear warm-up; Ma and Yarats 2021, "On the adequacy of untuned warmup
        for adaptive optimization").
        """
        state = next(iter(self._adam.state.values()), None)
        taken = 0 if state is None else int(state["step"])
        self._adam.param_groups[0]["lr"] = self._learning_rate * min(1.0, (taken + 1) / self.warm_up)

    def _tap(self, painted: slice, batch: Batch) -> ActivationTap:
        tuned = self.tuned
        changes = [method for method in self.methods if type(method).intervene is not Method.intervene]

        def change(activations: torch.Tensor) -> torch.Tensor:
            for method in changes:
                activations = method.intervene(activations, painted, batch.painted.masks)
            return activations

        return ActivationTap(
            tuned.module,
            tuned.target_layer,
            size=tuned.preprocessing.size,
            grid=tuned.grid,
            change=change if changes else None,
        )

    def _again(self, inputs: torch.Tensor) -> torch.Tensor:
        # Past the wrapper of several processes, which counts on one forward pass a step.
        return self.tuned.module(inputs)

    def _own_share(self, batch: Batch, extras: list[torch.Tensor | None]) -> tuple[Batch, list[torch.Tensor | None]]:
        """Return this process's images. All draw the same batch, so that their mean gradient is that of one process."""
        world, rank = self.fabric.world_size, self.fabric.global_rank
        if world == 1:
            return batch, extras
        mine = slice(rank, None, world)
        painted = batch.painted.take(np.arange(len(batch.painted))[mine])
        answers, painted_answers = batch.answers, batch.painted_answers
        own = Batch(
            batch.inputs[mine],
            batch.labels[mine],
            painted,
            answers=None if answers is None else answers[mine],
            painted_answers=None if painted_answers is None else painted_answers[mine],
        )
        return own, [None if extra is None else extra[mine] for extra in extras]

    def _strength(self, method: Method, penalty: torch.Tensor) -> float:
        if self.strength is not None:
            return self.strength
        if method.name not in self.strengths:
            # A fixed weight does not carry over from one model to the next, so it is set by the first penalty that there is.
            value = self._values({"penalty": penalty})["penalty"]
            if not np.isfinite(value) or value < MIN_PENALTY:
                return 1.0
            self.strengths[method.name] = PENALTY_AT_START / max(value, 1e-2)
        return self.strengths[method.name]

    def _values(self, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return the terms as numbers, each the mean over all processes."""
        stacked = torch.stack([value.detach().float() for value in terms.values()])
        if self.fabric.world_size > 1:
            reduced = self.fabric.all_reduce(stacked, reduce_op="mean")
            assert isinstance(reduced, torch.Tensor)
            stacked = reduced
        return dict(zip(terms, stacked.tolist(), strict=True))


def _task(
    logits: torch.Tensor, labels: torch.Tensor, answers: torch.Tensor | None, *, labels_too: bool
) -> dict[str, torch.Tensor]:
    """Return what the labelled images (N) add to the loss: by the teacher's answer where there is one, else by the label."""
    if answers is None:
        return {"cross-entropy": functional.cross_entropy(logits, labels)}
    known = has_answer(answers)
    # Sums over parts of the batch, so that each image counts alike.
    terms = {"distillation": distillation(logits[known], answers[known]).sum() / len(logits)}
    if labels_too:
        elsewhere = functional.cross_entropy(logits[~known], labels[~known], reduction="sum")
        terms["cross-entropy"] = elsewhere / len(logits)
    return terms
