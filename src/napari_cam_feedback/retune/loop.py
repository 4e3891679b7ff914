"""The retuning loop: fine-tune a copy with feedback, look now and then, return the best that was seen."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.interrupt import Interrupted, interruptible
from napari_cam_feedback.retune.checks import Check, Checker
from napari_cam_feedback.retune.config import RetuneConfig
from napari_cam_feedback.retune.methods import Batch, Method, Outputs, make_methods
from napari_cam_feedback.retune.painted import Painted, read_painted
from napari_cam_feedback.retune.verdict import Verdict, judge
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
functional = torch.nn.functional

#: Nats that the penalty starts with when nobody chose its strength.
PENALTY_AT_START = 1.0
#: Images a step from which on batch norm may learn their statistics.
LEAST_FOR_BATCH_NORM = 32
#: Times that a run that went astray is rolled back before it is given up.
MOST_ROLLBACKS = 3

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
    check : Check or None
        Validation measures, where this step looked.
    message : str or None
        Something the person should know.
    """

    iteration: int
    iterations: int
    losses: dict[str, float]
    painted_keys: tuple[str, ...]
    painted_probabilities: np.ndarray | None = None
    check: Check | None = None
    message: str | None = None


@dataclass(frozen=True)
class RetuneResult:
    """How a retune ended.

    Attributes
    ----------
    classifier : Classifier
        The best seen; weights of its own. The classifier given is as it was.
    config : RetuneConfig
        Settings as they were given.
    status : str
        ``done``; ``stopped`` by the person; ``rolled back`` because it kept going astray.
    verdict : Verdict
        Whether it helped.
    before, after : Check
        Validation measures of the classifier given and of the one returned.
    selected_iteration : int
        Where the one returned was; 0 where nothing better than the start was seen.
    painted_keys : tuple of str
        Images learnt from.
    held_out_keys : tuple of str
        Painted images kept out to judge by; the same as those learnt from where there were too few.
    history : list of dict
        One row a step: iteration, loss terms, and validation measures where it looked.
    painted_history : list of dict
        Probability of the true class of each painted image where it looked: iteration, key, probability.
    skipped : dict
        Key and sentence for each image that could not be read.
    """

    classifier: Classifier
    config: RetuneConfig
    status: Status
    verdict: Verdict
    before: Check
    after: Check
    selected_iteration: int
    painted_keys: tuple[str, ...]
    held_out_keys: tuple[str, ...]
    history: list[dict[str, Any]] = field(repr=False)
    painted_history: list[dict[str, Any]] = field(repr=False)
    skipped: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values of everything but weights and history."""
        return {
            "status": self.status,
            "verdict": {"name": self.verdict.name, "reason": self.verdict.reason},
            "selected_iteration": self.selected_iteration,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "painted": list(self.painted_keys),
            "held_out": list(self.held_out_keys),
            "skipped": self.skipped,
        }


def retune(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    config: RetuneConfig | None = None,
    *,
    stop: Callable[[], bool] | None = None,
) -> Generator[RetuneStep, None, RetuneResult]:
    """Fine-tune a copy of a classifier so that it stops using what is painted.

    Training images are those of the split ``train``; painted images may be of any split but the test ones. The
    validation images are those of ``val``, or a fifth of the training images where there is none.

    Parameters
    ----------
    classifier : Classifier
        What to retune; it is not changed.
    dataset : Dataset
        Images with labels.
    masks : mapping
        Key to (H, W) bool, true where the image is irrelevant.
    config : RetuneConfig, optional
        Settings.
    stop : callable, optional
        Asked before each step; True ends the run with the best so far.

    Yields
    ------
    RetuneStep
        One a step, and one before the first.

    Returns
    -------
    RetuneResult
        As the generator's value; `run_to_end` gives it.

    Raises
    ------
    RetuneError
        No usable painted image, or no training image.
    ConfigError
        The method is unknown.
    ModelError
        The classifier is for other classes.
    MaskError, DataError
        A mask is not of its image's size; there is no split ``train``.
    """
    config = config or RetuneConfig()
    stop = stop or (lambda: False)
    check_fits(classifier, dataset)
    return _Run(classifier, dataset, masks, config, stop).steps()


def run_to_end(
    steps: Generator[RetuneStep, None, RetuneResult], on_step: Callable[[RetuneStep], None] | None = None
) -> RetuneResult:
    """Run a retune through, handing each step to `on_step`, and return its result."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if on_step is not None:
            on_step(step)


