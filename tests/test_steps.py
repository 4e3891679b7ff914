"""Work in steps is taken to its end, or left in order."""

from __future__ import annotations

import pytest

from napari_cam_feedback.steps import run_to_end


def work(left: list[str]):
    try:
        yield 1
        yield 2
    finally:
        left.append("closed")
    return "made"


def test_every_step_is_handed_over_and_the_result_returned():
    left, steps = [], []
    assert run_to_end(work(left), steps.append) == "made"
    assert steps == [1, 2]
    assert run_to_end(work(left)) == "made"


def test_work_that_is_left_in_its_middle_is_closed():
    left = []
    steps = work(left)

    def refuse(step: int) -> None:
        raise KeyError(step)

    with pytest.raises(KeyError, match="1"):
        run_to_end(steps, refuse)
    assert left == ["closed"]
