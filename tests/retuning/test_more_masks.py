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


def check(lost, neutral=0.95, conflict=0.95, **more):
    moved = None if lost is None else [lost, lost, 0.0, 0.0]
    return {"moved": moved, "neutral": [neutral, 0, 0], "conflict_accuracy": conflict, "marks": None, **more}


def record(masks, *, harm=0.6, left=0.0, name="improved", status="done", **after):
    """The record of a run with so many masks, one in five of them held out from ten on."""
    keys = [f"train/{i:05d}" for i in range(masks)]
    held = keys[::5] if masks >= 10 else keys
    return {
        "before": check(harm, conflict=0.95 - harm),
        "after": check(left, **after),
        "painted": [key for key in keys if masks < 10 or key not in held],
        "held_out": held,
        "verdict": {"name": name},
        "status": status,
    }


def painted(count):
    return [f"train/{i:05d}" for i in range(count)]


def test_where_moved_patches_still_mislead_more_masks_help_by_most_of_that_and_else_they_do_not():
    leaves, cured = (more_masks(photos(), painted(6), [record(6, left=left)]) for left in (0.15, 0.0))
    assert leaves.helps
    assert 0.08 < leaves.gain < 0.15
    assert leaves.low < leaves.gain < leaves.high
    assert "will probably help" in leaves.sentence
    assert not cured.helps
    assert cured.gain < 0.02
    assert "will hardly help" in cured.sentence


def test_of_a_shortcut_that_the_model_hardly_uses_no_number_of_masks_helps():
    assert not more_masks(photos(), painted(5), [record(5, harm=0.02)]).helps
    assert not more_masks(photos(), painted(5), [record(5, harm=0.0)]).helps


def test_held_out_patches_that_still_mislead_count_too():
    assert more_masks(photos(), painted(20), [record(20, conflict=0.7)]).helps
    assert not more_masks(photos(), painted(9), [record(9, conflict=0.7)]).helps  # these are the patches learnt from


def test_a_second_run_makes_it_surer():
    one = more_masks(photos(), painted(20), [record(20, left=0.2)])
    two = more_masks(photos(), painted(20), [record(10, left=0.3), record(20, left=0.2)])
    assert two.high - two.low < one.high - one.low


def test_masks_painted_since_the_last_run_count():
    now, then = (more_masks(photos(), painted(n), [record(10, left=0.1)]) for n in (30, 10))
    assert now.gain < then.gain


def test_the_classes_painted_least_are_named():
    keys = [f"train/{i:05d}" for i in (0, 2, 4, 6, 8, 1)]
    found = more_masks(photos(), keys, [record(6, harm=0.9, left=0.3)])
    assert found.classes == ("dog",)
    assert "best of dog (painted least so far)" in found.sentence
    assert more_masks(photos(), painted(6), [record(6)]).classes == ()


@pytest.mark.parametrize(
    ("count", "runs", "said"),
    [
        (0, [], ""),
        (2, [record(2)], "not known before 3 are painted"),
        (8, [], "known after a retune"),
        (8, [record(8, status="stopped")], "no retune so far could tell"),
        (8, [record(8, name="failed")], "no retune so far could tell"),
        (8, [{**record(8), "after": check(None)}], "no retune so far could tell"),
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
