"""The examples in the documentation run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import torchvision

from napari_cam_feedback.cli import main
from napari_cam_feedback.experiments import read_experiment

DOCS = Path(__file__).parents[2] / "docs"


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


def run_examples(page, tmp_path, monkeypatch, capsys) -> int:
    """Run a page's examples from top to bottom in an empty folder; return how many commands there were."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    commands = 0
    for language, content, line in blocks(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile("\n" * (line - 1) + content, str(page), "exec"), {"__name__": "example"})
            continue
        assert language == "sh"
        for command in content.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(command, comments=True)
            assert program == "napari-cam-feedback"
            status = main(arguments)
            said = capsys.readouterr()
            assert status == 0, f"{command}\n{said.err}"
            commands += 1
    return commands


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("torchvision_weights")
def test_every_example_of_bring_your_own_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    assert run_examples(DOCS / "bring_your_own.md", tmp_path, monkeypatch, capsys) > 15


@pytest.mark.slow
def test_every_example_of_compare_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    assert run_examples(DOCS / "compare.md", tmp_path, monkeypatch, capsys) >= 3
    assert (tmp_path / "work" / "report" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_loop_in_the_shell_and_in_python_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    assert run_examples(DOCS / "scripts.md", tmp_path, monkeypatch, capsys) == 6
    assert (tmp_path / "work" / "comparison" / "report.html").is_file()


def test_the_experiment_that_the_page_writes_down_can_be_read(tmp_path):
    (found,) = [
        content for language, content, _ in blocks((DOCS / "experiments.md").read_text("utf-8")) if language == "toml"
    ]
    (tmp_path / "experiment.toml").write_text(found)
    config = read_experiment(tmp_path / "experiment.toml")
    assert [entry.title for entry in config.methods] == ["auto", "pasa, B = 8"]
    assert config.watched == ("melanoma",)
