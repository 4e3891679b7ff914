"""``concepts``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.explanations.tcav.cav import fit_cav
from napari_cam_feedback.models import build_classifier, save_classifier

SIZE = 16
QUICK = ("--runs", 5, "--random-runs", 30)


def texture(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Noise over stripes across, stripes along, or nothing."""
    image = rng.normal(120, 25, (SIZE, SIZE))
    wave = (np.arange(SIZE) // 2 % 2) * 60.0
    if kind != "plain":
        image += wave[:, None] if kind == "across" else wave[None, :]
    return np.clip(image, 0, 255).astype(np.uint8)


def write(folder: Path, kind: str, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(texture(kind, rng)).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A dataset of two classes, a model of random weights, two concepts and random images."""
    root = tmp_path_factory.mktemp("concepts")
    for seed, (split, count) in enumerate({"train": 25, "test": 12}.items()):
        for name in ("across", "along"):
            write(root / "data" / split / name, name, count, seed)
    for seed, name in enumerate(("across", "along"), 5):
        write(root / "concepts" / name, name, 30, seed)
    write(root / "random", "plain", 120, 9)
    preprocessing = Preprocessing(size=(SIZE, SIZE), channels=1, mean=(0.5,), std=(0.25,))
    save_classifier(build_classifier("small-gap", ("across", "along"), preprocessing, seed=0), root / "model.safetensors")
    return root


def arguments(here: Path, *more: object, random: bool = True) -> list[str]:
    said = [here / "model.safetensors", "--concepts", here / "concepts", "--data", here / "data", "--device", "cpu", *QUICK]
    return ["concepts", *map(str, [*said, *(["--random", here / "random"] if random else []), *more])]


def fails(capsys, *said: object) -> str:
    """Run a command that must end with status 2 and one line on stderr; return the line."""
    capsys.readouterr()
    assert main([str(each) for each in said]) == 2
    lines = without_look(capsys.readouterr().err)
    assert len(lines) == 1, lines
    return lines[0].removeprefix("napari-cam-feedback: ")


def test_the_table_the_files_and_the_json_say_the_same(here, tmp_path, capsys):
    folder, said = tmp_path / "out", tmp_path / "said.json"
    more = ["--class", "along", "--layer", "features.3", "--layer", "features.4", "--split", "test"]
    assert main(arguments(here, *more, "--out", folder, "--json", said)) == 0
    printed = capsys.readouterr()
    result = json.loads(said.read_text())
    rows = result["rows"]
    assert [(row["layer"], row["concept"], row["class_name"]) for row in rows] == [
        (layer, concept, "along") for layer in ("features.3", "features.4") for concept in ("across", "along")
    ]
    assert all(row["class_images"] == 12 for row in rows)
    assert {path.name for path in folder.iterdir()} == {"concepts.csv", "concepts.json", "concepts.npz", "chart.png"}
    assert set(result["files"]) == {path.name for path in folder.iterdir()}
    assert json.loads((folder / "concepts.json").read_text())["rows"] == rows
    with (folder / "concepts.csv").open() as opened:
        assert [float(row["score"]) for row in csv.DictReader(opened)] == pytest.approx([r["score"] for r in rows], rel=1e-5)
    with np.load(folder / "concepts.npz") as arrays:
        assert arrays["cavs/features.4"].shape[:2] == (2, 5)
    with Image.open(folder / "chart.png") as chart:
        assert min(chart.size) > 100
    for layer in ("features.3", "features.4"):
        assert f"TCAV scores at layer {layer}\n" in printed.out
    lines = [line for line in printed.out.splitlines() if line.count("│") == 6]
    for row, line in zip(rows, lines, strict=True):
        concept, name, score, random, p, significant, accuracy = (cell.strip() for cell in line.split("│"))
        assert (concept, name) == (row["concept"], row["class_name"])
        assert (score, random) == (f"{row['score']:.2f}", f"{row['random_score']:.2f}")
        assert float(p) == pytest.approx(max(row["p_corrected"], row["p_unusual_corrected"]), rel=0.05)
        assert significant == (row["effect"] if row["significant"] else "no")
        assert accuracy == f"{row['cav_accuracy']:.2f}"
    assert "Significant means that " in printed.out
    assert "(p below 0.05 in two tests, corrected for 4 comparisons)." in printed.out
    assert f"4 files in {folder}." in printed.out


def test_without_out_only_the_table_is_given_and_without_strict_one_test_counts(here, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments(here, "--no-strict", "--class", "across", "--json", "said.json")) == 0
    printed = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["said.json"]
    result = json.loads(Path("said.json").read_text())
    assert (result["out"], result["files"]) == (None, [])
    assert result["settings"]["strict"] is False
    assert "(p below 0.05, corrected for 2 comparisons)." in printed
    for row in result["rows"]:
        assert row["significant"] == (row["p_corrected"] < 0.05)


def test_the_same_seed_gives_the_same_result_and_another_draws_anew(here, tmp_path, capsys):
    found = []
    for number, seed in enumerate((3, 3, 4)):
        assert main(arguments(here, "--seed", seed, "--json", tmp_path / f"{number}.json", "--out", tmp_path / "out")) == 0
        found.append(json.loads((tmp_path / f"{number}.json").read_text())["rows"])
    assert found[0] == found[1] != found[2]


def test_without_random_images_those_of_the_other_classes_are_taken_and_warnings_are_said(here, tmp_path, capsys):
    assert main(arguments(here, "--class", "along", "--json", tmp_path / "said.json", random=False)) == 0
    result = json.loads((tmp_path / "said.json").read_text())
    assert result["settings"]["random"] == "images of the other classes"
    said = capsys.readouterr().err
    assert "There are only 37 random images for sets of 18, which therefore share many; give 72 or more." in said
    assert all(warning in said for warning in result["warnings"])


def test_what_is_painted_is_a_concept_too(here, tmp_path, capsys):
    for number in range(12):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, :8] = 255
        file = tmp_path / "masks" / "train" / "along" / f"{number:03d}.png.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    said = [
        here / "model.safetensors",
        "--masks",
        tmp_path / "masks",
        "--painted-name",
        "left half",
        "--data",
        here / "data",
    ]
    more = ["--random", here / "random", "--class", "along", *QUICK, "--json", tmp_path / "said.json", "--device", "cpu"]
    assert main(["concepts", *map(str, [*said, *more])]) == 0
    (row,) = json.loads((tmp_path / "said.json").read_text())["rows"]
    assert (row["concept"], row["images"]) == ("left half", 12)
    assert 'The concept "left half" has only 12 images; with 30 or more its scores are steadier.' in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_left_out_and_named(here, tmp_path, capsys):
    write(tmp_path / "concepts" / "across", "across", 12, 1)
    (tmp_path / "concepts" / "across" / "broken.png").write_bytes(b"no image")
    said = ["concepts", here / "model.safetensors", "--concepts", tmp_path / "concepts", "--random", here / "random"]
    more = ["--data", here / "data", "--class", "along", *QUICK, "--json", tmp_path / "said.json", "--device", "cpu"]
    assert main([str(each) for each in [*said, *more]]) == 0
    assert "left out: broken.png: " in capsys.readouterr().err
    result = json.loads((tmp_path / "said.json").read_text())
    assert list(result["skipped"]) == ["broken.png"]
    assert result["rows"][0]["images"] == 12


def test_every_bad_input_is_one_sentence(here, tmp_path, capsys):
    model, data = here / "model.safetensors", here / "data"
    plain = ["concepts", model, "--data", data]
    assert fails(capsys, *plain) == ("There is no concept to test; give --concepts DIR, or --masks DIR for what is painted.")
    assert fails(capsys, *plain, "--concepts", tmp_path / "no") == f"{tmp_path / 'no'} does not exist; check the path."
    assert fails(capsys, *plain, "--concepts", here / "random") == (
        f"{here / 'random'} has no folders; put the images of each concept into a folder named after the concept."
    )
    assert fails(capsys, *plain, "--masks", tmp_path / "no").endswith("name the folder that holds the masks.")
    both = [*plain, "--concepts", here / "concepts"]
    assert (
        fails(capsys, *both, "--random", model) == f"{model} is a file, not a folder; name the folder that holds the images."
    )
    assert fails(capsys, *both, "--class", "cat").startswith("There is no class 'cat'; choose ")
    assert "features.9" in fails(capsys, *both, "--layer", "features.9")
    assert fails(capsys, *both, "--out", model) == f"{model} is a file; name a folder for the results."
    assert fails(capsys, *both, "--runs", 1) == "--runs cannot be 1: input should be greater than or equal to 3."
    assert fails(capsys, *both, "--random-runs", 1).startswith("--random-runs cannot be 1: ")
    assert fails(capsys, *both, "--inverse-penalty", 0).startswith("--inverse-penalty cannot be 0")
    assert fails(capsys, *both, "--pooling", "max").startswith("--pooling cannot be max: ")
    assert fails(capsys, *both, "--correction", "none").startswith("--correction cannot be none: ")
    assert fails(capsys, *both, "--split", "summer") == (
        'There is no split "summer", only train, test; choose one of these.'
    )
    assert "no.safetensors" in fails(capsys, "concepts", tmp_path / "no.safetensors", *both[2:])
    assert "--data" in fails(capsys, "concepts", model, "--concepts", here / "concepts")
    few = tmp_path / "few"
    write(few / "across", "across", 9, 1)
    assert fails(capsys, *plain, "--concepts", few, "--random", here / "random") == (
        'The concept "across" has 9 images that can be used; at least 10 are needed, better 30 to 100.'
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_the_test_and_writes_nothing(here, tmp_path, capsys, monkeypatch):
    fitted = []

    def fit(*more):
        fitted.append(1)
        if len(fitted) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return fit_cav(*more)

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["napari_cam_feedback.explanations.tcav.tcav"], "fit_cav", fit)
    before = signal.getsignal(signal.SIGINT)
    assert main(arguments(here, "--out", tmp_path / "out", "--json", tmp_path / "said.json")) == 130
    assert len(fitted) == 3
    assert without_look(capsys.readouterr().err) == ["napari-cam-feedback: Stopped."]
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is before


def test_the_help_gives_every_setting_its_default(capsys, monkeypatch):
    for name, value in {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    from napari_cam_feedback.explanations.tcav.config import ConceptTestConfig

    assert main(["concepts", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, field in ConceptTestConfig.model_fields.items():
        option = "--" + name.replace("_", "-")
        if field.default is not None:
            shown = {"strict": "strict"}.get(name, str(field.default))
            assert any(f" {option} " in line and f"[default: {shown}]" in line for line in lines), option
