"""Finding the learning rate of a run: trial steps at several rates from the given weights."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.retuning.optimisation.learning_rate import (
    MAX_WITHOUT_BATCH_NORM,
    MIN_SEARCHED,
    RATES,
    RateSearch,
    first_rate,
)
from napari_cam_feedback.retuning.optimisation.pace import Guard
from napari_cam_feedback.retuning.results import RetuneStep
from napari_cam_feedback.retuning.run import RetuneRun, named
from napari_cam_feedback.retuning.run_state import Position


def find_rate(run: RetuneRun) -> Generator[RetuneStep, None, bool]:
    """Try learning rates from the given weights on the same images, and go on from the best one's last step.

    Returns whether that came to its end; it does not where the user stops it.
    """
    if run.config.iterations is not None and run.config.iterations < MIN_SEARCHED:
        run.pace.learning_rate, run.pace.chosen = first_rate(run.relearns), "Not searched for in so few steps."
        return True
    bounded = run.relearns and not run.trainer.learning_batch_norm
    search = RateSearch(run.relearns, MAX_WITHOUT_BATCH_NORM if bounded else RATES[-1], forgets=run.few_classes)
    count = run.trial_steps
    start = run.position()
    kept: dict[float, tuple[Position, list[dict[str, Any]], float]] = {}
    rows: list[dict[str, Any]]
    losses: Any
    while (rate := search.following()) is not None:
        run.restore(start)
        run.trainer.restart(rate)
        rows, losses = [], []
        try:
            for number in range(1, count + 2):
                if run.stopped():
                    raise Interrupted
                with run.interruptible():
                    found = run.step() or {}
                assert run.trainer.last is not None
                losses.append(run.trainer.last.loss)
                rows.append({"iteration": number, "learning_rate": rate, **named(found)})
                yield RetuneStep(0, run.schedule.iterations, {}, run.learnt.keys, trying=rate)
        except Interrupted:
            run.restore(start)
            return False
        search.tell(rate, losses)
        kept[rate] = run.position(), rows, losses[0]
        kept = {each: kept[each] for each in search.near}
    position, rows, at_start = kept[search.best]
    pace, message = run.pace, search.describe()
    pace.learning_rate, pace.chosen, pace.guard = search.best, message, Guard(at_start)
    if run.config.iterations is not None:
        # Just so many steps were asked for, along a cosine.
        run.restore(start)
        run.trainer.restart(search.best)
        run.history[-1]["message"] = message
        yield RetuneStep(0, run.schedule.iterations, {}, run.learnt.keys, message=message)
        return True
    run.restore(position)
    rows[-1]["message"] = message
    for row in rows:
        run.history.append(row)
        run.iteration = row["iteration"]
        losses = {key.removeprefix("loss_"): value for key, value in row.items() if key.startswith("loss_")}
        said = row.get("message")
        yield RetuneStep(run.iteration, run.schedule.iterations, losses, run.learnt.keys, message=said)
    return True
