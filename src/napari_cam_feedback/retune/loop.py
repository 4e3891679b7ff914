"""The retuning loop: fine-tune a copy with feedback, look now and then, return the best that was seen."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.evaluate.provenance import package_versions
from napari_cam_feedback.models.classes_shown import classes_remark, unseen_classes
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.processes import one_process
from napari_cam_feedback.retune.augmentation import augment
from napari_cam_feedback.retune.averaging import WeightAverage
from napari_cam_feedback.retune.checks import Check, Checker
from napari_cam_feedback.retune.config import RetuneConfig
from napari_cam_feedback.retune.front import Front, State, between, choose, copy_of
from napari_cam_feedback.retune.guard import Guard
from napari_cam_feedback.retune.head import HeadRefit
from napari_cam_feedback.retune.learning_rate import FIRST_LEARNING, MIN_SEARCHED, RateSearch, first_rate, steps_of_trial
from napari_cam_feedback.retune.methods import Batch, Context, make_methods
from napari_cam_feedback.retune.pace import Pace
from napari_cam_feedback.retune.painted import inpaint, read_painted, separate
from napari_cam_feedback.retune.replacements import Replacer, needs_inpainting
from napari_cam_feedback.retune.results import RetuneResult, RetuneStep, Status
from napari_cam_feedback.retune.sampling import Sampler, choose_odds, schedule, some_of, split_images, wrong_at_start
from napari_cam_feedback.retune.snapshot import Position, Snapshot, check_identity, draws_of, identity_of
from napari_cam_feedback.retune.teacher import Teacher
from napari_cam_feedback.retune.trainer import Trainer
from napari_cam_feedback.retune.verdict import fell_beyond_chance, hardly_used, judge
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Images a step from which on batch norm may learn their statistics.
LEAST_FOR_BATCH_NORM = 32
#: Seconds of a step that a person who stops it can wait for.
SHORT_STEP = 0.1
#: Parts of the way from the given weights to the best that are looked at, too.
SHARES = (0.75, 0.5, 0.25)


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
    complete: bool = True,
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
    complete : bool
        Whether a run that is stopped still takes the measures that only the end of a run takes, which lasts seconds with a
        large network; its verdict says what it lacks without them, and `take_checkpoint` takes them later.

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
        complete,
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
        complete: bool,
    ) -> None:
        self.complete = complete
        self.given, self.dataset, self.config = classifier, dataset, config
        self.stop, self.on_snapshot, self.fabric = stop, on_snapshot, fabric
        self.cache = InputCache(dataset, classifier.preprocessing)
        painted = separate(read_painted(dataset, masks, self.cache))
        if needs_inpainting(config):
            painted = inpaint(painted, config.inpainter, classifier.preprocessing, trust=trust)
        self.learnt, self.held_out = painted.hold_out(config.seed)
        train, validation = split_images(dataset, self.learnt, self.held_out, config.seed)
        unseen = len(unseen_classes(dataset, classifier.num_classes))
        few = unseen >= classifier.num_classes / 2
        self.methods = make_methods(config, Context(config, self.learnt, Replacer(config, self.learnt), few))
        for method in self.methods:
            method.check(classifier)
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
            learning_rate=config.learning_rate or FIRST_LEARNING,
            strength=config.strength,
            freeze=config.freeze,
            freeze_batch_norm=self._freezes_batch_norm(),
            # The labels of few of many classes push all others down, and teach less than that costs.
            labels_too=not few,
        )
        distils = config.distillation
        if distils is None:
            # Where batch norm learns, a small network must find features that its own answers do not show.
            lacking = unseen > 0 or not self.trainer.learning_batch_norm
            distils = config.method == "auto" and not painted.surroundings and lacking
        self.teacher = Teacher(classifier) if distils else None
        self.average = WeightAverage(self.tuned.module, self.trainer.learning_batch_norm)
        self.front = Front()
        self.path: list[Check] = []
        self.history: list[dict[str, Any]] = []
        self.painted_history: list[dict[str, Any]] = []
        self.iteration = 0
        self.pace = Pace(config.learning_rate, self.schedule.patience)
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
        if self.methods[0].solves:
            status = yield from self._solve()
        else:
            status = yield from self._train()
            yield from self._walk(status)
        chosen = choose(self.front, self.path)
        self.tuned.module.load_state_dict(self.front.state_of(chosen, self._given_state))
        self.tuned.module.zero_grad(set_to_none=True)
        self.trainer.rest()
        return self._result(status, chosen)

    @cached_property
    def _given_state(self) -> State:
        return self.given.module.state_dict()

    # Training ---------------------------------------------------------------------------------------------

    def _train(self) -> Generator[RetuneStep, None, Status]:
        """Find the learning rate where none is given, take training steps, and tell how they ended."""
        if self.pace.learning_rate is None and not (yield from self._find_rate()):
            return "stopped"
        plan, trainer, pace = self.schedule, self.trainer, self.pace
        while self.iteration < plan.iterations:
            iteration = self.iteration + 1
            assert pace.learning_rate is not None
            # A given number of steps is known to end, so they settle along a cosine; else the mean of the weights settles.
            decay = _decay(iteration, plan.iterations) if plan.patience is None else 1.0
            trainer.set_learning_rate(pace.learning_rate * decay)
            check = probabilities = message = None
            try:
                if self._stopped():
                    raise Interrupted
                # A short step need not be left in its middle, and asking at each layer costs.
                with nullcontext() if self._seconds < SHORT_STEP else self._interruptible():
                    started = time.perf_counter()
                    losses = self._step()
                    self._seconds = time.perf_counter() - started
                trouble = self._watch(losses)
                with self._interruptible():
                    if trouble is None and (iteration % plan.check_every == 0 or iteration == plan.iterations):
                        check, probabilities = self._look(iteration)
            except Interrupted:
                return "stopped"
            row: dict[str, Any] = {"iteration": iteration, "learning_rate": pace.learning_rate * decay}
            row |= _named(losses or {})
            if check is not None:
                row |= _flat(check)
                decision = pace.look(check, self.before, iterations=plan.iterations, may_climb=self._may_climb)
                message = decision.message
                if decision.back:
                    self._go_back()
            if trouble is not None:
                message = pace.collapse(trouble)
                self.trainer.strengths = {name: value / 4 for name, value in self.trainer.strengths.items()}
                self._go_back()
            if message is not None:
                row["message"] = message
            self.history.append(row)
            self.iteration = iteration
            if check is not None:
                self._keep_snapshot()
            yield RetuneStep(iteration, plan.iterations, losses or {}, self.learnt.keys, probabilities, check, message)
            if pace.ended is not None:
                return pace.ended
        return "done"

    def _find_rate(self) -> Generator[RetuneStep, None, bool]:
        """Try learning rates from the given weights on the same images, and go on from the best one's last step.

        Returns whether that came to its end; it does not where the user stops it.
        """
        learns_batch_norm = bool(self.trainer.learning_batch_norm)
        if self.config.iterations is not None and self.config.iterations < MIN_SEARCHED:
            self.pace.learning_rate, self.pace.chosen = first_rate(learns_batch_norm), "Not searched for in so few steps."
            return True
        search = RateSearch(learns_batch_norm)
        images = self.sampler.batch_size + self.sampler.painted_per_step
        count = steps_of_trial(images, self.given.preprocessing.size)
        start = self._position()
        kept: tuple[Position, list[dict[str, Any]], float] | None = None
        rows: list[dict[str, Any]]
        losses: Any
        while (rate := search.following()) is not None:
            self._restore(start)
            self.trainer.restart(rate)
            rows, losses = [], []
            try:
                for number in range(1, count + 2):
                    if self._stopped():
                        raise Interrupted
                    with self._interruptible():
                        found = self._step() or {}
                    assert self.trainer.last is not None
                    losses.append(self.trainer.last.loss)
                    rows.append({"iteration": number, "learning_rate": rate, **_named(found)})
                    yield RetuneStep(0, self.schedule.iterations, {}, self.learnt.keys, trying=rate)
            except Interrupted:
                self._restore(start)
                return False
            search.tell(rate, losses)
            if search.best == rate:
                kept = self._position(), rows, losses[0]
        assert kept is not None
        position, rows, at_start = kept
        pace, message = self.pace, search.describe()
        pace.learning_rate, pace.chosen, pace.guard = search.best, message, Guard(at_start)
        if self.config.iterations is not None:
            # Just so many steps were asked for, along a cosine.
            self._restore(start)
            self.trainer.restart(search.best)
            self.history[-1]["message"] = message
            yield RetuneStep(0, self.schedule.iterations, {}, self.learnt.keys, message=message)
            return True
        self._restore(position)
        rows[-1]["message"] = message
        for row in rows:
            self.history.append(row)
            self.iteration = row["iteration"]
            losses = {key.removeprefix("loss_"): value for key, value in row.items() if key.startswith("loss_")}
            said = row.get("message")
            yield RetuneStep(self.iteration, self.schedule.iterations, losses, self.learnt.keys, message=said)
        return True

    def _walk(self, status: Status) -> Generator[RetuneStep, None, None]:
        """Look at weights between the given and the best ones (WiSE-FT, Wortsman et al. 2022).

        They are a whole front between knowing what was known and leaving the shortcut, for the price of a few looks.
        """
        best = self.front.best
        if status == "stopped" or best.check.iteration == 0 or self.trainer.learning_batch_norm:
            # Statistics of batch norm that were learnt fit their own weights only.
            return
        self.trainer.rest()
        for share in (1.0, *SHARES):
            try:
                with self._interruptible():
                    if self._stopped():
                        return
                    self.tuned.module.load_state_dict(between(self._given_state, best.state, share))
                    check = best.check if share == 1 else replace(self._check(best.check.iteration), share=share)
                    if fell_beyond_chance(check):
                        # Each may be taken in the end, and its verdict must tell then whether something was forgotten.
                        check = self._agreed(partial(self.checker.neutral, self.tuned, check))
            except Interrupted:
                return
            if share == 1:
                self.front.measure_again(check)
                continue
            self.path.append(check)
            self.history.append({"iteration": check.iteration, "share": share, **_flat(check)})
            yield RetuneStep(self.iteration, self.schedule.iterations, {}, self.learnt.keys, None, check)

    def _watch(self, losses: dict[str, float] | None) -> str | None:
        """Return what went wrong in a step, where something did."""
        last = self.trainer.last
        assert last is not None
        trouble = self.pace.guard.watch(None if losses is None else last.loss, last.predicted, last.labels)
        if self.fabric.world_size > 1:
            # Each process sees its own images; all must decide alike.
            trouble = self.fabric.broadcast(trouble)
        return trouble

    def _look(self, iteration: int) -> tuple[Check, np.ndarray]:
        """Measure the mean of the weights, and keep it where no other is better in everything."""
        with self.average.applied():
            check, probabilities = self._check(iteration), self._painted_probabilities(iteration)
            self.front.add(check, self.tuned.module)
        return check, probabilities

    @property
    def _may_climb(self) -> bool:
        # A pretrained network has the features that it needs, and larger steps only destroy them.
        return self.config.learning_rate is None and bool(self.trainer.learning_batch_norm)

    def _go_back(self) -> None:
        """Go on from the best weights so far, with an optimizer that remembers no step."""
        assert self.pace.learning_rate is not None
        self.tuned.module.load_state_dict(self.front.best.state)
        self.average.restart()
        self.trainer.restart(self.pace.learning_rate)

    def _position(self) -> Position:
        """Return where training stands, to come back to it."""
        return Position(
            module=copy_of(self.tuned.module.state_dict()),
            optimizer=self.trainer.optimizer_state(),
            strengths=dict(self.trainer.strengths),
            average=self.average.to_plain(),
            draws=draws_of(self.rng),
            noise=self.generator.get_state(),
        )

    def _restore(self, position: Position) -> None:
        """Come back to where training stood."""
        self.tuned.module.load_state_dict(position.module)
        self.trainer.restart(FIRST_LEARNING)
        self.trainer.load_optimizer_state(position.optimizer)
        self.trainer.strengths = dict(position.strengths)
        self.average.load_plain(position.average)
        self.rng.bit_generator.state = json.loads(position.draws)
        self.generator.set_state(position.noise)

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
                        check, probabilities = self._check(iteration), self._painted_probabilities(iteration)
            except Interrupted:
                return "stopped"
            row: dict[str, Any] = {"iteration": iteration, **_named(losses)}
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
        probabilities = self._painted_probabilities(0)
        idle = next((method.without_odds for method in self.methods if method.without_odds), None)
        messages = [idle if self.sampler.odds is None else None, hardly_used(self.before), *self._remarks()]
        message = " ".join(filter(None, messages)) or None
        said = {} if message is None else {"message": message}
        self.history.append({"iteration": 0, **_flat(self.before), **said})
        self._keep_snapshot()
        return RetuneStep(0, self.schedule.iterations, {}, self.learnt.keys, probabilities, self.before, message)

    def _remarks(self) -> list[str | None]:
        """What the user should know before the first step."""
        overlay = self.learnt.overlay
        return [None if overlay is None else overlay.sentence, classes_remark(self.dataset, self.given)]

    def _take_up(self, snapshot: Snapshot) -> RetuneStep:
        """Go on from where a snapshot was taken."""
        check_identity(snapshot, self.identity)
        self.sampler.odds = choose_odds([method.odds for method in self.methods], self._wrong)
        self.before, self.front = snapshot.before, Front(list(snapshot.checkpoints))
        self.checker.remember(self.given, self.before)
        self.history, self.painted_history = list(snapshot.history), list(snapshot.painted_history)
        self.iteration, self.pace = snapshot.iteration, Pace.from_plain(snapshot.pace)
        self._restore(snapshot.position)
        self.snapshot = snapshot
        return RetuneStep(self.iteration, self.schedule.iterations, {}, self.learnt.keys, None, None)

    def _wrong(self) -> np.ndarray:
        return wrong_at_start(self.given, self.dataset, self.cache, self.sampler.train, self.config.seed)

    def _draw(self) -> Batch:
        """Return the images of the next step."""
        batch = self.sampler.draw(self.rng)
        if self.teacher is not None:
            batch = self.teacher.answer(batch)
        if self.config.augment or any(method.augments for method in self.methods):
            batch = augment(batch, self.generator, mirror=self.config.mirror)
        for method in self.methods:
            batch = method.change(batch, self.generator)
        return batch

    def _step(self) -> dict[str, float] | None:
        batch = self._draw()
        losses = self.trainer.step(batch, [method.extra_inputs(batch, self.generator) for method in self.methods])
        if losses is not None:
            assert self.trainer.inputs is not None
            self.average.update(self.trainer.inputs)
        return losses

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

    def _painted_probabilities(self, iteration: int) -> np.ndarray:
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
            pace=self.pace.to_plain(),
            position=self._position(),
            before=self.before,
            checkpoints=tuple(self.front.checkpoints),
            history=list(self.history),
            painted_history=list(self.painted_history),
        )
        self.on_snapshot(self.snapshot)

    def _resolved(self) -> dict[str, Any]:
        """What was left open in the settings, as it was carried out."""
        return {
            "method": "+".join(method.name for method in self.methods),
            "learning_rate": self.pace.learning_rate,
            "learning_rate_chosen": self.pace.chosen,
            "strength": dict(self.trainer.strengths) if self.config.strength is None else self.config.strength,
            "distillation": self.teacher is not None,
            "batch_size": self.sampler.batch_size,
            "painted_per_step": self.sampler.painted_per_step,
            "iterations": self.iteration,
            "iterations_at_most": self.schedule.iterations,
            "check_every": self.schedule.check_every,
            "patience": self.schedule.patience,
            "validation_images": len(self.checker.validation),
            "freeze_batch_norm": self.trainer.freeze_batch_norm,
            "target_layer": self.given.target_layer,
            "refill": self.config.fill,
            "seed": self.config.seed,
            "device": str(self.fabric.device),
            "threads": torch.get_num_threads(),
            "versions": package_versions(),
        }

    def _result(self, status: Status, chosen: Check) -> RetuneResult:
        before, after = self.before, self._complete(chosen) if self.complete or status != "stopped" else chosen
        verdict = judge(before, after, held_out=self.held_out is not self.learnt, troubles=self.pace.troubles)
        self.tuned.module.to(memory_format=torch.contiguous_format)
        self.tuned.__dict__.pop("head", None)
        self.tuned.info = {
            **self.given.info,
            "retune": {
                "config": self.config.model_dump(mode="json"),
                "status": status,
                "iteration": after.iteration,
                "share": after.share,
                "painted": len(self.learnt) + (len(self.held_out) if self.held_out is not self.learnt else 0),
                "verdict": verdict.name,
                "resolved": self._resolved(),
            },
        }
        return RetuneResult(
            classifier=self.tuned,
            given=self.given,
            config=self.config,
            resolved=self._resolved(),
            status=status,
            verdict=verdict,
            before=before,
            after=after,
            selected_iteration=after.iteration,
            selected_share=after.share,
            painted_keys=self.learnt.keys,
            held_out_keys=self.held_out.keys,
            history=self.history,
            painted_history=self.painted_history,
            skipped=dict(self.cache.skipped),
            checkpoints=tuple(self.front.checkpoints),
            path=tuple(self.path),
            snapshot=self.snapshot if status == "stopped" else None,
            troubles=tuple(self.pace.troubles),
        )


def _decay(iteration: int, iterations: int) -> float:
    """Half a cosine from 1 down to a twentieth, so that the last steps settle."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * (iteration - 1) / iterations)) / 2


def _named(losses: Mapping[str, float]) -> dict[str, float]:
    return {f"loss_{name}": value for name, value in losses.items()}


def _flat(check: Check) -> dict[str, float | None]:
    return {
        "val_accuracy": check.accuracy,
        "val_misled_accuracy": check.misled_accuracy,
        "val_misled_flip_rate": check.misled_flip_rate,
        "held_out_flip_rate": check.held_out.flip_rate,
        "held_out_masked_accuracy": check.held_out.masked_accuracy,
        "held_out_mask_share": check.held_out.mask_share,
    }
