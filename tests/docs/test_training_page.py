"""The runnable example on training: it runs as it stands in an empty folder, and does what the page says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from PIL import Image

from core_builders import same_weights
from napari_cam_feedback.cli import main
from napari_cam_feedback.models import load_classifier

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text, defined = PAGE.read_text(encoding="utf-8"), {"__name__": "example"}
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        line = text[: found.start()].count("\n") + 2
        if found[1] == "python":
            exec(compile("\n" * (line - 1) + found[2], str(PAGE), "exec"), defined)
            continue
        for command in found[2].splitlines():
            program, *arguments = shlex.split(command, comments=True)
            assert program == "napari-cam-feedback"
            status = main(arguments)
            assert status == 0, f"{command}\n{capsys.readouterr().err}"
    head, model, again = (load_classifier(f"{name}.safetensors", device="cpu") for name in ("head", "model", "again"))
    assert model.class_names == ("7", "8", "9")
    assert same_weights(model, again)
    backbone = load_classifier("backbone.safetensors", device="cpu").module.state_dict()
    frozen = head.module.state_dict()
    assert all((backbone[name] == frozen[name]).all() for name in backbone if not name.startswith("head."))
    assert json.loads(Path("model.json").read_text())["splits"]["test"]["accuracy"] > 0.6
    assert defined["wrong"]
    assert len(defined["pairs"]) == 6
    width, height = defined["pictures"][0][0].size
    assert Image.open("right_and_wrong.png").size == (2 * width + 12, 6 * (height + 12))
    assert Path("from_python_training", "config.json").is_file()
