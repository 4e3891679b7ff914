"""One retune under way: what it learns from, where its training stands, and how it is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.models.classes_shown import classes_remark, unseen_classes
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.layers.interrupt import interruptible
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.retuning.automatic import distils
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.images.masked_set import inpaint, read_feedback
from napari_cam_feedback.retuning.images.refill import Replacer
from napari_cam_feedback.retuning.images.sampling import (
    Sampler,
    augment,
    balanced_by_style,
    choose_sampling_weights,
    wrong_at_start,
)
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics, knows_little_else, little_else_sentence
from napari_cam_feedback.retuning.judging.pareto import ParetoFront, State, copy_of
from napari_cam_feedback.retuning.judging.run_images import run_images
from napari_cam_feedback.retuning.judging.verdict import hardly_used
from napari_cam_feedback.retuning.methods import Batch, Context, make_methods
from napari_cam_feedback.retuning.methods.usage import needs_inpainting
from napari_cam_feedback.retuning.optimisation.averaging import WeightAverage
from napari_cam_feedback.retuning.optimisation.learning_rate import FIRST_RELEARNING, steps_of_trial
from napari_cam_feedback.retuning.optimisation.pace import Pace
from napari_cam_feedback.retuning.optimisation.teacher import Teacher
from napari_cam_feedback.retuning.optimisation.trainer import RetuneTrainer
from napari_cam_feedback.retuning.results import RetuneStep
from napari_cam_feedback.retuning.run_state import Position, RunState, check_identity, draws_of, identity_of
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Images a step from which on batch norm may learn their statistics.
MIN_BATCH_FOR_BATCH_NORM = 32


class RetuneRun:
    """One retune under way.

    `begin` or `take_up` comes first. Parameters are those of `retune`.

    Attributes
    ----------
    given, tuned : Classifier
        The one given, which stays as it is, and the copy under training.
    learnt, held_out : Painted
        Painted images to learn from, and to judge by.
    validator : Validator
        Measures a classifier on the validation images.
    pace : Pace
        Learning rate, patience, and how the run ended.
    front : ParetoFront
        Checkpoints worth keeping.
    path : list of ValidationMetrics
        Measures of weights between the given and the best ones.
    history, painted_history : list of dict
        As in `RetuneResult`.
    iteration : int
        Steps done.
    seconds : float
        Of the last step; infinite before the first.
    before : ValidationMetrics
        Of the classifier given.
    """

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        masks: Mapping[str, np.ndarray],
        config: RetuneConfig,
        monitor: Monitor,
        on_run_state: Callable[[RunState], None],
        fabric: Fabric,
        trust: bool,
        style: Style | None = None,
    ) -> None:
        self.given, self.dataset, self.config = classifier, dataset, config
        self.monitor, self.on_run_state, self.fabric = monitor, on_run_state, fabric
        self.cache = InputCache(dataset, classifier.preprocessing)
        # As they are now: the user, or another holder of the project, may go on painting.
        learnable = (dataset.keys[int(index)] for index in dataset.learnable())
        masks = {key: np.asarray(masks[key]) != 0 for key in learnable if key in masks}
        painted = read_feedback(dataset, masks, style, self.cache, config.seed)
        if needs_inpainting(config):
            painted = inpaint(painted, config.inpainter, classifier.preprocessing, trust=trust)
        self.style = style
        self.masks = {key: masks[key] for key in painted.keys if key in masks}
        images = run_images(dataset, self.cache, painted, masks, config)
        self.learnt, self.held_out, self.schedule = images.learnt, images.held_out, images.schedule
        self.validator = images.validator
        unseen = len(unseen_classes(dataset, classifier.num_classes))
        #: Whether the training images show at most half of the network's classes.
        self.few_classes = unseen >= classifier.num_classes / 2
        context = Context(config, self.learnt, Replacer(config, self.learnt), self.few_classes)
        self.methods = make_methods(config, context)
        for method in self.methods:
            method.check(classifier)
        items = np.concatenate([images.train, self.validator.validation])
        self.identity = identity_of(classifier, config, painted.keys, masks, items, style)
        self.tuned = classifier.copy()
        # Convolutions are about twice as fast on a CPU when the channels of a pixel lie together.
        self.tuned.module.to(memory_format=torch.channels_last)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        # Where surroundings are painted, only the painted images tell what to do; elsewhere their patches go everywhere.
        painted_per_step = config.painted_per_step or max(1, self.schedule.batch_size // (2 if painted.surroundings else 4))
        self.sampler = Sampler(dataset, self.cache, images.train, self.learnt, self.schedule.batch_size, painted_per_step)
        self.trainer = RetuneTrainer(
            self.tuned,
            self.methods,
            fabric,
            learning_rate=config.learning_rate or FIRST_RELEARNING,
            strength=config.strength,
            freeze=config.freeze,
            freeze_batch_norm=self._freezes_batch_norm(),
            # The labels of few of many classes push all others down, and teach less than that costs.
            labels_too=not self.few_classes,
        )
        self._unseen = unseen
        self.teacher: Teacher | None = None
        self.average = WeightAverage(self.tuned.module, self.trainer.learning_batch_norm)
        self.front = ParetoFront()
        self.path: list[ValidationMetrics] = []
        self.history: list[dict[str, Any]] = []
        self.painted_history: list[dict[str, Any]] = []
        self.iteration = 0
        self.pace = Pace(config.learning_rate, self.schedule.patience)
        self.seconds = math.inf  # of the last step
        self.before: ValidationMetrics
        self.run_state: RunState | None = None

    def _freezes_batch_norm(self) -> bool:
        if self.config.freeze_batch_norm is not None:
            return self.config.freeze_batch_norm
        # Few images say little about a channel's mean and deviation.
        images = (self.sampler.batch_size + self.sampler.painted_per_step) // self.fabric.world_size
        return images < MIN_BATCH_FOR_BATCH_NORM or any(method.freezes_batch_norm for method in self.methods)

    @cached_property
    def given_state(self) -> State:
        return self.given.module.state_dict()

    @property
    def relearns(self) -> bool:
        """Whether the network must find features that it does not have, once its start was measured.

        So it is where batch norm learns, as in a small network, and where it knows hardly anything but the shortcut.
        """
        return bool(self.trainer.learning_batch_norm) or self._knows_little

    @property
    def _knows_little(self) -> bool:
        return knows_little_else(self.before, self.given.num_classes - self._unseen)

    def _settle(self) -> None:
        """Choose what hangs on how the given classifier stands."""
        surroundings = self.validator.painted.surroundings
        wanted = distils(self.config, surroundings=surroundings, unseen_classes=self._unseen > 0, relearns=self.relearns)
        self.teacher = Teacher(self.given, self.learnt) if wanted else None
        if not (self.relearns or self.few_classes):
            self.trainer.warm_up = self.trial_steps

    @property
    def trial_steps(self) -> int:
        """Steps of a trial at one learning rate, and over which the rate rises where what is known must not be lost.

        Where few classes are shown it does not rise: a trial then finds larger rates harmless, which they are not to the
        classes that no image shows (ImageNet watermark, seeds 0 to 2: 0.018 lost without the mark in place of 0.009).
        """
        return steps_of_trial(self.sampler.batch_size + self.sampler.painted_per_step, self.given.preprocessing.size)

    def begin(self) -> RetuneStep:
        """Measure the classifier as it was given."""
        self.trainer.rest()
        self.before = self.agreed(lambda: self.validator.start(self.tuned))
        self._settle()
        self.front.add(self.before, self.tuned.module)
        self.sampler.sampling_weights = self._sampling_weights()
        probabilities = self.painted_probabilities(0)
        idle = next((method.without_sampling_weights for method in self.methods if method.without_sampling_weights), None)
        messages = [idle if self.sampler.sampling_weights is None else None, hardly_used(self.before), *self._remarks()]
        message = " ".join(filter(None, messages)) or None
        said = {} if message is None else {"message": message}
        self.history.append({"iteration": 0, **flat(self.before), **said})
        self.keep_run_state()
        return RetuneStep(0, self.schedule.iterations, {}, self.learnt.keys, probabilities, self.before, message)

    def _remarks(self) -> list[str | None]:
        """What the user should know before the first step."""
        overlay = self.learnt.overlay
        return [
            None if overlay is None else overlay.sentence,
            None if self.learnt.also is None else self.learnt.also.sentence,
            classes_remark(self.dataset, self.given),
            little_else_sentence(self.before) if self._knows_little else None,
        ]

    def take_up(self, run_state: RunState) -> RetuneStep:
        """Go on from where a run's state was taken."""
        check_identity(run_state, self.identity)
        self.sampler.sampling_weights = self._sampling_weights()
        self.before, self.front = run_state.before, ParetoFront(list(run_state.checkpoints))
        self.validator.remember(self.given)
        self._settle()
        self.history, self.painted_history = list(run_state.history), list(run_state.painted_history)
        self.iteration, self.pace = run_state.iteration, Pace.from_plain(run_state.pace)
        self.restore(run_state.position)
        if self.teacher is not None:
            self.teacher.known = dict(run_state.answers)
        self.run_state = run_state
        return RetuneStep(self.iteration, self.schedule.iterations, {}, self.learnt.keys, None, None)

    def _sampling_weights(self) -> np.ndarray | None:
        wished = choose_sampling_weights([method.sampling_weights for method in self.methods], self._wrong)
        if wished is not None or self.style is None or not any(method.balances_styles for method in self.methods):
            return wished
        return balanced_by_style(self.style, self.dataset, self.cache, self.sampler.train, self.config.seed)

    def _wrong(self) -> np.ndarray:
        return wrong_at_start(self.given, self.dataset, self.cache, self.sampler.train, self.config.seed)

    def draw(self) -> Batch:
        """Return the images of the next step."""
        batch = self.sampler.draw(self.rng)
        if self.teacher is not None:
            batch = self.teacher.answer(batch)
        if self.config.augment or any(method.augments for method in self.methods):
            batch = augment(batch, self.generator, mirror=self.config.mirror)
        for method in self.methods:
            batch = method.change(batch, self.generator)
        return batch

    def step(self) -> dict[str, float] | None:
        batch = self.draw()
        losses = self.trainer.step(batch, [method.extra_inputs(batch, self.generator) for method in self.methods])
        if losses is not None:
            assert self.trainer.inputs is not None
            self.average.update(self.trainer.inputs)
        return losses

    def watch(self, losses: dict[str, float] | None) -> str | None:
        """Return what went wrong in a step, where something did."""
        last = self.trainer.last
        assert last is not None
        trouble = self.pace.guard.watch(None if losses is None else last.loss, last.predicted, last.labels)
        if self.fabric.world_size > 1:
            # Each process sees its own images; all must decide alike.
            trouble = self.fabric.broadcast(trouble)
        return trouble

    def validate(self, iteration: int) -> tuple[ValidationMetrics, np.ndarray]:
        """Measure the mean of the weights, and keep it where no other is better in everything."""
        with self.average.applied():
            check, probabilities = self.check(iteration), self.painted_probabilities(iteration)
            self.front.add(check, self.tuned.module)
        return check, probabilities

    def check(self, iteration: int) -> ValidationMetrics:
        self.trainer.rest()
        return self.agreed(lambda: self.validator(self.tuned, iteration))

    def complete(self, check: ValidationMetrics) -> ValidationMetrics:
        return self.agreed(lambda: self.validator.complete(self.tuned, check))

    def agreed(self, measure: Callable[[], ValidationMetrics]) -> ValidationMetrics:
        if self.fabric.world_size == 1:
            return measure()
        # One process measures, so that all decide alike.
        check = self.fabric.broadcast(measure() if self.fabric.is_global_zero else None)
        assert check is not None
        return check

    def painted_probabilities(self, iteration: int) -> np.ndarray:
        logits = torch.cat([self.tuned.logits(part).float().cpu() for part in self.learnt.inputs.split(64)])
        probabilities = logits.softmax(1).gather(1, self.learnt.labels[:, None])[:, 0].numpy()
        self.painted_history += [
            {"iteration": iteration, "key": key, "probability": float(p)}
            for key, p in zip(self.learnt.keys, probabilities, strict=True)
        ]
        return probabilities

    @property
    def may_climb(self) -> bool:
        # A pretrained network has the features that it needs, and larger steps only destroy them.
        return self.config.learning_rate is None and self.relearns

    def go_back(self) -> None:
        """Go on from the best weights so far, with an optimizer that remembers no step."""
        assert self.pace.learning_rate is not None
        self.tuned.module.load_state_dict(self.front.best.state)
        self.average.restart()
        self.trainer.restart(self.pace.learning_rate)

    def position(self) -> Position:
        """Return where training stands, to come back to it."""
        return Position(
            module=copy_of(self.tuned.module.state_dict()),
            optimizer=self.trainer.optimizer_state(),
            strengths=dict(self.trainer.strengths),
            average=self.average.to_plain(),
            draws=draws_of(self.rng),
            noise=self.generator.get_state(),
        )

    def restore(self, position: Position) -> None:
        """Come back to where training stood."""
        self.tuned.module.load_state_dict(position.module)
        self.trainer.restart(FIRST_RELEARNING)
        self.trainer.load_optimizer_state(position.optimizer)
        self.trainer.strengths = dict(position.strengths)
        self.average.load_plain(position.average)
        self.rng.bit_generator.state = json.loads(position.draws)
        self.generator.set_state(position.noise)

    def stopped(self) -> bool:
        stopped = self.monitor.stopped
        return stopped if self.fabric.world_size == 1 else bool(self.fabric.broadcast(stopped))

    def interruptible(self) -> AbstractContextManager[None]:
        # Of several processes none may leave the others waiting within a step.
        return interruptible(self.tuned.module, self.monitor) if self.fabric.world_size == 1 else nullcontext()

    def keep_run_state(self) -> None:
        self.run_state = RunState(
            identity=self.identity,
            iteration=self.iteration,
            pace=self.pace.to_plain(),
            position=self.position(),
            before=self.before,
            checkpoints=tuple(self.front.checkpoints),
            history=list(self.history),
            painted_history=list(self.painted_history),
            answers={} if self.teacher is None else dict(self.teacher.known),
        )
        self.on_run_state(self.run_state)


def named(losses: Mapping[str, float]) -> dict[str, float]:
    """Return terms of the loss as they are called in the history."""
    return {f"loss_{name}": value for name, value in losses.items()}


def flat(check: ValidationMetrics) -> dict[str, float | None]:
    """Return what a check measured as the history has it."""
    return {
        "val_accuracy": check.accuracy,
        "val_conflict_accuracy": check.conflict_accuracy,
        "val_probability": check.probability,
        "val_conflict_probability": check.conflict_probability,
        "val_conflict_flip_rate": check.conflict_flip_rate,
        "held_out_flip_rate": check.held_out.flip_rate,
        "held_out_masked_accuracy": check.held_out.masked_accuracy,
        "held_out_mask_share": check.held_out.mask_share,
    }
