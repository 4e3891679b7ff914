"""A run that makes the last layer anew in place of training."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.retuning.head_refit import HeadRefit
from napari_cam_feedback.retuning.results import RetuneStep, Status
from napari_cam_feedback.retuning.run import RetuneRun, flat, named


def solve(run: RetuneRun) -> Generator[RetuneStep, None, Status]:
    """Make the last layer anew: collect its features, then try one penalty after another."""
    run.trainer.rest()
    refit = HeadRefit(run.tuned, len(run.sampler.train), run.sampler.batch_size, run.schedule.iterations)
    for iteration in range(1, refit.iterations + 1):
        losses, check, probabilities = {}, None, None
        try:
            if run.stopped():
                raise Interrupted
            with run.interruptible():
                if iteration <= refit.batches:
                    batch = run.draw()
                    refit.collect(batch.inputs, batch.labels)
                else:
                    losses = refit.fit(iteration - refit.batches - 1)
                    check, probabilities = run.check(iteration), run.painted_probabilities(iteration)
        except Interrupted:
            return "stopped"
        row: dict[str, Any] = {"iteration": iteration, **named(losses)}
        if check is not None:
            row |= flat(check)
            run.front.add(check, run.tuned.module)
        run.history.append(row)
        yield RetuneStep(iteration, refit.iterations, losses, run.learnt.keys, probabilities, check)
    return "done"
