"""What the README says to do works: its commands are run as they stand, and the demo shows what it promises."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from napari_cam_feedback.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S) for line in block.splitlines()]


@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_is_there_to_be_run(monkeypatch, tmp_path, capsys):
    """Run those of ours in an empty folder; of what installs, ask whether the extras and make's targets exist."""
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setenv("WAYLAND_DISPLAY", "")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.chdir(tmp_path)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for line in LINES:
        program, *arguments = shlex.split(line, comments=True)
        if program == "make":
            assert set(arguments) <= targets
        elif program == "python":
            assert arguments[:3] == ["-m", "pip", "install"]
            assert set(re.findall(r"\[(\w+)\]", line)) <= set(extras)
        else:
            assert program == "napari-cam-feedback"
            assert main(arguments) == 0, line
    assert len(LINES) == 4

    assert "There is no display" in capsys.readouterr().out
    folder = tmp_path / "demo-output" / "tag-digits"
    assert {"report.html", "report.json", "report.csv", "pictures", "project", "run"} <= {p.name for p in folder.iterdir()}
    assert len(list((folder / "pictures").rglob("*.png"))) == 12
    assert "<img" in (folder / "report.html").read_text()
    result = json.loads((folder / "run" / "result.json").read_text())
    rows = {(row["split"], row["measure"]): row for row in result["comparison"]["rows"]}
    conflict, clean, flips = rows["test", "accuracy"], rows["test-clean", "accuracy"], rows["test", "flip_rate"]
    # What the product promises on this sample, with 20 masks.
    assert conflict["before"] <= 0.65
    assert conflict["after"] >= 0.80
    assert clean["after"] >= clean["before"]
    assert flips["after"] <= flips["before"] / 2
    # A second demo does not touch the first.
    assert main(["demo", "tag-digits", "--out", str(folder), "--no-gui"]) == 2


@pytest.mark.parametrize(
    ("row", "data", "masks"),
    [
        ("digits with a code in a corner", "tag-digits", "10"),
        ("crosses with a bar at one side", "crosses", "10"),
        ("Greek letters with a sign in the corner", "symbols", "20"),
        ("weapons in radiographs of luggage, everything around painted", "baggage", "14"),
        ("decoy MNIST, convolutions", "decoy MNIST, convolutions", "100"),
    ],
)
def test_the_readme_s_figures_are_those_of_the_page_of_what_was_measured(row, data, masks):
    cells = [cell.strip() for cell in re.search(rf"^\| {row} \|.*$", README, re.M)[0].strip("| ").split("|")]
    page = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    before, after = re.search(rf"^\| {data} \| {masks} \| ([\d.]+) [^|]*\| ([\d.]+) ", page, re.M).groups()
    assert cells[1:4] == [masks, f"{float(before):.2f}", f"{float(after):.2f}"]
