"""What the benchmarks of enough masks, of several shortcuts and of groups call right."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import groups, rounds
from benchmarks.retuning.enough import row_of, summary

from napari_cam_feedback.retuning import MoreMasks

pytestmark = pytest.mark.unit
CONFUSION = np.array([[8, 0, 2], [0, 9, 1], [1, 0, 9]])


def test_a_prediction_is_right_where_two_points_come_true_and_its_interval_holds():
    said = MoreMasks(5, 0.05, 0.01, 0.1, 0.8, ("c",))
    rows = [row_of(said, (0.86, CONFUSION), after, "abc") for after in (0.92, 0.87, 0.99)]
    assert [row["right"] for row in rows] == [True, False, True]
    assert [row["inside"] for row in rows] == [True, True, False]
    # Three predictions are wrongly c, one is a and none b; where nothing was won nobody asks.
    assert [row["classes right"] for row in rows] == [True, None, True]
    assert summary(rows).startswith(
        "right 2 of 3 (always no: 1 of 3, yes below ten masks: 2 of 3); inside the interval 2 of 3"
    )


def test_each_shortcut_of_the_rounds_tells_the_class_in_training_and_is_drawn_for_itself_on_test():
    made = rounds.make_shortcuts(0, ("edge", "brightness"))
    labels = made.dataset.labels[made.dataset.indices("test")]
    assert set(made.told) == {"tag", "edge", "brightness"}
    for told in made.told.values():
        assert 0.02 < (told == labels).mean() < 0.2
    train = made.dataset.read(int(made.dataset.indices("train")[-1]))
    assert (train[:, 0] == 255).all()  # of the class 9


def test_what_is_followed_is_1_for_who_predicts_it_and_0_for_who_does_not():
    rng = np.random.default_rng(0)
    labels, told = rng.integers(0, 10, (2, 5000))
    assert rounds._followed(told, labels, told) == 1
    assert rounds._followed(labels, labels, told) == 0
    assert rounds._followed(rng.integers(0, 10, 5000), labels, told) == pytest.approx(0, abs=0.02)


def test_a_share_of_the_marks_tells_of_a_wrong_class():
    made = groups.digits(0)
    for split, share in groups.WRONG.items():
        assert made.wrong[made.dataset.indices(split)].mean() == pytest.approx(share, abs=0.05)
    assert len(groups.groups_of(made).names) == 20
    kept = groups.drawn(made.dataset, np.arange(1000) < 10, seed=0)
    assert set(kept.labels[kept.indices("train")]) == {0}
