"""Accuracy group by group: by groups that the data name, or by class and mask; by numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core_builders import gray_dataset, looking_classifier, nearest_classifier
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import ArrayDataset, Dataset, make_sample
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.evaluation import Comparison, compare, evaluate
from napari_cam_feedback.evaluation.groups import GroupAccuracies, Groups, group_accuracies, worst_change_interval

# Six images of each group; of B three are told wrong.
TRUTH = [0, 0, 1, 1, 2, 2] * 2
SHOWN = [0, 0, 1, 1, 2, 2, 0, 0, 1, 0, 1, 1]


def with_groups(data: Dataset, *names: str) -> Dataset:
    data.group_names = tuple(sorted(set(names) - {""}))
    data.groups = np.array([data.group_names.index(name) if name else -1 for name in names])
    return data


def hospitals() -> Dataset:
    return with_groups(gray_dataset(TRUTH, SHOWN), *"AAAAAABBBBBB")


def test_the_worst_of_the_named_groups_is_told_with_an_interval_that_allows_for_the_choice():
    found = evaluate(nearest_classifier(), hospitals()).splits["test"].groups
    assert found is not None
    assert {name: (each.n, each.accuracy) for name, each in found.groups.items()} == {"A": (6, 1.0), "B": (6, 0.5)}
    # Wilson at 97.5 % for each of two groups: z = 2.2414, z² = 5.0239; the middle is 0.5 and half the width is
    # 2.2414 √(0.25 / 6 + 5.0239 / 144) / (1 + 5.0239 / 6) = 0.3375.
    interval = found.groups["B"].interval
    assert (interval.low, interval.high) == pytest.approx((0.1625, 0.8375), abs=1e-4)
    assert found.sentence() == "Worst group by the column group: B, accuracy 0.500 (0.16 to 0.84, 6 images)."


def test_images_of_no_group_count_for_none_and_small_groups_are_never_the_worst():
    names = [*"AAAAAA", *"BBBBB", "C"]
    data = with_groups(gray_dataset(TRUTH, [*SHOWN[:11], 0]), *names)
    found = evaluate(nearest_classifier(), data).splits["test"].groups
    assert found is not None
    assert found.groups["C"].accuracy == 0
    assert found.worst == "B"
    assert found.sentence().endswith("; 1 group of fewer than 5 images not counted.")
    data = with_groups(gray_dataset(TRUTH, SHOWN), *[""] * 6, *"BBBBBB")
    assert evaluate(nearest_classifier(), data).splits["test"].groups is None


def test_without_named_groups_they_are_each_class_with_and_without_a_mask():
    bright = np.full((12, 8, 8), 200, np.uint8)
    masks = np.zeros((12, 8, 8), bool)
    masks[:6, :3, :3] = True
    bright[:6, :3, :3] = 0
    data = ArrayDataset({"test": bright}, {"test": np.ones(12, int)}, ("dark", "bright"), {"test": masks})
    # It goes by the corner alone.
    corner = np.zeros((8, 8), bool)
    corner[:3, :3] = True
    found = evaluate(looking_classifier(corner, 0.05), data).splits["test"].groups
    assert found is not None
    assert {name: each.accuracy for name, each in found.groups.items()} == {
        "bright, nothing painted": 1.0,
        "bright, painted": 0.0,
    }
    assert found.worst == "bright, painted"


def test_a_comparison_has_the_worst_group_before_and_after_each_by_name():
    before = evaluate(nearest_classifier(), hospitals(), detail=True)
    # The other way round: A is the one of three wrong ones.
    other = with_groups(gray_dataset(TRUTH, SHOWN[6:] + SHOWN[:6]), *"AAAAAABBBBBB")
    after = evaluate(nearest_classifier(), other, detail=True)
    row = next(row for row in Comparison(before, after).rows if row.measure == "worst_group_accuracy")
    assert row.texts == ("0.500 (B)", "0.500 (A)")
    assert row.change == 0
    assert row.interval is not None
    assert row.interval.low <= 0 <= row.interval.high


def test_the_interval_of_the_change_is_that_of_the_lowest_of_all_groups():
    groups = Groups(("A", "B"), np.repeat([0, 1], 200), "the column group")
    right = np.ones(400, bool)
    before, after = right.copy(), right.copy()
    before[200:300] = False  # B: half
    after[:100] = False  # A: half, and B all
    old, new = (group_accuracies(groups, np.arange(400), each) for each in (before, after))
    assert isinstance(old, GroupAccuracies)
    assert isinstance(new, GroupAccuracies)
    interval = worst_change_interval(old, new)
    assert interval is not None
    # Each minimum has a deviation of √(0.25 / 200) = 0.0354, and they are of different images: 1.96 √2 · 0.0354 = 0.098.
    assert (interval.low, interval.high) == pytest.approx((-0.098, 0.098), abs=0.02)
    same = worst_change_interval(old, old)
    assert (same.low, same.high) == (0, 0)


def test_the_shell_tells_the_worst_group_of_a_csv_and_its_json_has_all(tmp_path, capsys):
    digits = make_sample("tag-digits", 0)
    rows = ["path,label,split,group"]
    for number, index in enumerate(digits.indices("test")[:24]):
        item = digits.item(int(index))
        Image.fromarray(digits.read(item.index)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{digits.class_names[item.label or 0]},test,{'north' if number < 12 else 'south'}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    model = Path(__file__).parents[2] / "sample_data" / "tag-digits" / "model.safetensors"
    command = ["evaluate", model, tmp_path / "list.csv", "--json", tmp_path / "e.json"]
    assert main([*map(str, command), "--device", "cpu"]) == 0
    assert "test: Worst group by the column group: " in capsys.readouterr().out
    found = json.loads((tmp_path / "e.json").read_text())["splits"]["test"]
    groups = found["groups"]["groups"]
    assert found["groups"]["worst"] == min(groups, key=lambda name: groups[name]["accuracy"])
    assert [groups[name]["n"] for name in ("north", "south")] == [12, 12]


def test_both_sides_of_a_comparison_are_of_the_same_groups():
    found = compare(nearest_classifier(), nearest_classifier(), hospitals(), detail=True)
    row = next(row for row in found.rows if row.measure == "worst_group_accuracy")
    assert (row.before, row.after, row.mark) == (0.5, 0.5, "")


def overexposed(wrong: int = 16) -> ArrayDataset:
    """Forty low images told right, and sixty mid ones of which the last are as bright as high ones and told wrong."""
    truth = [0] * 40 + [1] * 60
    return gray_dataset(truth, [0] * 40 + [1] * (60 - wrong) + [2] * wrong)


def test_where_nothing_is_known_a_group_is_found_from_the_errors_and_told_on_images_that_did_not_define_it():
    data = overexposed()
    found = evaluate(nearest_classifier(), data).splits["test"].groups
    assert found is not None
    assert found.worst is not None
    # The half of the images that defined it is not in it.
    assert sum(each.n for each in found.groups.values()) == 50
    named = found.worst.removeprefix("mid, like ")
    assert data.index_of(named) >= 84
    assert {name: each.accuracy for name, each in found.groups.items()} == {found.worst: 0, "mid, others": 1, "low": 1}
    assert found.sentence().startswith("Worst group by the model's own errors, on the half of the images that did not")


@pytest.mark.parametrize("data", [overexposed(0), overexposed(3), gray_dataset(TRUTH, SHOWN)], ids=["no", "few", "small"])
def test_no_group_is_found_where_there_are_too_few_errors_or_images(data):
    assert evaluate(nearest_classifier(), data).splits["test"].groups is None


def test_what_the_data_name_goes_before_what_is_found():
    data = with_groups(overexposed(), *("AB" * 50))
    found = evaluate(nearest_classifier(), data).splits["test"].groups
    assert found is not None
    assert set(found.groups) == {"A", "B"}


def test_two_models_are_compared_on_the_groups_found_from_the_errors_of_the_first():
    corrected = nearest_classifier()
    with torch.no_grad():
        corrected.module.head.bias[2] -= 10  # never high
    found = compare(nearest_classifier(), corrected, overexposed(), detail=True)
    before, after = (each.splits["test"].groups for each in (found.before, found.after))
    assert before is not None
    assert after is not None
    assert list(before.groups) == list(after.groups)
    assert (before.groups[before.worst].accuracy, after.groups[before.worst].accuracy) == (0, 1)


def test_a_network_whose_layer_cannot_be_read_is_measured_without_groups(monkeypatch):
    def unreadable(*_: object) -> None:
        raise ModelError("Layer 'features' did not run.")

    classifier = nearest_classifier()
    monkeypatch.setattr(type(classifier), "forward_with_activations", unreadable)
    found = evaluate(classifier, overexposed()).splits["test"]
    assert found.groups is None
    assert found.accuracy == 0.84
