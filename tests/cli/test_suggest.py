"""``suggest`` and ``masks propose``, ``accept``, ``reject``: what they print and write, and what they refuse."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import stripes, without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing, open_dataset
from napari_cam_feedback.feedback import MaskStore, ProposalStore, suggest
from napari_cam_feedback.models import build_classifier, load_classifier, save_classifier

PAGE = Path(__file__).parents[2] / "docs" / "suggest.md"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The stripes as a folder of class folders."""
    dataset = stripes({"train": 12, "val": 4, "test": 4})
    for index in range(len(dataset)):
        item = dataset.item(index)
        file = tmp_path / "data" / item.split / dataset.class_names[item.label] / f"{index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.read(index)).save(file)
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))
    save_classifier(build_classifier("small-gap", ("across", "along"), preprocessing, seed=0), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """The tag painted on two images."""
    store, mask = MaskStore(tmp_path / "masks"), np.zeros((16, 16), bool)
    mask[:3, :3] = True
    for key in ("train/across/000.png", "train/along/001.png"):
        store.put(key, mask)
    return tmp_path / "masks"


def run(*arguments: object) -> None:
    assert main([str(a) for a in arguments]) == 0


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with status 2 and one line on stderr; return the line."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    lines = without_look(capsys.readouterr().err)
    assert len(lines) == 1, lines
    return lines[0]


def test_suggest_prints_and_writes_what_the_function_finds(data, model, masks, tmp_path, capsys):
    options = ("--n", 4, "--masks", masks, "--out", tmp_path / "next.csv", "--clusters", tmp_path / "groups")
    run("suggest", model, data, *options, "--json", tmp_path / "next.json")
    dataset = open_dataset(data)
    expected = suggest(load_classifier(model, device="cpu"), dataset, MaskStore(masks), 4)
    written = json.loads((tmp_path / "next.json").read_text())
    assert [item["key"] for item in written["suggestions"]] == expected.keys
    assert written["painted"] == 2
    assert not {"train/across/000.png", "train/along/001.png"} & set(expected.keys)
    with (tmp_path / "next.csv").open() as file:
        assert [row["reason"] for row in csv.DictReader(file)] == [item.reason for item in expected.items]
    said = capsys.readouterr().out
    assert all(key in said for key in expected.keys)
    assert {path.name for path in (tmp_path / "groups").iterdir()} == set(written["files"])
    run("suggest", model, data, "--most", 5, "--n", 2)
    assert "Looked at 5 of 16 images, drawn with seed 0." in capsys.readouterr().err


def test_suggest_refuses_test_images_and_folders_that_are_not_there(data, model, tmp_path, capsys):
    assert "would spoil the test" in fails(capsys, "suggest", model, data, "--split", "test")
    assert "There is no folder" in fails(capsys, "suggest", model, data, "--masks", tmp_path / "none")


def test_proposals_are_accepted_into_the_masks_and_rejected_ones_do_not_come_back(data, model, masks, tmp_path, capsys):
    folder, said = tmp_path / "proposals", tmp_path / "said.json"
    propose = (
        "masks",
        "propose",
        model,
        data,
        "--masks",
        masks,
        "--out",
        folder,
        "--kind",
        "place",
        "--least",
        0,
        "--json",
        said,
    )
    run(*propose)
    keys = [row["key"] for row in json.loads(said.read_text())["proposed"]]
    assert len(keys) == 14
    assert len(MaskStore(masks)) == 2
    assert "14 masks proposed; none counts before it is accepted." in capsys.readouterr().out
    run("masks", "reject", folder, keys[0])
    run("masks", "accept", folder, keys[1], keys[2], "--masks", masks)
    assert sorted(MaskStore(masks)) == sorted(["train/across/000.png", "train/along/001.png", keys[1], keys[2]])
    assert "proposed by place" in MaskStore(masks).info(keys[1])["author"]
    run(*propose)
    assert keys[0] not in ProposalStore(folder).keys()  # noqa: SIM118 - the list is what is claimed
    run("masks", "accept", folder, "--all", "--masks", masks)
    assert len(MaskStore(masks)) == 15
    assert len(ProposalStore(folder)) == 0


def test_answers_must_say_what_is_meant(data, model, masks, tmp_path, capsys):
    folder = tmp_path / "proposals"
    assert "There are no proposed masks in" in fails(capsys, "masks", "accept", folder, "--masks", masks, "--all")
    run("masks", "propose", model, data, "--masks", masks, "--out", folder, "--kind", "place", "--least", 0)
    assert "Say which proposals are meant: name their images, or give --all." in fails(capsys, "masks", "reject", folder)
    assert 'No mask is proposed for "nothing.png"' in fails(capsys, "masks", "reject", folder, "nothing.png")
    sentence = fails(capsys, "masks", "propose", model, data, "--masks", masks, "--out", folder, "--kind", "magic")
    assert "There is no kind of proposal 'magic'" in sentence


def test_every_example_of_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = 0
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        if found[1] == "python":
            exec(compile(found[2], str(PAGE), "exec"), {"__name__": "example"})
            continue
        for line in found[2].splitlines():
            program, *arguments = shlex.split(line)
            assert program == "napari-cam-feedback"
            assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
            commands += 1
    assert commands == 6
    # Ten suggestions of digits with a code in one of four corners are ten digits in four corners.
    painted = MaskStore("mine")
    suggested = [item["key"] for item in json.loads(Path("next.json").read_text())["suggestions"]]
    assert len({key.split("/")[1] for key in suggested}) == 10
    assert len({tuple(np.argwhere(painted[key])[0]) for key in suggested}) == 4
    # What was accepted without looking is right: these proposals are as sure as that.
    dataset = open_dataset("tags/data")
    accepted = set(painted) - set(suggested)
    assert len(accepted) > 10
    right = [np.array_equal(painted[key], dataset.known_mask(dataset.index_of(key))) for key in accepted]
    assert np.mean(right) > 0.95
