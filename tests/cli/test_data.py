"""The commands with every kind of dataset: what is written, what is said, what is left out and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cli_runs import NAMES, complaint, run, small_gap
from core_builders import without_look
from dataset_kinds import CIFAR, COUNTS, KINDS, arrays, cifar, class_folders, npy_per_class, npz, split_folders, tiff_stack
from napari_cam_feedback.models import load_classifier, save_classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of ours for the stripes, with random weights."""
    file = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_classifier(small_gap(), file)
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_trained_on_a_dataset_of_any_kind_and_then_measured_by_it(kind, tmp_path, capsys):
    data, file = kind(tmp_path / "data"), tmp_path / "m.safetensors"
    drawn = kind in (class_folders, npy_per_class)
    counts = {"train": 20, "test": 10} if kind is cifar else None if drawn else COUNTS
    total = 30 if kind is cifar else 24
    names = CIFAR if kind is cifar else NAMES

    out, err = run(capsys, "train", data, "--epochs", "1", "--batch-size", "8", "--seed", "4", "--out", file)
    assert out.splitlines()[-1] == f"Saved {file} (epoch 1 of 1)."
    said = "The dataset has no splits; a split into train, val, test was drawn with seed 4."
    assert (said in out) == drawn
    assert err.strip() == ""
    assert load_classifier(file).class_names == names

    out, err = run(capsys, "evaluate", file, data, "--json", tmp_path / "e.json")
    assert not without_look(err)
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["skipped"] == {}
    found = {name: split["n"] for name, split in result["splits"].items()}
    assert found == counts if counts else set(found) == {"train", "val", "test"}
    assert sum(found.values()) == total

    out, _ = run(capsys, "predict", file, data, "--out", tmp_path / "p.csv")
    assert out.startswith(f"{total} predictions in {tmp_path / 'p.csv'}, accuracy ")
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert len({row["key"] for row in rows}) == total
    assert {row["label"] for row in rows} == set(names)

    out, _ = run(capsys, "explain", file, data, "--out", tmp_path / "maps")
    maps = {path.relative_to(tmp_path / "maps").as_posix() for path in (tmp_path / "maps").rglob("*") if path.is_file()}
    assert maps == {f"{row['key']}.tif" for row in rows if row["split"] == "test"}
    side = 32 if kind is cifar else 16
    assert {tifffile.imread(tmp_path / "maps" / name).shape for name in maps} == {(side, side)}


def test_every_kind_holds_the_same_pixels_and_labels(model, tmp_path, capsys):
    """Whatever the form, an image is predicted alike."""
    found = {}
    for kind in KINDS:
        if kind is cifar:
            continue
        folder = tmp_path / kind.__name__
        run(capsys, "predict", model, kind(folder), "--out", folder / "p.csv")
        rows = csv.DictReader((folder / "p.csv").open())
        found[kind.__name__] = sorted((row["p_along"], row["label"]) for row in rows)
    first = found.pop("split_folders")
    for name, rows in found.items():
        assert rows == first, name


def test_a_seed_draws_the_split_of_a_dataset_without_one_and_is_said(tmp_path, capsys, model):
    data = class_folders(tmp_path / "data")
    _, err = run(capsys, "predict", model, data, "--split", "test", "--seed", "5", "--out", tmp_path / "p.csv")
    assert without_look(err) == ["Assumed, since it was not said: a split drawn with seed 5 (else --seed)."]


@pytest.mark.parametrize("kind", [split_folders, npz])
def test_a_retune_takes_the_masks_that_the_dataset_brings(kind, model, tmp_path, capsys):
    data = kind(tmp_path / "data")
    settings = ["--set", "iterations=2", "--set", "batch_size=4", "--set", "check_every=2", "--method", "actdiff"]
    settings += ["--set", "pasa_base=2"]
    out, said = run(capsys, "retune", model, data, "--out", tmp_path / "run", "--json", tmp_path / "r.json", *settings)
    assert f"Run: {tmp_path / 'run'}" in out
    assert "The method actdiff does not use pasa_base." in said.splitlines()
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["skipped"] == {}
    assert result["comparison"]["rows"]
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"model.safetensors", "config.json", "result.json"}


