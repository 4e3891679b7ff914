"""``train`` in the shell: its record and repeating it, starting from another model, and what is wrong said in one line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import models as theirs

from core_builders import same_weights, stripes
from model_files import saved
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import open_dataset
from napari_cam_feedback.models import load_classifier, read_header
from napari_cam_feedback.torch_loader import torch


def write(folder: Path, counts: dict[str, int], *, split: bool = True) -> Path:
    dataset = stripes(counts)
    for index in range(len(dataset)):
        item = dataset.item(index)
        place = folder / (item.split if split else "") / dataset.class_names[item.label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.read(index)).save(place / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("train") / "data", {"train": 16, "val": 8})


@pytest.fixture(scope="module")
def start(data, tmp_path_factory) -> Path:
    """A model of ours to start from."""
    file = tmp_path_factory.mktemp("start") / "start.safetensors"
    assert main(["train", str(data), "--epochs", "1", "--batch-size", "8", "--out", str(file)]) == 0
    return file


def run(capsys, *arguments: object) -> str:
    capsys.readouterr()
    status = main(["train", *map(str, arguments)])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert said.err == ""
    return said.out


def fails(capsys, *arguments: object) -> str:
    capsys.readouterr()
    assert main(["train", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("napari-cam-feedback: ")


def record(model: Path) -> Path:
    return model.with_name(f"{model.stem}_training")


def same_files(one: Path, other: Path) -> bool:
    return same_weights(load_classifier(one, device="cpu"), load_classifier(other, device="cpu"))


def test_the_record_beside_the_model_has_settings_history_curves_and_what_it_came_to(data, tmp_path, capsys):
    file = tmp_path / "m.safetensors"
    out = run(capsys, data, "--epochs", 2, "--batch-size", 8, "--set", "weight_decay=0.5", "--seed", 3, "--out", file)
    assert out == f"Saved {file} (epoch {read_header(file)['info']['training']['epoch']} of 2).\n"
    folder = record(file)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "curves.png", "history.csv", "result.json"]
    config = json.loads((folder / "config.json").read_text())
    assert config["arch"] == "small-gap"
    assert config["training"]["weight_decay"] == 0.5
    assert config["training"]["seed"] == 3
    assert config["options"]["size"] == [16, 16]
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row[name]) >= 0 for row in rows for name in ("loss", "train_accuracy", "val_accuracy", "val_loss"))
    assert Image.open(folder / "curves.png").size == (880, 352)
    result = json.loads((folder / "result.json").read_text())
    assert result["fingerprint"] == load_classifier(file).fingerprint()
    assert result["data"]["path"] == str(data)
    assert result["data"]["images"] == {"train": 16, "val": 8}
    assert result["split"] == {"train": 16, "validation": 8, "made_with_seed": None, "drawn_from_train": None}
    assert result["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert result["command"]
    assert not result["stopped"]


def test_a_training_is_repeated_bit_for_bit_from_its_record(data, tmp_path, capsys):
    one, again, other = (tmp_path / f"{name}.safetensors" for name in ("one", "again", "other"))
    options = ["--epochs", 2, "--batch-size", 8, "--seed", 5, "--augment", "--mean", "0.4", "--std", "0.3"]
    run(capsys, data, *options, "--out", one)
    run(capsys, data, "--config", record(one) / "config.json", "--out", again)
    assert same_files(one, again)
    assert (record(one) / "config.json").read_text() == (record(again) / "config.json").read_text()
    assert (record(one) / "history.csv").read_text() == (record(again) / "history.csv").read_text()
    run(capsys, data, "--config", record(one) / "config.json", "--seed", 6, "--out", other)
    assert not same_files(one, other)


def test_a_model_that_is_there_is_replaced_only_if_asked_for(data, tmp_path, capsys):
    file = tmp_path / "m.safetensors"
    quick = ["--epochs", 1, "--batch-size", 8, "--out", file]
    run(capsys, data, *quick)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert fails(capsys, data, *quick, "--seed", 1) == (
        f"{file} exists; choose another name for the model, or add --overwrite."
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    run(capsys, data, *quick, "--seed", 1, "--overwrite")
    assert json.loads((record(file) / "config.json").read_text())["training"]["seed"] == 1
    # A record alone tells of a model that was moved.
    file.unlink()
    assert fails(capsys, data, *quick).startswith(f"{record(file)} exists; ")


def test_a_transfer_is_repeated_bit_for_bit_and_only_from_the_same_model(data, start, tmp_path, capsys):
    one, again = tmp_path / "one.safetensors", tmp_path / "again.safetensors"
    weights = tmp_path / "start.safetensors"
    weights.write_bytes(start.read_bytes())
    options = ["--epochs", 1, "--head-epochs", 2, "--batch-size", 8, "--freeze", "features.0"]
    run(capsys, data, "--weights", weights, *options, "--out", one)
    run(capsys, data, "--config", record(one) / "config.json", "--out", again)
    assert same_files(one, again)
    rows = list(csv.DictReader((record(one) / "history.csv").open()))
    assert [row["phase"] for row in rows] == ["head", "head", "fine-tune"]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([1e-3, 5e-4, 1e-4])
    weights.write_bytes(one.read_bytes())
    line = fails(capsys, data, "--config", record(one) / "config.json", "--out", again, "--overwrite")
    assert line == (
        "start.safetensors is not the model that this training started from (its weights or its input changed); "
        "restore that file, or name what to start from (--weights)."
    )
    weights.unlink()
    line = fails(capsys, data, "--config", record(one) / "config.json", "--out", again, "--overwrite")
    assert line == f"There is no model file {weights}; check the path."


def test_weights_of_others_are_started_from_with_their_architecture(data, tmp_path, capsys):
    torch.manual_seed(0)
    weights = saved(tmp_path / "w.pth", theirs.squeezenet1_1(num_classes=6).state_dict())
    file = tmp_path / "m.safetensors"
    more = ["--head-epochs", 1, "--epochs", 0, "--size", 64, 64, "--out", file]
    line = fails(capsys, data, "--weights", weights, *more)
    assert line == ("w.pth does not say its architecture; its weights fit torchvision:squeezenet1_1, so name that (--arch).")
    run(capsys, data, "--weights", weights, "--arch", "torchvision:squeezenet1_1", *more)
    weights.unlink()
    found = load_classifier(file, device="cpu")
    assert (found.arch, found.class_names) == ("gap:features:torchvision:squeezenet1_1", ("across", "along"))
    assert found.preprocessing.size == (64, 64)


def test_a_split_of_ours_is_in_the_record_and_made_again_by_its_seed(tmp_path, capsys):
    data, file = write(tmp_path / "data", {"train": 20}, split=False), tmp_path / "m.safetensors"
    out = run(capsys, data, "--epochs", 1, "--seed", 4, "--out", file)
    assert out.splitlines()[0] == "The dataset has no splits; a split into train, val, test was drawn with seed 4."
    rows = list(csv.DictReader((record(file) / "split.csv").open()))
    expected = open_dataset(data, seed=read_header(file)["info"]["training"]["split_seed"])
    assert [(row["key"], row["split"]) for row in rows] == list(zip(expected.keys, expected.splits.tolist(), strict=True))
    # What starts from that model must not test by images that it learnt from.
    other = tmp_path / "other.safetensors"
    run(capsys, data, "--weights", file, "--epochs", 0, "--head-epochs", 1, "--seed", 9, "--out", other)
    assert read_header(other)["info"]["training"]["split_seed"] == 4


def test_where_only_val_is_missing_one_image_in_five_is_kept_for_it_and_the_record_says_which(tmp_path, capsys):
    data, file = write(tmp_path / "data", {"train": 20, "test": 4}), tmp_path / "m.safetensors"
    out = run(capsys, data, "--epochs", 1, "--seed", 4, "--out", file)
    assert out.splitlines()[0] == (
        "The dataset has no split val; 4 of the 20 training images (20% of each class) are kept for validation, "
        "drawn with seed 4."
    )
    rows = list(csv.DictReader((record(file) / "split.csv").open()))
    counts = {name: sum(row["split"] == name for row in rows) for name in ("train", "val", "test")}
    assert counts == {"train": 16, "val": 4, "test": 4}
    assert read_header(file)["info"]["training"]["validation"] == {"share": 0.2, "seed": 4, "images": 4}
    assert json.loads((record(file) / "result.json").read_text())["split"]["drawn_from_train"]["images"] == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--freeze", "feature.0"], r"The model has no part 'feature\.0' to freeze; did you mean features\.0"),
        (["--head-epochs", "2"], r"Head epochs are for a start from another model's weights; name one, or leave out the h"),
        (["--weights", "{no}.pth"], r"There is no model file .*no\.pth; check the path\."),
        (["--arch", "torchvision:resnet18", "--weights", "best"], r"has no weights 'best'; choose IMAGENET1K_V1"),
        (["--set", "epoch=3"], r"There is no setting 'epoch'; known are epochs, "),
        (["--set", "epochs"], r"--set needs key=value, as weight_decay=0\.01, not 'epochs'\."),
        (["--lr", "7"], r"The setting learning_rate cannot be 7\.0: "),
        (
            ["--set", "freeze=layer1"],
            r"The setting freeze takes a list, not 'layer1'; write it as \[\"layer1\"\] \(in a shell: ",
        ),
        (["--epochs", "0"], r"A training from random weights needs at least one epoch; raise the epochs\."),
        (["--config", "{no}.json"], r"Could not read .*no\.json: "),
        (["--config", "{list}"], r"list\.json must hold a JSON object of settings"),
        (["--config", "{odd}"], r"odd\.json has 'seeds', which is unknown there; known are arch, weights, "),
        (["--config", "{nested}"], r"There is no setting 'epoch'; known are epochs, "),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(options, sentence, data, tmp_path, capsys):
    for name, content in {"list": [1], "odd": {"training": {}, "seeds": 1}, "nested": {"training": {"epoch": 1}}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    places = {"no": tmp_path / "no", **{name: tmp_path / f"{name}.json" for name in ("list", "odd", "nested")}}
    before = sorted(tmp_path.iterdir())
    line = fails(capsys, data, *(option.format(**places) for option in options), "--out", tmp_path / "m.safetensors")
    assert re.search(sentence, line), line
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_is_not_written_among_the_images_where_its_record_would_be_a_class(data, capsys):
    before = sorted(data.rglob("*"))
    line = fails(capsys, data, "--out", data / "m.safetensors")
    assert line == (
        f"{data / 'm.safetensors'} lies among the images of {data}; choose a folder outside of it for the model."
    )
    assert sorted(data.rglob("*")) == before


def test_a_model_is_not_written_over_the_one_that_the_training_starts_from(data, tmp_path, capsys):
    start = tmp_path / "m.safetensors"
    start.write_bytes(b"precious")
    line = fails(capsys, data, "--weights", start, "--out", tmp_path / "." / "m.safetensors")
    assert line == f"{start} is the model that the training starts from; save the new one under another name."
    assert start.read_bytes() == b"precious"


def test_settings_alone_are_a_configuration_too(data, tmp_path, capsys):
    (tmp_path / "c.json").write_text('{"epochs": 3, "batch_size": 8, "patience": 1}')
    file = tmp_path / "m.safetensors"
    run(capsys, data, "--config", tmp_path / "c.json", "--epochs", 1, "--out", file)
    config = json.loads((record(file) / "config.json").read_text())["training"]
    assert (config["epochs"], config["batch_size"], config["patience"]) == (1, 8, 1)


def test_a_training_that_ends_at_chance_says_so(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 20)):
        for name in ("across", "along"):
            (tmp_path / "noise" / split / name).mkdir(parents=True)
            for number in range(count):
                picture = rng.integers(0, 255, (16, 16), dtype=np.uint8)
                Image.fromarray(picture).save(tmp_path / "noise" / split / name / f"{number}.png")
    out = run(capsys, tmp_path / "noise", "--epochs", "1", "--lr", "1e-6", "--out", tmp_path / "m.safetensors")
    assert out.startswith("The result is no better than chance: it is right on ")
    assert (
        "of the 40 validation images, and always naming their most frequent class would be right on 50%. Try more epochs, "
        "a larger or smaller learning rate, or a network that was trained before, and check that the labels belong to the "
        "images." in " ".join(out.split())
    )
    assert out.splitlines()[-1].startswith("Saved ")
    noted = read_header(tmp_path / "m.safetensors")["info"]["training"]
    assert 0 <= noted["val_accuracy"] <= 0.7
