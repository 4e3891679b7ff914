"""``retune --with DIR --without DIR``: against what lies over whole images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from napari_cam_feedback.cli import main
from napari_cam_feedback.models import build_classifier, default_preprocessing, load_classifier, save_classifier
from napari_cam_feedback.steps import run_to_end
from napari_cam_feedback.training import TrainConfig, train_classifier
from style_builders import biased, scenes, tint


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with ``data``, ``model.safetensors``, and images ``with`` and ``without``."""
    folder, dataset = tmp_path_factory.mktemp("styles"), biased(tint)
    for index, key in enumerate(dataset.keys):
        split, name = dataset.splits[index], dataset.class_names[dataset.labels[index]]
        _write(folder / "data" / str(split) / name / f"{split}{index}.png", dataset.read(index))
        assert key
    for number, (image, bare) in enumerate(zip(*(scenes(30, seed, light=(40, 70))[0] for seed in (31, 32)), strict=True)):
        _write(folder / "with" / f"w{number}.png", tint(image[None])[0])
        _write(folder / "without" / f"o{number}.png", bare)
    start = build_classifier("small-gap", dataset.class_names, default_preprocessing(dataset), seed=0)
    model = run_to_end(train_classifier(start, dataset, TrainConfig(epochs=4, seed=0)))
    save_classifier(model, folder / "model.safetensors")
    return folder


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, image, check_contrast=False)


def shown(place: Path) -> list[object]:
    return ["--with", place / "with", "--without", place / "without"]


def run(*arguments: object) -> int:
    return main([str(each) for each in arguments])


def retune(place: Path, out: Path, *more: object) -> int:
    return run("retune", place / "model.safetensors", place / "data", "--out", out, "--no-next", *more)


def refused(capsys, *arguments: object) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_model_stops_using_it_without_a_mask(place, tmp_path, capsys):
    out, told = tmp_path / "run", tmp_path / "told.json"
    assert retune(place, out, *shown(place), "--json", told) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The shortcut no longer decides." in said
    assert "with it swapped (taken off where it is, else put on)" in said
    assert "marker pasted" not in said
    result = json.loads(told.read_text())
    assert result["verdict"]["name"] == "fixed"
    test = {row["measure"]: row for row in result["comparison"]["rows"] if row["split"] == "test"}
    assert test["accuracy"]["after"] > test["accuracy"]["before"] + 0.3
    assert not list((out / "masks").glob("*.png"))
    assert load_classifier(out / "model.safetensors").info["retune"]["verdict"] == "fixed"


def test_a_run_is_repeated_from_its_settings_alone(place, tmp_path):
    """Its style is kept with it: the images that showed it may be gone."""
    some = ["--set", "iterations=4", "--set", "check_every=2"]
    assert retune(place, tmp_path / "one", *shown(place), *some) == 0
    assert retune(place, tmp_path / "two", "--config", tmp_path / "one" / "config.json") == 0
    one, two = (load_classifier(tmp_path / name / "model.safetensors").fingerprint() for name in ("one", "two"))
    assert one == two
    assert (tmp_path / "two" / "style.safetensors").read_bytes() == (tmp_path / "one" / "style.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--with", "with"], "Images with it and images without it are both needed; give --without DIR, too."),
        (["--without", "without"], "Images with it and images without it are both needed; give --with DIR, too."),
        (
            ["--with", "with", "--without", "without", "--resume"],
            "A run is resumed against what it was begun with; leave out --with, --without and --colours.",
        ),
        (
            ["--with", "with", "--without", "without", "--colours"],
            "A run is against one style",
        ),
        (["--with", "with", "--without", "nowhere"], "nowhere"),
        (["--with", "without", "--without", "without"], "of these images apart, and half would be chance"),
        (["--with", "data/test", "--without", "without"], "200 of the images with it and without it are test images"),
        (["--with", "with", "--without", "without", "--method", "rrr"], "The method rrr works on painted places"),
    ],
)
def test_what_cannot_be_done_is_said(place, tmp_path, capsys, monkeypatch, more, sentence):
    monkeypatch.chdir(place)
    said = refused(capsys, "retune", "model.safetensors", "data", "--out", tmp_path / "run", *more)
    assert sentence in said
    assert not (tmp_path / "run" / "model.safetensors").exists()
