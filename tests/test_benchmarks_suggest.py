"""The curve of `suggest` and the table of proposals say what was measured."""

from __future__ import annotations

import pytest
from benchmarks import suggest
from benchmarks.retuning import tables


def test_the_curve_has_a_row_a_way_with_mean_and_range_over_the_seeds():
    runs = [
        {"data": "d", "seed": seed, "way": "suggest", "masks": "2", "before": "0.5", "after": after}
        for seed, after in (("0", "0.8"), ("1", "0.9"))
    ]
    runs.append({"data": "d", "seed": "0", "way": "random", "masks": "5", "before": "0.5", "after": "0.7"})
    assert suggest.curve(runs, ["d", "other"]) == [
        {"data": "d", "way": "suggest", "seeds": 2, "0": "0.500 (0.500 to 0.500)", "2": "0.850 (0.800 to 0.900)", "5": "-"},
        {"data": "d", "way": "random", "seeds": 1, "0": "0.500", "2": "-", "5": "0.700"},
    ]


def test_a_proposal_is_right_where_it_overlaps_by_half():
    assert suggest.judged([1.0, 0.5, 0.2], 6) == {
        "proposed": 3,
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(1 / 3),
        "iou": pytest.approx(1.7 / 3),
    }
    assert suggest.judged([], 0) == {"proposed": 0, "precision": None, "recall": None, "iou": None}


def test_runs_are_added_to_those_before_and_the_same_one_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(suggest, "RESULTS", tmp_path)
    suggest._save("t", ("seed",), [{"seed": 0, "after": 0.5}])
    suggest._save("t", ("seed",), [{"seed": 1, "after": 0.6}])
    suggest._save("t", ("seed",), [{"seed": 0, "after": 0.7}])
    assert suggest._load("t") == [{"seed": "1", "after": "0.6"}, {"seed": "0", "after": "0.7"}]
