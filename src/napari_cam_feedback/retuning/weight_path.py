"""Weights between the given and the best ones of a run: a front between knowing what was known and leaving the shortcut."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial

from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.retuning.judging.forgetting import fell_beyond_chance
from napari_cam_feedback.retuning.judging.pareto import between
from napari_cam_feedback.retuning.judging.validation import ValidationMetrics
from napari_cam_feedback.retuning.results import RetuneStep, Status
from napari_cam_feedback.retuning.run import RetuneRun, flat

#: Parts of the way from the given weights to the best that are looked at, too: where something was lost that the given
#: weights knew, and where nothing was.
SHARES, SHARES_NOTHING_LOST = (0.75, 0.5, 0.25), (0.5,)


def walk(run: RetuneRun, status: Status) -> Generator[RetuneStep, None, None]:
    """Look at weights between the given and the best ones (WiSE-FT, Wortsman et al. 2022).

    They are a whole front between knowing what was known and leaving the shortcut, for the price of a few checks.
    """
    best = run.front.best
    if status == "stopped" or best.check.iteration == 0 or run.relearns:
        # Statistics of batch norm that were learnt fit their own weights only, and weights far from the given ones have no
        # straight way to them.
        return
    run.trainer.rest()
    for share in (1.0, *(SHARES if _lost(best.check) else SHARES_NOTHING_LOST)):
        try:
            with run.interruptible():
                if run.stopped():
                    return
                run.tuned.module.load_state_dict(between(run.given_state, best.state, share))
                check = best.check if share == 1 else replace(run.check(best.check.iteration), share=share)
                if fell_beyond_chance(check):
                    # Each may be taken in the end, and its verdict must tell then whether something was forgotten.
                    check = run.agreed(partial(run.validator.neutral, run.tuned, check))
        except Interrupted:
            return
        if share == 1:
            run.front.measure_again(check)
            continue
        run.path.append(check)
        run.history.append({"iteration": check.iteration, "share": share, **flat(check)})
        yield RetuneStep(run.iteration, run.schedule.iterations, {}, run.learnt.keys, None, check)


def _lost(check: ValidationMetrics) -> bool:
    """Whether more images were lost than won, with the painted places refilled where that was measured."""
    _, lost, won = check.neutral or (0.0, check.lost, check.won)
    return lost > won