# --- files that cannot be read ---------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, list[str]]:
    """Class folders with splits in which seven images cannot be read, and their keys."""
    root = split_folders(tmp_path / "data")
    keys = [f"train/across/{n:02}.png" for n in (0, 2, 4)] + ["train/along/01.png", "val/across/00.png"]
    keys += ["test/across/00.png", "test/along/01.png"]
    for number, key in enumerate(keys):
        content = (root / key).read_bytes()
        (root / key).write_bytes([b"", b"no image", content[:50], content[: len(content) // 2]][number % 4])
    return root, keys


def check_said_once(err: str, keys: list[str]) -> None:
    lines = [line for line in err.splitlines() if line.startswith("left out: ")]
    assert len(lines) == min(len(keys), 6)
    for line in lines[:5]:
        key = line.removeprefix("left out: ").split(":")[0]
        assert key in keys
        assert Path(key).name in line.partition(key)[2], "the sentence names the file"
    more = len(keys) - 5
    assert more <= 0 or lines[5] == f"left out: {more} more {'image' if more == 1 else 'images'} that cannot be read"


def test_predict_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    out, err = run(capsys, "predict", model, data, "--out", tmp_path / "p.csv", "--json", tmp_path / "p.json")
    check_said_once(err, keys)
    assert out.startswith("17 predictions")
    said = json.loads((tmp_path / "p.json").read_text())
    assert sorted(said["skipped"]) == sorted(keys)
    assert said["n"] == 17
    assert all(sentence.endswith(".") for sentence in said["skipped"].values())
    assert not {row["key"] for row in csv.DictReader((tmp_path / "p.csv").open())} & set(keys)


def test_explain_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    command = ["explain", model, data, "--json", tmp_path / "x.json", "--out", tmp_path / "maps"]
    out, err = run(capsys, *command)
    check_said_once(err, keys[5:])
    assert out.startswith("4 maps")
    assert sorted(json.loads((tmp_path / "x.json").read_text())["skipped"]) == sorted(keys[5:])
    assert len(list((tmp_path / "maps").rglob("*.tif"))) == 4


def test_evaluate_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    _, err = run(capsys, "evaluate", model, data, "--json", tmp_path / "e.json")
    check_said_once(err, keys)
    said = json.loads((tmp_path / "e.json").read_text())
    assert sorted(said["skipped"]) == sorted(keys)
    assert {name: split["n"] for name, split in said["splits"].items()} == {"train": 8, "val": 5, "test": 4}


def test_retune_leaves_out_what_cannot_be_read_and_says_so_once(broken, model, tmp_path, capsys):
    data, keys = broken
    settings = ["--set", "iterations=2", "--set", "batch_size=4", "--set", "check_every=2", "--method", "actdiff"]
    _, err = run(capsys, "retune", model, data, "--out", tmp_path / "run", "--json", tmp_path / "r.json", *settings)
    check_said_once(err, keys)
    said = json.loads((tmp_path / "r.json").read_text())
    assert sorted(said["skipped"]) == sorted(keys)
    assert not set(said["painted"]) & set(keys)
    assert sorted(json.loads((tmp_path / "run" / "result.json").read_text())["comparison"]["before"]["skipped"]) == sorted(
        keys
    )


def test_train_leaves_out_what_cannot_be_read_and_says_so_once(broken, tmp_path, capsys):
    data, keys = broken
    file = tmp_path / "m.safetensors"
    _, err = run(capsys, "train", data, "--epochs", "2", "--out", file, "--json", tmp_path / "t.json", "--batch-size", "4")
    # A training looks at the splits train and val.
    check_said_once(err, keys[:5])
    assert sorted(json.loads((tmp_path / "t.json").read_text())["skipped"]) == sorted(keys[:5])
    assert file.is_file()


def test_images_of_another_value_range_are_trained_on_once_that_is_said(tmp_path, capsys):
    data, file = tmp_path / "data", tmp_path / "m.safetensors"
    for split, (images, labels, _) in arrays().items():
        for n, (image, label) in enumerate(zip(images, labels, strict=True)):
            (data / split / NAMES[label]).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(data / split / NAMES[label] / f"{n:02}.tif", image.astype(np.float32) * 40)
    command = ["train", data, "--epochs", "1", "--batch-size", "8", "--out", file]
    assert "the value range" in complaint(capsys, *command)
    run(capsys, *command, "--value-range", "0", "10000")
    found = load_classifier(file).preprocessing
    assert found.value_range == (0, 10000)
    assert 0.2 < found.mean[0] < 0.7
    out, err = run(capsys, "predict", file, data, "--out", tmp_path / "p.csv")
    assert out.startswith("24 predictions")
    assert not without_look(err)


def test_a_stack_without_a_list_is_predicted_without_labels(model, tmp_path, capsys):
    data = tiff_stack(tmp_path / "data")
    data.with_suffix(".csv").unlink()
    out, _ = run(capsys, "predict", model, data, "--out", tmp_path / "p.csv")
    assert out == f"24 predictions in {tmp_path / 'p.csv'}.\n"


def test_a_dataset_of_which_nothing_can_be_read_is_refused_by_the_first_reason(model, tmp_path, capsys):
    data = split_folders(tmp_path / "data")
    for path in data.glob("t*/*/*.png"):
        path.write_bytes(b"no image")
    line = complaint(capsys, "predict", model, data, "--split", "test", "--out", tmp_path / "p.csv")
    assert "None of the images could be read: " in line
    assert "00.png" in line
    line = complaint(capsys, "explain", model, data, "--out", tmp_path / "maps")
    assert "00.png" in line
    line = complaint(capsys, "train", data, "--out", tmp_path / "m.safetensors")
    assert ".png" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_split_without_labels_is_predicted_and_does_not_stop_the_others_from_being_measured(model, tmp_path, capsys):
    data = split_folders(tmp_path / "data")
    for path in [*(data / "test").glob("*/*.png")]:
        path.rename(data / "test" / f"{path.parent.name}_{path.name}")
    for name in NAMES:
        (data / "test" / name).rmdir()
    run(capsys, "evaluate", model, data, "--json", tmp_path / "e.json")
    assert set(json.loads((tmp_path / "e.json").read_text())["splits"]) == {"train", "val"}
    run(capsys, "predict", model, data, "--split", "test", "--out", tmp_path / "p.csv")
    assert [row["label"] for row in csv.DictReader((tmp_path / "p.csv").open())] == [""] * 6
    settings = ["--set", "iterations=1", "--set", "batch_size=4", "--method", "actdiff"]
    run(capsys, "retune", model, data, "--out", tmp_path / "run", *settings)
    line = complaint(capsys, "evaluate", model, data, "--split", "test")
    assert line.endswith("Nothing can be measured on the split test: its images have no labels.")
