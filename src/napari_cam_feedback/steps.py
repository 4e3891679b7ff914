"""Work that comes in steps: generators that yield how far they are and return what they made."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from napari_cam_feedback.monitor import Monitor

Step = TypeVar("Step")
Result = TypeVar("Result")


def run_to_end(steps: Generator[Step, None, Result], on_step: Callable[[Step], object] | None = None) -> Result:
    """Take all steps of some work, handing each to `on_step`, and return what the work comes to.

    Parameters
    ----------
    steps : generator
        The work, as `retune` or `run_experiment` return it. It is closed where `on_step` raises.
    on_step : callable, optional
        Gets each step as it comes.
    """
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if on_step is not None:
                on_step(step)
    finally:
        steps.close()


def told(
    steps: Generator[Step, None, Result], monitor: Monitor, measure: Callable[[Step], tuple[int, int, str]]
) -> Generator[Step, None, Result]:
    """Yield the steps of some work, and tell a monitor of each before.

    Parameters
    ----------
    steps : generator
        The work; closed with this one.
    monitor : Monitor
        What hears of it.
    measure : callable
        What a step says: done, total and message, as `Monitor.progress` takes them.
    """
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            monitor.progress(*measure(step))
            yield step
    finally:
        steps.close()
