"""The next shortcut: a place that the model follows and that tells the class is named, with images to paint."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer

from core_builders import looking_classifier
from napari_cam_feedback.auditing import NextShortcut, audit, next_shortcuts
from napari_cam_feedback.auditing.next_shortcut import _smallest
from napari_cam_feedback.cli import main
from napari_cam_feedback.cli.app import app
from napari_cam_feedback.cli.naming import OptionNames
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import name_settings
from napari_cam_feedback.evaluation import Interval, predict
from napari_cam_feedback.models import Classifier

SIDE = 24
CORNER, CENTRE = np.zeros((2, SIDE, SIDE), bool)
CORNER[:4, :4] = True
CENTRE[10:14, 10:14] = True


def data(place: np.ndarray) -> ArrayDataset:
    """Noisy images of two classes, told by whether a place is bright."""
    rng = np.random.default_rng(0)
    labels = {split: np.arange(n) % 2 for split, n in (("train", 80), ("val", 40))}
    images = {split: rng.integers(40, 90, (len(own), SIDE, SIDE)) for split, own in labels.items()}
    for split, own in labels.items():
        images[split][np.ix_(own == 1, *(np.unique(axis) for axis in np.nonzero(place)))] = 255
    return ArrayDataset({name: each.astype(np.uint8) for name, each in images.items()}, labels, ("dark", "bright"))


def by(place: np.ndarray) -> Classifier:
    # 16 of 576 pixels: 0.028 where they are white, 0.007 where they are as dark as the rest.
    return looking_classifier(place, 0.018)


@pytest.fixture(scope="module")
def found():
    return next_shortcuts(by(CORNER), data(CORNER))


def test_a_corner_that_the_model_follows_is_named_with_images_to_paint(found):
    (shortcut,) = found
    assert (shortcut.cue, shortcut.followed, shortcut.n, shortcut.painted) == ("top left corner", 1.0, 40, False)
    assert shortcut.sentence.startswith(
        "The model also leans on the top left corner: with that of an image of another class, 100% of the predictions "
        "become that class"
    )
    assert len(shortcut.keys) == 10
    assert all(key.startswith("train/") for key in shortcut.keys)
    json.dumps(shortcut.to_json(), allow_nan=False)


def test_brightness_and_colour_cannot_be_painted_and_the_way_to_take_them_out_is_named_as_each_face_calls_it():
    found = NextShortcut("brightness and colour", 0.4, Interval(0.3, 0.5), 40, 0.9, 0.5, False, ())
    assert "That cannot be painted: take it out beside what is painted, in one retune" in found.sentence
    command = typer.main.get_command(app).commands["retune"]
    assert name_settings(found.sentence, found.fields, OptionNames(command)).endswith("in all lights (--colours).")
    corner = replace(found, cue="top left corner", keys=("a.png",))
    assert "cannot be painted" not in corner.sentence
    assert corner.fields == ()


def test_what_was_painted_already_is_still_leant_on_and_painted_images_are_not_offered_again(found):
    again = next_shortcuts(by(CORNER), data(CORNER), dict.fromkeys(found[0].keys, CORNER))
    assert again[0].painted
    assert "The model still leans on the top left corner, where what was painted lies" in again[0].sentence
    assert "Paint it on more images, for instance in train/" in again[0].sentence
    assert not set(again[0].keys) & set(found[0].keys)


def test_a_mark_within_a_place_that_is_followed_may_be_what_is_followed_there():
    mark = np.zeros((SIDE, SIDE), bool)
    mark[1:3, 1:3] = True
    assert next_shortcuts(by(CORNER), data(CORNER), {"train/00001": mark})[0].painted
    assert not next_shortcuts(by(CORNER), data(CORNER), {"train/00001": CENTRE})[0].painted


def test_a_model_that_goes_by_content_follows_nothing():
    assert next_shortcuts(by(CENTRE), data(CENTRE)) == ()


def test_what_an_image_shows_is_followed_for_what_it_is_where_it_reaches_to_the_edge():
    bar, end = np.zeros((2, SIDE, SIDE), bool)
    bar[11:13, 10:], end[11:13, 22:] = True, True
    images = data(bar)
    # The surroundings tell the class by a mark that the model does not use.
    for index in np.flatnonzero(images.labels == 1):
        images._images[str(images.splits[index])][images._locate(int(index))[1], :2, :2] = 255
    assert {"surroundings", "border"} & {finding.cue for finding in audit(images).findings}
    by_end = looking_classifier(end, 0.004)
    assert (predict(by_end, images).predicted == images.labels).all()
    assert next_shortcuts(by_end, images) == ()


def test_a_large_place_that_a_smaller_one_and_brightness_explain_is_not_named_beside_them(found):
    edge, light, around = (
        replace(found[0], cue=cue, followed=share)
        for cue, share in (("border", 0.4), ("brightness and colour", 0.5), ("surroundings", 0.7))
    )
    assert _smallest([around, light, edge], (SIDE, SIDE)) == [light, edge]
    # Each of the two alone does not explain it.
    assert _smallest([around, edge], (SIDE, SIDE)) == [around, edge]
    assert _smallest([around, light], (SIDE, SIDE)) == [around, light]


def test_a_place_that_is_there_and_not_used_is_none():
    both = CORNER | CENTRE
    images = data(CENTRE)
    for index in np.flatnonzero(images.labels == 1):
        images._images[str(images.splits[index])][images._locate(int(index))[1], :4, :4] = 255
    assert next_shortcuts(by(CENTRE), images) == ()
    assert [each.cue for each in next_shortcuts(by(both & CORNER), images)] == ["top left corner"]


def test_too_few_images_and_a_wish_to_stop_give_nothing():
    few = ArrayDataset({"train": np.zeros((6, SIDE, SIDE), np.uint8)}, {"train": np.arange(6) % 2}, ("dark", "bright"))
    assert next_shortcuts(by(CORNER), few) == ()
    assert next_shortcuts(by(CORNER), data(CORNER), monitor=_Stopped()) == ()


class _Stopped:
    stopped = True

    def progress(self, done: int, total: int, message: str = "") -> None:
        pass


def test_the_shell_says_after_a_retune_what_the_model_leans_on_besides(found, tmp_path, capsys, monkeypatch):
    def looked_for(classifier, dataset, masks, **_):
        assert len(masks) == 6
        return found

    monkeypatch.setattr("napari_cam_feedback.auditing.next_shortcuts", looked_for)
    assert main(["sample", "tag-digits", "--out", str(tmp_path / "tags")]) == 0
    tags = tmp_path / "tags"
    for number, image in enumerate(sorted((tags / "data").glob("[tv]*/*/*.png"))):
        if number % 5:  # fewer are enough for what is said
            image.unlink()
            (tags / "data" / "masks" / image.relative_to(tags / "data")).unlink(missing_ok=True)
    command = [
        "retune",
        tags / "model.safetensors",
        tags / "data",
        "--n-masks",
        6,
        "--set",
        "iterations=2",
        "--device",
        "cpu",
    ]
    assert main([*map(str, command), "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Next. The model also leans on the top left corner" in said
    content = json.loads((tmp_path / "run" / "result.json").read_text())
    assert content["next"][0]["cue"] == "top left corner"
    # And whether more masks of what was painted help.
    assert content["more_masks"]["masks"] == 6
    assert content["more_masks"]["helps"] in (True, False)
    assert content["more_masks"]["sentence"] in said
    # Who does not want to wait for it says so.
    assert main([*map(str, command), "--out", str(tmp_path / "other"), "--no-next"]) == 0
    assert "Next." not in capsys.readouterr().out