class _Run:
    """One retune under way."""

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        masks: Mapping[str, np.ndarray],
        config: RetuneConfig,
        stop: Callable[[], bool],
    ) -> None:
        self.given = classifier
        self.config = config
        self.stop = stop
        self.dataset = dataset
        self.cache = InputCache(dataset, classifier.preprocessing)
        painted = read_painted(dataset, masks, self.cache)
        self.learnt, self.held_out = painted.hold_out(config.seed)
        self.methods = make_methods(config, self.learnt)
        self.train_indices, validation = self._split()
        held_masks = {key: np.asarray(masks[key]) != 0 for key in self.held_out.keys}
        self.checker = Checker(dataset, self.cache, validation, self.held_out, painted, held_masks, config.seed)
        self.tuned = classifier.copy()
        # Convolutions are about twice as fast on a CPU when the channels of a pixel lie together.
        self.tuned.module.to(memory_format=torch.channels_last)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.batch_size = min(config.batch_size or _batch_for(classifier.preprocessing.size), len(self.train_indices))
        self.painted_per_step = config.painted_per_step or max(1, self.batch_size // 4)
        self.freeze_batch_norm = config.freeze_batch_norm
        if self.freeze_batch_norm is None:
            # Few images say little about a channel's mean and deviation.
            few = self.batch_size + self.painted_per_step < LEAST_FOR_BATCH_NORM
            self.freeze_batch_norm = few or any(method.freezes_batch_norm for method in self.methods)
        self.strengths: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        self.painted_history: list[dict[str, Any]] = []

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        dataset = self.dataset
        train = dataset.indices("train")
        train = train[dataset.labels[train] >= 0]
        # What is learnt from is not judged by, and the other way round; only a few painted images are both.
        learnt, held = set(self.learnt.indices.tolist()), set(self.held_out.indices.tolist())
        validation = dataset.indices("val") if "val" in dataset.split_names else np.empty(0, np.int64)
        validation = np.array([i for i in validation if dataset.labels[i] >= 0 and int(i) not in learnt], np.int64)
        if not len(validation):
            free = np.array([i for i in train if int(i) not in learnt], np.int64)
            order = np.random.default_rng(self.config.seed).permutation(free)
            validation = np.sort(order[: max(1, len(train) // 5)])
        apart = set(validation.tolist()) | (held - learnt)
        train = np.array([i for i in train if int(i) not in apart], np.int64)
        if len(train) < 2 or len(validation) < 1:
            raise RetuneError("There are too few labelled training images to retune with; add images to the split train.")
        # Whole epochs of a large validation split would take longer than the training between two looks.
        if len(validation) > 500:
            validation = np.sort(np.random.default_rng(0).choice(validation, 500, replace=False))
        return train, validation

    def steps(self) -> Generator[RetuneStep, None, RetuneResult]:
        """Yield the steps; the work of `retune`."""
        config, module = self.config, self.tuned.module
        try:
            with interruptible(module, self.stop):
                before = self.checker(self.tuned, 0)
        except Interrupted:
            raise RetuneError("Stopped before the first step; nothing was changed.") from None
        best, best_state, best_probabilities = before, copy.deepcopy(module.state_dict()), self._look(0)
        self.history.append({"iteration": 0, **_flat(before)})
        yield RetuneStep(0, config.iterations, {}, self.learnt.keys, best_probabilities, before)
        status: Status = "done"
        rollbacks = 0
        learning_rate = config.learning_rate
        optimizer = self._optimizer(learning_rate)
        for iteration in range(1, config.iterations + 1):
            optimizer.param_groups[0]["lr"] = learning_rate * _decay(iteration, config.iterations)
            check = probabilities = trouble = None
            try:
                with interruptible(module, self.stop):
                    losses = self._step(optimizer)
                    if losses is not None and (iteration % config.check_every == 0 or iteration == config.iterations):
                        self._rest()
                        check, probabilities = self.checker(self.tuned, iteration), self._look(iteration)
            except Interrupted:
                status = "stopped"
                break
            row: dict[str, Any] = {"iteration": iteration}
            if losses is None:
                losses, trouble = {}, "The loss became NaN"
            else:
                row |= {f"loss_{name}": value for name, value in losses.items()}
            if check is not None:
                row |= _flat(check)
                if check.score > best.score:
                    best, best_state = check, copy.deepcopy(module.state_dict())
                elif iteration >= config.iterations / 3 and check.score < before.score:
                    # At first accuracy may dip while the network finds other features; later it should have them.
                    trouble = "The model became worse than it was"
            if trouble is not None:
                rollbacks += 1
                trouble += "; went back to the best so far, with smaller steps and less strength."
                module.load_state_dict(best_state)
                learning_rate /= 2
                optimizer = self._optimizer(learning_rate)
                self.strengths = {name: value / 4 for name, value in self.strengths.items()}
                row["message"] = trouble
            self.history.append(row)
            yield RetuneStep(iteration, config.iterations, losses, self.learnt.keys, probabilities, check, trouble)
            if rollbacks == MOST_ROLLBACKS:
                status = "rolled back"
                break
        module.load_state_dict(best_state)
        module.zero_grad(set_to_none=True)
        self._rest()
        return self._result(status, before, best)

    def _optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.tuned.module.parameters(), lr=learning_rate)

    def _rest(self) -> None:
        self.tuned.module.eval().requires_grad_(False)

    def _wake(self) -> None:
        module = self.tuned.module.requires_grad_(True)
        # Evaluation mode but for batch norm, if that is to learn: dropout would blur the penalty.
        module.eval()
        if not self.freeze_batch_norm:
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.train()

    def _step(self, optimizer: torch.optim.Optimizer) -> dict[str, float] | None:
        """Take one step; return the loss terms, or None (and leave the weights) where the loss is not a number."""
        device = self.tuned.device
        picked = self.rng.choice(self.train_indices, self.batch_size, replace=False)
        positions = self.rng.integers(len(self.learnt), size=self.painted_per_step)
        if len(self.learnt) >= self.painted_per_step:
            positions = self.rng.choice(len(self.learnt), self.painted_per_step, replace=False)
        found = next(self.cache.batches(picked, len(picked)), None)
        if found is None:
            raise RetuneError("The training images cannot be read any more; check that the dataset is still there.")
        indices, inputs = found
        labels = torch.from_numpy(self.dataset.labels[indices].astype(np.int64))
        batch = Batch(inputs, labels, self.learnt.take(positions))
        for method in self.methods:
            batch = method.change(batch, self.generator)
        extras = [method.extra_inputs(batch, self.generator) for method in self.methods]
        stacked = torch.cat([batch.inputs, batch.painted.inputs, *(e for e in extras if e is not None)])
        self._wake()
        with torch.enable_grad(), self.tuned.tap() as tap:
            logits = self.tuned.module(stacked.to(device))
            activations = tap.take()
            batch = _to(batch, device)
            labelled = len(batch.inputs) + len(batch.painted)
            truth = torch.cat([batch.labels, batch.painted.labels])
            terms = {"cross-entropy": functional.cross_entropy(logits[:labelled], truth)}
            start = labelled
            for method, extra in zip(self.methods, extras, strict=True):
                end = start + (0 if extra is None else len(extra))
                painted = slice(len(batch.inputs), labelled)
                outputs = Outputs(
                    activations[painted],
                    logits[painted],
                    None if extra is None else activations[start:end],
                    None if extra is None else logits[start:end],
                )
                start = end
                penalty = method.penalty(batch, outputs)
                if penalty is not None:
                    terms[method.name] = penalty * self._strength(method, float(penalty.detach()))
            total = torch.stack(list(terms.values())).sum()
            values = {name: float(value.detach()) for name, value in terms.items()} | {"total": float(total.detach())}
            if not np.isfinite(values["total"]):
                return None
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(self.tuned.module.parameters(), 5.0)
            optimizer.step()
        return values

    def _strength(self, method: Method, value: float) -> float:
        if self.config.strength is not None:
            return self.config.strength
        if method.name not in self.strengths:
            # A fixed weight does not carry over from one model to the next, so it is set by the first penalty.
            self.strengths[method.name] = PENALTY_AT_START / max(value, 1e-2) if np.isfinite(value) else 1.0
        return self.strengths[method.name]

    def _look(self, iteration: int) -> np.ndarray:
        logits = torch.cat([self.tuned.logits(part).float().cpu() for part in self.learnt.inputs.split(64)])
        probabilities = logits.softmax(1).gather(1, self.learnt.labels[:, None])[:, 0].numpy()
        self.painted_history += [
            {"iteration": iteration, "key": key, "probability": float(p)}
            for key, p in zip(self.learnt.keys, probabilities, strict=True)
        ]
        return probabilities

    def _result(self, status: Status, before: Check, after: Check) -> RetuneResult:
        verdict = judge(before, after, held_out=self.held_out is not self.learnt)
        self.tuned.module.to(memory_format=torch.contiguous_format)
        self.tuned.__dict__.pop("head", None)
        self.tuned.info = {
            **self.given.info,
            "retune": {
                "config": self.config.model_dump(),
                "status": status,
                "iteration": after.iteration,
                "painted": len(self.learnt) + (len(self.held_out) if self.held_out is not self.learnt else 0),
                "verdict": verdict.name,
            },
        }
        return RetuneResult(
            classifier=self.tuned,
            config=self.config,
            status=status,
            verdict=verdict,
            before=before,
            after=after,
            selected_iteration=after.iteration,
            painted_keys=self.learnt.keys,
            held_out_keys=self.held_out.keys,
            history=self.history,
            painted_history=self.painted_history,
            skipped=dict(self.cache.skipped),
        )


def _batch_for(size: tuple[int, int]) -> int:
    """Training images a step by the input's size: what a laptop's processor does in a few tenths of a second."""
    longest = max(size)
    return 64 if longest <= 48 else 32 if longest <= 96 else 16


def _decay(iteration: int, iterations: int) -> float:
    """Half a cosine from 1 down to a twentieth, so that the last steps settle."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * (iteration - 1) / iterations)) / 2


def _flat(check: Check) -> dict[str, float | None]:
    return {
        "val_accuracy": check.accuracy,
        "val_misled_accuracy": check.misled_accuracy,
        "val_misled_flip_rate": check.misled_flip_rate,
        "held_out_flip_rate": check.held_out.flip_rate,
        "held_out_masked_accuracy": check.held_out.masked_accuracy,
        "held_out_mask_share": check.held_out.mask_share,
    }


def _to(batch: Batch, device: torch.device) -> Batch:
    p = batch.painted
    painted = Painted(p.indices, p.keys, p.inputs.to(device), p.masks.to(device), p.labels.to(device))
    return Batch(batch.inputs.to(device), batch.labels.to(device), painted)
