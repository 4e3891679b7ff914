"""The retuning loop: fine-tune a copy with feedback, look now and then, return the best that was seen."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.processes import one_process
from napari_cam_feedback.retune.augmentation import augment
from napari_cam_feedback.retune.checks import Check, Checker
from napari_cam_feedback.retune.config import RetuneConfig
from napari_cam_feedback.retune.front import Front
from napari_cam_feedback.retune.head import HeadRefit
from napari_cam_feedback.retune.methods import Batch, Context, make_methods
from napari_cam_feedback.retune.painted import inpaint, read_painted
from napari_cam_feedback.retune.replacements import Replacer, needs_inpainting
from napari_cam_feedback.retune.results import RetuneResult, RetuneStep, Status
from napari_cam_feedback.retune.sampling import Sampler, choose_odds, schedule, some_of, split_images, wrong_at_start
from napari_cam_feedback.retune.snapshot import Snapshot, check_identity, draws_of, identity_of
from napari_cam_feedback.retune.trainer import Trainer
from napari_cam_feedback.retune.verdict import hardly_used, judge
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Images a step from which on batch norm may learn their statistics.
LEAST_FOR_BATCH_NORM = 32
#: Seconds of a step that a person who stops it can wait for.
SHORT_STEP = 0.1
#: Times that a run that went astray is rolled back before it is given up.
MOST_ROLLBACKS = 3


def retune(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    config: RetuneConfig | None = None,
    *,
    stop: Callable[[], bool] | None = None,
    resume: Snapshot | None = None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
    fabric: Fabric | None = None,
    trust: bool = False,
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
    resume : Snapshot, optional
        Where a run that was stopped is taken up again; the result is that of a run that was not stopped.
    on_snapshot : callable, optional
        Called with a snapshot after each look at the validation images.
    fabric : Fabric, optional
        Launched, to share the work among processes; by default this process alone, on the classifier's device.
    trust : bool
        The person agrees that the program of an inpainter runs.

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
        No usable painted image, or no training image; the method cannot be used with this network; the run to resume
        was another one.
    ConfigError
        The method or a part to freeze is unknown.
    ModelError
        The classifier is for other classes.
    MaskError, DataError
        A mask is not of its image's size; there is no split ``train``.
    ConsentNeeded
        The settings name an inpainter, and `trust` is not given.
    """
    check_fits(classifier, dataset)
    run = _Run(
        classifier,
        dataset,
        masks,
        config or RetuneConfig(),
        stop or (lambda: False),
        on_snapshot or (lambda _: None),
        fabric or one_process(classifier.device),
        trust,
    )
    return run.steps(resume)


