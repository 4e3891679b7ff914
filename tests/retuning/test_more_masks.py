"""Whether ten more masks will help: what is said, and that it does not say what it cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.files import write_json
from napari_cam_feedback.projects.runs import run_records
from napari_cam_feedback.retuning import more_masks

pytestmark = pytest.mark.unit


def photos(count=40, classes=("cat", "dog")):
    images = {split: np.zeros((count, 4, 4), np.uint8) for split in ("train", "test")}
    labels = {split: np.arange(count) % len(classes) for split in images}
    return ArrayDataset(images, labels, classes)


def check(neutral, conflict, **more):
    return {"neutral": None if neutral is None else [neutral, 0, 0], "conflict_accuracy": conflict, "marks": None, **more}


def record(masks, *, harm=0.6, left=0.0, name="improved", status="done"):
    """The record of a run with so many masks, one in five of them held out from ten on."""
    keys = [f"train/{i:05d}" for i in range(masks)]
    held = keys[::5] if masks >= 10 else keys
    return {
        "before": check(0.95, 0.95 - harm),
        "after": check(0.95, 0.95 - left),
        "painted": [key for key in keys if masks < 10 or key not in held],
        "held_out": held,
        "verdict": {"name": name},
        "status": status,
    }


def painted(count):
    return [f"train/{i:05d}" for i in range(count)]


def test_few_masks_against_a_great_harm_are_said_not_to_be_enough_and_many_to_be():
    few, many = (more_masks(photos(), painted(n), [record(n)]) for n in (5, 30))
    assert few.helps
    assert few.low < few.gain < few.high
    assert "will probably help" in few.sentence
    assert not many.helps
    assert many.gain < 0.01
    assert "will hardly help" in many.sentence


def test_of_a_shortcut_that_the_model_hardly_uses_no_number_of_masks_helps():
    assert not more_masks(photos(), painted(5), [record(5, harm=0.02)]).helps


def test_what_held_out_masks_still_show_is_believed_against_what_samples_would_have_left():
    good, bad = (more_masks(photos(), painted(20), [record(20, left=left)]) for left in (0.0, 0.4))
    assert not good.helps
    assert bad.helps
    assert bad.gain > good.gain


def test_a_second_run_makes_it_surer():
    one = more_masks(photos(), painted(20), [record(10, left=0.3)])
    two = more_masks(photos(), painted(20), [record(10, left=0.3), record(20, left=0.2)])
    assert two.high - two.low < one.high - one.low


def test_masks_painted_since_the_last_run_count():
    now, then = (more_masks(photos(), painted(n), [record(10, left=0.1)]) for n in (30, 10))
    assert now.gain < then.gain


def test_the_classes_painted_least_are_named():
    keys = [f"train/{i:05d}" for i in (0, 2, 4, 6, 8, 1)]
    found = more_masks(photos(), keys, [record(6, harm=0.9)])
    assert found.classes == ("dog",)
    assert "best of dog (painted least so far)" in found.sentence
    assert more_masks(photos(), painted(6), [record(6)]).classes == ()


@pytest.mark.parametrize(
    ("count", "runs", "said"),
    [
        (0, [], ""),
        (4, [record(4)], "not known before 5 are painted"),
        (8, [], "known after a retune"),
        (8, [record(8, status="stopped")], "no retune so far could tell"),
        (8, [record(8, name="failed")], "no retune so far could tell"),
        (8, [{**record(8), "after": check(None, 0.9)}], "no retune so far could tell"),
        (8, [{**record(8), "before": check(0.9, 0.3, style_alone=True)}], "no retune so far could tell"),
        (8, [{"time": "of another program"}], "no retune so far could tell"),
    ],
)
def test_what_cannot_be_known_is_said_not_to_be(count, runs, said):
    found = more_masks(photos(), painted(count), runs)
    assert found.gain is None
    assert found.helps is None
    assert said in found.sentence
    assert bool(said) == bool(found.sentence)


def test_masks_on_test_images_and_of_images_that_are_gone_do_not_count():
    keys = [*painted(5), "test/00000", "test/00001", "gone"]
    assert more_masks(photos(), keys, [record(5)]).masks == 5


def test_records_of_runs_are_read_and_a_broken_one_is_left_out(tmp_path):
    assert run_records(tmp_path) == []
    write_json(tmp_path / "runs" / "a" / "result.json", record(10))
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "result.json").write_text("{")
    assert run_records(tmp_path) == [record(10)]
