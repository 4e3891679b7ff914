"""The retuning loop: fine-tune a copy with feedback, check it now and then, return the best that was seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import RetuneError
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.models.parallel import one_process
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.old_names import old_arguments
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.ending import result_of
from napari_cam_feedback.retuning.head_run import solve
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.retuning.judging.pareto import choose
from napari_cam_feedback.retuning.rate_trials import find_rate
from napari_cam_feedback.retuning.results import RetuneResult, RetuneStep, Status
from napari_cam_feedback.retuning.run import RetuneRun, flat, named
from napari_cam_feedback.retuning.run_state import RunState
from napari_cam_feedback.retuning.weight_path import walk
from napari_cam_feedback.steps import told

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Seconds of a step that a user who stops it can wait for.
SHORT_STEP = 0.1


@takes_monitor
@old_arguments
def retune(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    config: RetuneConfig | None = None,
    *,
    monitor: Monitor = QUIET,
    resume: RunState | None = None,
    on_run_state: Callable[[RunState], None] | None = None,
    fabric: Fabric | None = None,
    trust: bool = False,
    complete: bool = True,
    style: Style | None = None,
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
    monitor : Monitor, optional
        Told of steps done and in all; stopped, the run ends with the best so far.
    resume : RunState, optional
        Where a run that was stopped is taken up again; the result is that of a run that was not stopped.
    on_run_state : callable, optional
        Called with the run's state after each check on the validation images.
    fabric : Fabric, optional
        Launched, to share the work among processes; by default this process alone, on the classifier's device.
    trust : bool
        The user agrees that the program of an inpainter runs.
    complete : bool
        Whether a run that is stopped still takes the measures that only the end of a run takes, which lasts seconds with a
        large network; its verdict says what it lacks without them, and `take_checkpoint` takes them later.
    style : Style, optional
        What lies over whole images and is to be used no more (`find_style`, `find_colours`): besides what `masks` cover, or
        alone where there are none.

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
    run = RetuneRun(
        classifier,
        dataset,
        masks,
        config or RetuneConfig(),
        monitor,
        on_run_state or (lambda _: None),
        fabric or one_process(classifier.device),
        trust,
        style,
    )
    return told(_steps(run, resume, complete), monitor, lambda step: (step.iteration, step.iterations, "retuning"))


def _steps(run: RetuneRun, resume: RunState | None, complete: bool) -> Generator[RetuneStep, None, RetuneResult]:
    """Yield the steps; the work of `retune`."""
    try:
        with run.interruptible():
            yield run.begin() if resume is None else run.take_up(resume)
    except Interrupted:
        raise RetuneError("Stopped before the first step; nothing was changed.") from None
    if run.methods[0].solves:
        status = yield from solve(run)
    else:
        status = yield from _train(run)
        yield from walk(run, status)
    chosen = choose(run.front, run.path)
    run.tuned.module.load_state_dict(run.front.state_of(chosen, run.given_state))
    run.tuned.module.zero_grad(set_to_none=True)
    run.trainer.rest()
    return result_of(run, status, run.complete(chosen) if complete or status != "stopped" else chosen)


def _train(run: RetuneRun) -> Generator[RetuneStep, None, Status]:
    """Find the learning rate where none is given, take training steps, and tell how they ended."""
    if run.pace.learning_rate is None and not (yield from find_rate(run)):
        return "stopped"
    plan, trainer, pace = run.schedule, run.trainer, run.pace
    while run.iteration < plan.iterations:
        iteration = run.iteration + 1
        assert pace.learning_rate is not None
        # A given number of steps is known to end, so they settle along a cosine; else the mean of the weights settles.
        decay = _decay(iteration, plan.iterations) if plan.patience is None else 1.0
        trainer.set_learning_rate(pace.learning_rate * decay)
        check = probabilities = message = None
        try:
            if run.stopped():
                raise Interrupted
            # A short step need not be left in its middle, and asking at each layer costs.
            with nullcontext() if run.seconds < SHORT_STEP else run.interruptible():
                started = time.perf_counter()
                losses = run.step()
                run.seconds = time.perf_counter() - started
            trouble = run.watch(losses)
            with run.interruptible():
                if trouble is None and (iteration % plan.check_every == 0 or iteration == plan.iterations):
                    check, probabilities = run.validate(iteration)
        except Interrupted:
            return "stopped"
        row: dict[str, Any] = {"iteration": iteration, "learning_rate": pace.learning_rate * decay}
        row |= named(losses or {})
        if check is not None:
            row |= flat(check)
            decision = pace.decide(check, run.before, plan=plan, may_climb=run.may_climb)
            message = decision.message
            if decision.back:
                run.go_back()
        if trouble is not None:
            message = pace.collapse(trouble)
            run.trainer.strengths = {name: value / 4 for name, value in run.trainer.strengths.items()}
            run.go_back()
        if message is not None:
            row["message"] = message
        run.history.append(row)
        run.iteration = iteration
        if check is not None:
            run.keep_run_state()
        yield RetuneStep(iteration, plan.iterations, losses or {}, run.learnt.keys, probabilities, check, message)
        if pace.ended is not None:
            return pace.ended
    return "done"


def _decay(iteration: int, iterations: int) -> float:
    """Half a cosine from 1 down to a twentieth, so that the last steps settle."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * (iteration - 1) / iterations)) / 2
