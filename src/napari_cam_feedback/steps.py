"""Work that comes in steps: generators that yield how far they are and return what they made."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

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
