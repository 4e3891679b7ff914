"""Groups that the data name: the checkpoint whose worst group is told best is taken, and the verdict tells of it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from core_builders import known, stripes
from napari_cam_feedback.evaluation import RightReasons
from napari_cam_feedback.models import build_classifier, default_preprocessing
from napari_cam_feedback.retuning import RetuneConfig, ValidationMetrics, check_rows, judge, retune, run_to_end
from napari_cam_feedback.retuning.judging.pareto import Checkpoint, ParetoFront, choose
from napari_cam_feedback.retuning.run_state import check_from_values

REASONS = RightReasons(10, 0.9, 0.5, 0.4, 0.5)


def check(iteration: int, accuracy: float, conflict: float, worst: float | None, flips: float = 0.0) -> ValidationMetrics:
    group = None if worst is None else ("B", worst, 50, worst - 0.1, worst + 0.1)
    return ValidationMetrics(iteration, 400, accuracy, conflict, flips, REASONS, worst_group=group)


START = check(0, 0.90, 0.30, 0.50, 0.60)


def chosen(*checks: ValidationMetrics) -> int:
    front = ParetoFront([Checkpoint(each, {}) for each in (START, *checks)])
    return choose(front, []).iteration


@pytest.mark.parametrize(
    ("checks", "iteration"),
    [
        # Of two that score alike the one whose worst group is told better, early or late.
        ([check(10, 0.90, 0.80, 0.75), check(20, 0.90, 0.81, 0.60)], 10),
        # Not at the price of more than a point for all images,
        ([check(10, 0.88, 0.82, 0.75), check(20, 0.90, 0.81, 0.60)], 20),
        # nor of more than chance explains in the score,
        ([check(10, 0.90, 0.70, 0.75), check(20, 0.90, 0.81, 0.60)], 20),
        # and never by giving back the start.
        ([check(20, 0.90, 0.81, 0.40)], 20),
        # Without groups all is as before: the latest of those that score nearly alike.
        ([check(10, 0.90, 0.80, None), check(20, 0.90, 0.81, None)], 20),
    ],
)
def test_the_worst_group_decides_among_checkpoints_that_are_else_alike(checks, iteration):
    assert chosen(*checks) == iteration


def test_the_verdict_names_the_worst_group_before_and_after_with_its_interval():
    verdict = judge(START, check(20, 0.90, 0.85, 0.70), held_out=True)
    assert verdict.name == "improved"
    assert (
        "Of the groups that the data name, B was told worst (0.50), and now B is: 0.70 (0.60 to 0.80, 50 validation images)."
        in verdict.reason
    )
    assert "groups that the data name" not in judge(START, check(20, 0.90, 0.85, None), held_out=True).reason
    rows = {row.measure: row for row in check_rows(START, check(20, 0.90, 0.85, 0.70))}
    assert rows["worst_group_accuracy"].texts == ("0.500 (B)", "0.700 (B)")


def test_nothing_is_praised_while_a_group_is_told_worse_beyond_chance():
    assert judge(START, check(20, 0.90, 0.85, 0.30), held_out=True).name == "mixed"
    assert judge(START, check(20, 0.90, 0.85, 0.45), held_out=True).name == "improved"


def test_a_run_measures_the_groups_of_its_validation_images_and_a_file_keeps_them():
    dataset = stripes({"train": 48, "val": 40, "test": 16}, contrast=15)
    dataset.group_names = ("north", "south")
    dataset.groups = np.arange(len(dataset), dtype=np.int64) % 2
    network = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=1)
    config = RetuneConfig(iterations=2, check_every=2, batch_size=8, learning_rate=1e-3)
    result = run_to_end(retune(network, dataset, known(dataset, count=6), config))
    worst = result.before.worst_group
    assert worst is not None
    assert worst[0] in dataset.group_names
    assert worst[2] == 20
    assert worst[3] <= worst[1] <= worst[4]
    assert check_from_values(asdict(result.before)) == result.before