class _Run:
    """One retune under way."""

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        masks: Mapping[str, np.ndarray],
        config: RetuneConfig,
        stop: Callable[[], bool],
        on_snapshot: Callable[[Snapshot], None],
        fabric: Fabric,
        trust: bool,
    ) -> None:
        self.given, self.dataset, self.config = classifier, dataset, config
        self.stop, self.on_snapshot, self.fabric = stop, on_snapshot, fabric
        self.cache = InputCache(dataset, classifier.preprocessing)
        painted = read_painted(dataset, masks, self.cache)
        if needs_inpainting(config):
            painted = inpaint(painted, config.inpainter, classifier.preprocessing, trust=trust)
        self.learnt, self.held_out = painted.hold_out(config.seed)
        self.methods = make_methods(config, Context(config, self.learnt, Replacer(config, self.learnt)))
        for method in self.methods:
            method.check(classifier)
        train, validation = split_images(dataset, self.learnt, self.held_out, config.seed)
        self.schedule = schedule(config, len(train), classifier.preprocessing.size)
        validation = some_of(validation, self.schedule.validation)
        held_masks = {key: np.asarray(masks[key]) != 0 for key in self.held_out.keys}
        self.checker = Checker(dataset, self.cache, validation, self.held_out, painted, held_masks, config.seed)
        self.identity = identity_of(classifier, config, painted.keys, masks, np.concatenate([train, validation]))
        self.tuned = classifier.copy()
        # Convolutions are about twice as fast on a CPU when the channels of a pixel lie together.
        self.tuned.module.to(memory_format=torch.channels_last)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        # Where surroundings are painted, only the painted images tell what to do; elsewhere their patches go everywhere.
        painted_per_step = config.painted_per_step or max(1, self.schedule.batch_size // (2 if painted.surroundings else 4))
        self.sampler = Sampler(dataset, self.cache, train, self.learnt, self.schedule.batch_size, painted_per_step)
        self.trainer = Trainer(
            self.tuned,
            self.methods,
            fabric,
            learning_rate=config.learning_rate,
            strength=config.strength,
            freeze=config.freeze,
            freeze_batch_norm=self._freezes_batch_norm(),
        )
        self.front = Front()
        self.history: list[dict[str, Any]] = []
        self.painted_history: list[dict[str, Any]] = []
        self.iteration, self.rollbacks, self.learning_rate = 0, 0, config.learning_rate
        self._seconds = math.inf  # of the last step
        self.before: Check
        self.snapshot: Snapshot | None = None

    def _freezes_batch_norm(self) -> bool:
        if self.config.freeze_batch_norm is not None:
            return self.config.freeze_batch_norm
        # Few images say little about a channel's mean and deviation.
        images = (self.sampler.batch_size + self.sampler.painted_per_step) // self.fabric.world_size
        return images < LEAST_FOR_BATCH_NORM or any(method.freezes_batch_norm for method in self.methods)

    def steps(self, resume: Snapshot | None) -> Generator[RetuneStep, None, RetuneResult]:
        """Yield the steps; the work of `retune`."""
        try:
            with self._interruptible():
                yield self._begin() if resume is None else self._take_up(resume)
        except Interrupted:
            raise RetuneError("Stopped before the first step; nothing was changed.") from None
        status = yield from self._solve() if self.methods[0].solves else self._train()
        self.tuned.module.load_state_dict(self.front.best.state)
        self.tuned.module.zero_grad(set_to_none=True)
        self.trainer.rest()
        return self._result(status)

    def _train(self) -> Generator[RetuneStep, None, Status]:
        """Take training steps, and tell how they ended."""
        plan, trainer = self.schedule, self.trainer
        while self.iteration < plan.iterations:
            iteration = self.iteration + 1
            trainer.set_learning_rate(self.learning_rate * _decay(iteration, plan.iterations))
            check = probabilities = trouble = None
            try:
                if self._stopped():
                    raise Interrupted
                # A short step need not be left in its middle, and asking at each layer costs.
                with nullcontext() if self._seconds < SHORT_STEP else self._interruptible():
                    started = time.perf_counter()
                    losses = self._step()
                    self._seconds = time.perf_counter() - started
                with self._interruptible():
                    if losses is not None and (iteration % plan.check_every == 0 or iteration == plan.iterations):
                        check, probabilities = self._check(iteration), self._look(iteration)
            except Interrupted:
                return "stopped"
            row: dict[str, Any] = {"iteration": iteration}
            if losses is None:
                losses, trouble = {}, "The loss became NaN"
            else:
                row |= {f"loss_{name}": value for name, value in losses.items()}
            if check is not None:
                row |= _flat(check)
                self.front.add(check, self.tuned.module)
                if iteration >= plan.iterations / 2 and self._worse(check):
                    # At first accuracy may dip while the network finds other features; later it should have them.
                    trouble = "The model became worse than it was"
            if trouble is not None:
                trouble += "; went back to the best so far, with smaller steps and less strength."
                row["message"] = trouble
                self._roll_back()
            self.history.append(row)
            self.iteration = iteration
            if check is not None:
                self._keep_snapshot()
            yield RetuneStep(iteration, plan.iterations, losses, self.learnt.keys, probabilities, check, trouble)
            if self.rollbacks == MOST_ROLLBACKS:
                return "rolled back"
        return "done"

    def _solve(self) -> Generator[RetuneStep, None, Status]:
        """Make the last layer anew: collect its features, then try one penalty after another."""
        self.trainer.rest()
        refit = HeadRefit(self.tuned, len(self.sampler.train), self.sampler.batch_size, self.schedule.iterations)
        for iteration in range(1, refit.iterations + 1):
            losses, check, probabilities = {}, None, None
            try:
                if self._stopped():
                    raise Interrupted
                with self._interruptible():
                    if iteration <= refit.batches:
                        batch = self._draw()
                        refit.collect(batch.inputs, batch.labels)
                    else:
                        losses = refit.fit(iteration - refit.batches - 1)
                        check, probabilities = self._check(iteration), self._look(iteration)
            except Interrupted:
                return "stopped"
            row: dict[str, Any] = {"iteration": iteration} | {f"loss_{name}": value for name, value in losses.items()}
            if check is not None:
                row |= _flat(check)
                self.front.add(check, self.tuned.module)
            self.history.append(row)
            yield RetuneStep(iteration, refit.iterations, losses, self.learnt.keys, probabilities, check)
        return "done"

    def _begin(self) -> RetuneStep:
        """Measure the classifier as it was given."""
        self.trainer.rest()
        self.before = self._agreed(lambda: self.checker.start(self.tuned))
        self.front.add(self.before, self.tuned.module)
        self.sampler.odds = choose_odds([method.odds for method in self.methods], self._wrong)
        probabilities = self._look(0)
        self.history.append({"iteration": 0, **_flat(self.before)})
        self._keep_snapshot()
        idle = next((method.without_odds for method in self.methods if method.without_odds), None)
        messages = [idle if self.sampler.odds is None else None, hardly_used(self.before)]
        message = " ".join(filter(None, messages)) or None
        return RetuneStep(0, self.schedule.iterations, {}, self.learnt.keys, probabilities, self.before, message)

    def _take_up(self, snapshot: Snapshot) -> RetuneStep:
        """Go on from where a snapshot was taken."""
        check_identity(snapshot, self.identity)
        self.sampler.odds = choose_odds([method.odds for method in self.methods], self._wrong)
        self.before, self.front = snapshot.before, Front(list(snapshot.checkpoints))
        self.history, self.painted_history = list(snapshot.history), list(snapshot.painted_history)
        self.iteration, self.rollbacks, self.learning_rate = snapshot.iteration, snapshot.rollbacks, snapshot.learning_rate
        self.tuned.module.load_state_dict(snapshot.module)
        self.trainer.restart(self.learning_rate)
        self.trainer.load_optimizer_state(snapshot.optimizer)
        self.trainer.strengths = dict(snapshot.strengths)
        self.rng.bit_generator.state = json.loads(snapshot.draws)
        self.generator.set_state(snapshot.noise)
        self.snapshot = snapshot
        return RetuneStep(self.iteration, self.schedule.iterations, {}, self.learnt.keys, None, None)

    def _wrong(self) -> np.ndarray:
        return wrong_at_start(self.given, self.dataset, self.cache, self.sampler.train, self.config.seed)

    def _draw(self) -> Batch:
        """Return the images of the next step."""
        batch = self.sampler.draw(self.rng)
        if self.config.augment or any(method.augments for method in self.methods):
            batch = augment(batch, self.generator, mirror=self.config.mirror)
        for method in self.methods:
            batch = method.change(batch, self.generator)
        return batch

    def _step(self) -> dict[str, float] | None:
        batch = self._draw()
        return self.trainer.step(batch, [method.extra_inputs(batch, self.generator) for method in self.methods])

    def _worse(self, check: Check) -> bool:
        """Whether a check is worse than the start; plain accuracy alone may fall, since the shortcut helped it."""
        chance = 1 / math.sqrt(check.scenes or check.n)
        return check.score < self.before.score and check.lying_accuracy < self.before.lying_accuracy - chance

    def _roll_back(self) -> None:
        self.rollbacks += 1
        self.tuned.module.load_state_dict(self.front.best.state)
        self.learning_rate /= 2
        self.trainer.restart(self.learning_rate)
        self.trainer.strengths = {name: value / 4 for name, value in self.trainer.strengths.items()}

    def _check(self, iteration: int) -> Check:
        self.trainer.rest()
        return self._agreed(lambda: self.checker(self.tuned, iteration))

    def _complete(self, check: Check) -> Check:
        return self._agreed(lambda: self.checker.complete(self.tuned, check))

    def _agreed(self, look: Callable[[], Check]) -> Check:
        if self.fabric.world_size == 1:
            return look()
        # One process looks, so that all decide alike.
        check = self.fabric.broadcast(look() if self.fabric.is_global_zero else None)
        assert check is not None
        return check

    def _look(self, iteration: int) -> np.ndarray:
        logits = torch.cat([self.tuned.logits(part).float().cpu() for part in self.learnt.inputs.split(64)])
        probabilities = logits.softmax(1).gather(1, self.learnt.labels[:, None])[:, 0].numpy()
        self.painted_history += [
            {"iteration": iteration, "key": key, "probability": float(p)}
            for key, p in zip(self.learnt.keys, probabilities, strict=True)
        ]
        return probabilities

    def _stopped(self) -> bool:
        return self.stop() if self.fabric.world_size == 1 else bool(self.fabric.broadcast(self.stop()))

    def _interruptible(self) -> AbstractContextManager[None]:
        # Of several processes none may leave the others waiting within a step.
        return interruptible(self.tuned.module, self.stop) if self.fabric.world_size == 1 else nullcontext()

    def _keep_snapshot(self) -> None:
        self.snapshot = Snapshot(
            identity=self.identity,
            iteration=self.iteration,
            learning_rate=self.learning_rate,
            rollbacks=self.rollbacks,
            strengths=dict(self.trainer.strengths),
            draws=draws_of(self.rng),
            noise=self.generator.get_state(),
            module={name: tensor.detach().clone() for name, tensor in self.tuned.module.state_dict().items()},
            optimizer=self.trainer.optimizer_state(),
            before=self.before,
            checkpoints=tuple(self.front.checkpoints),
            history=list(self.history),
            painted_history=list(self.painted_history),
        )
        self.on_snapshot(self.snapshot)

    def _result(self, status: Status) -> RetuneResult:
        before, after = self.before, self._complete(self.front.best.check)
        verdict = judge(before, after, held_out=self.held_out is not self.learnt)
        self.tuned.module.to(memory_format=torch.contiguous_format)
        self.tuned.__dict__.pop("head", None)
        self.tuned.info = {
            **self.given.info,
            "retune": {
                "config": self.config.model_dump(mode="json"),
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
            checkpoints=tuple(self.front.checkpoints),
            snapshot=self.snapshot if status == "stopped" else None,
        )


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
