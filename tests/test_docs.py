"""The examples in the documentation run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import torchvision

from napari_cam_feedback.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "bring_your_own.md"


def blocks(text):
    """The fenced examples in their order: language, content, first line."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        yield found[1], found[2], text[: found.start()].count("\n") + 2


@pytest.fixture
def torchvision_weights(tmp_path, monkeypatch):
    """A machine on which torchvision's weights were fetched before (random ones, under the real name)."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), folder / weights.url.rpartition("/")[2])


@pytest.mark.usefixtures("torchvision_weights")
def test_every_example_of_bring_your_own_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    commands = 0
    for language, content, line in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile("\n" * (line - 1) + content, str(PAGE), "exec"), {"__name__": "example"})
            continue
        assert language == "sh"
        for command in content.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(command, comments=True)
            assert program == "napari-cam-feedback"
            status = main(arguments)
            said = capsys.readouterr()
            assert status == 0, f"{command}\n{said.err}"
            commands += 1
    assert commands > 15
