"""A second hospital: what drops on other data is named, and nothing is where both are alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import gray_dataset, looking_classifier, nearest_classifier
from napari_cam_feedback.auditing import evaluate_external
from napari_cam_feedback.auditing.external import difference_interval
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import ArrayDataset, make_sample
from napari_cam_feedback.errors import DataError


def test_the_interval_of_the_difference_is_that_of_newcombes_table():
    # Newcombe (1998), Table II, row (a), method 10: 56/70 - 48/80 is 0.2000, 0.0524 to 0.3339.
    found = difference_interval((48, 80), (56, 70))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def corner_data(shares: tuple[float, float], n: int = 60) -> ArrayDataset:
    """Images of two classes with a bright top left corner, of each class on a share of its images."""
    labels = np.repeat([0, 1], n // 2)
    images = np.full((n, 24, 24), 60, np.uint8)
    for label, share in enumerate(shares):
        rows = np.flatnonzero(labels == label)[: round(share * n / 2)]
        images[rows, :4, :4] = 255
    return ArrayDataset({"test": images}, {"test": labels}, ("dark", "bright"))


def by_corner():
    corner = np.zeros((24, 24), bool)
    corner[:4, :4] = True
    return looking_classifier(corner, 0.02)


def test_what_drops_there_is_named_with_its_class_and_its_interval():
    found = evaluate_external(by_corner(), corner_data((0, 1)), corner_data((0, 0.2)))
    rows = {row.name: row for row in found.rows}
    assert (rows["accuracy"].own, rows["accuracy"].external) == (1.0, 0.6)
    assert rows["accuracy"].worse
    assert (rows["recall: bright"].own, rows["recall: bright"].external) == (1.0, 0.2)
    assert rows["recall: dark"].external == 1
    assert not rows["recall: dark"].worse
    assert found.drops[0].startswith("Of the images of bright, 20% are told right there and 100% here (-0.")
    assert found.summary == "Accuracy 1.000 on the 60 images of test, 0.600 on the 60 of the other data. Worse there:"


def test_a_place_that_decides_there_and_not_here_is_named():
    found = evaluate_external(by_corner(), corner_data((0, 0)), corner_data((0, 1)))
    row = next(row for row in found.rows if row.name == "predictions changed by taking away: top left corner")
    assert (row.own, row.external, row.worse) == (0.0, 0.5, True)
    assert any(
        "Taking away top left corner changes 50% of the predictions there and 0% here" in text for text in found.drops
    )


def test_nothing_is_named_where_both_are_alike():
    found = evaluate_external(by_corner(), corner_data((0.1, 0.9)), corner_data((0.1, 0.9)))
    assert found.drops == ()
    assert found.summary.endswith("nothing is worse there beyond chance.")


def test_classes_that_one_side_lacks_and_a_split_that_was_learnt_from_are_said():
    own = gray_dataset([0, 1, 2] * 6, [0, 1, 2] * 6)
    other = gray_dataset([0, 1] * 6, [0, 1] * 6)
    found = evaluate_external(nearest_classifier(), own, other)
    assert "There are no images in the other data of high." in found.notes
    learnt = ArrayDataset(
        {"train": corner_data((0, 1))._images["test"]}, {"train": np.repeat([0, 1], 30)}, ("dark", "bright")
    )
    assert any("flatters" in note for note in evaluate_external(by_corner(), learnt, corner_data((0, 1))).notes)


def test_data_without_labels_get_a_sentence():
    blank = ArrayDataset({"test": np.zeros((3, 24, 24), np.uint8)}, None, ("dark", "bright"))
    with pytest.raises(DataError, match=r"Nothing can be measured on the data: its images have no labels\."):
        evaluate_external(by_corner(), corner_data((0, 1)), blank)


def test_the_shell_shows_both_side_by_side_and_writes_them(tmp_path, capsys):
    model = Path(__file__).parents[2] / "sample_data" / "tag-digits" / "model.safetensors"
    for name, split, count in (("own", "val", 60), ("other", "test", 60)):
        digits = make_sample("tag-digits", 0)
        for number, index in enumerate(digits.indices(split)[:count]):
            item = digits.item(int(index))
            path = tmp_path / name / "test" / digits.class_names[item.label or 0] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.read(item.index)).save(path)
    command = ["evaluate", model, tmp_path / "own", "--external", tmp_path / "other", "--json", tmp_path / "e.json"]
    assert main([*map(str, command), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    # The tags of test lie.
    assert "Worse there:" in said
    assert "The accuracy is" in said
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["external"]["drops"]
    assert {row["measure"] for row in found["external"]["rows"]} >= {"accuracy", "recall", "confidence", "changed without"}
