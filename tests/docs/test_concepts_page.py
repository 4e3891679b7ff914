"""The runnable example on concepts: the expected ones come out significant and the others do not."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

from napari_cam_feedback.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "concepts.md"
CLASSES = ("red", "blue", "yellow")


def run_page(folder, monkeypatch, change=lambda code: code):
    """Run the page's examples in an empty folder, in order; return what the Python ones defined."""
    monkeypatch.chdir(folder)
    defined = {"__name__": "example"}
    text = PAGE.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        if found[1] == "sh":
            for command in found[2].splitlines():
                program, *arguments = shlex.split(change(command), comments=True)
                assert program == "napari-cam-feedback"
                assert main(arguments) == 0, command
        else:
            line = text[: found.start()].count("\n") + 2
            exec(compile("\n" * (line - 1) + change(found[2]), str(PAGE), "exec"), defined)
    return defined


def check_colours(result):
    """Each class's own colour speaks for it; green, white and black matter to none; no other colour speaks for a class."""
    for row in result.rows:
        if row.concept == row.class_name:
            assert (row.effect, row.significant) == ("for", True)
            assert row.score > 0.95
        elif row.concept in CLASSES:
            assert row.effect in ("against", "none")
        else:
            assert (row.effect, row.significant) == ("none", False), row
    assert len(result.rows) == 18


def test_the_example_runs_as_it_stands_and_finds_the_expected_concepts(tmp_path, monkeypatch):
    defined = run_page(tmp_path, monkeypatch)
    result, painted = defined["result"], defined["painted"]
    check_colours(result)
    assert result.warnings == []
    assert {row.layer for row in result.rows} == {"features.4"}  # not the last: GAP and a linear layer follow it
    rows = list(csv.DictReader((tmp_path / "concepts.csv").open()))
    assert {(row["concept"], row["class"]) for row in rows if row["effect"] == "for"} == {(name, name) for name in CLASSES}
    with np.load(tmp_path / "concepts.npz") as arrays:
        assert arrays["cavs/features.4"].shape[:2] == (6, 20)
    with Image.open(tmp_path / "concepts.png") as chart:
        assert chart.format == "PNG"
    row = painted.row("painted yellow", "yellow")
    assert (row.score, row.effect) == (1.0, "for")
    assert row.cav_accuracy > 0.8
