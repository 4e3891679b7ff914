"""Any network is trained from random weights by the shell, with the input that it says, and stopped with Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cli_runs import FACTORY, NAMES, fails, run, write_stripes
from core_builders import without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.models import load_classifier


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("stripes"))


@pytest.mark.parametrize("arch", ["small-gap", "torchvision:shufflenet_v2_x0_5", "timm:resnet10t", "net.py:tiny"])
def test_train_starts_any_architecture_from_random_weights(arch, data, tmp_path, capsys, monkeypatch):
    if arch.startswith("timm:"):
        pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY)
    size = ["--size", "64", "64"] if ":" in arch and not arch.startswith("net") else []
    command = ["train", data, "--arch", arch, "--epochs", "1", "--batch-size", "6", "--out", "m.safetensors", *size]
    trust = []
    if arch == "net.py:tiny":
        line, _ = fails(capsys, *command)
        assert "--trust" in line
        assert not (tmp_path / "m.safetensors").exists()
        trust = ["--trust"]
    out, _ = run(capsys, *command, *trust)
    assert out == "Saved m.safetensors (epoch 1 of 1).\n"
    out, err = run(capsys, "predict", "m.safetensors", data, "--out", "p.csv", *trust)
    assert out.startswith("24 predictions")
    assert not without_look(err)


def test_train_takes_the_input_from_the_shell(data, tmp_path, capsys):
    file = tmp_path / "m.safetensors"
    said = ["--size", "20", "24", "--mean", "0.3", "--std", "0.2", "--value-range", "0", "200", "--layer", "features.3"]
    run(capsys, "train", data, "--epochs", "1", "--out", file, *said)
    classifier = load_classifier(file)
    assert classifier.target_layer == "features.3"
    expected = Preprocessing(size=(20, 24), channels=1, mean=(0.3,), std=(0.2,), value_range=(0, 200))
    assert classifier.preprocessing == expected
    line, _ = fails(capsys, "train", data, "--out", tmp_path / "n.safetensors", "--mean", "0.1,0.2,0.3")
    assert line.endswith("give one for each).")
    line, _ = fails(capsys, "train", data, "--out", tmp_path / "n.safetensors", "--size", "0", "3")
    assert "The option size" in line
    line, _ = fails(capsys, "train", data, "--out", tmp_path / "n.safetensors", "--value-range", "5", "5")
    assert "range" in line


def press_ctrl_c_when(condition: Callable[[], bool]) -> threading.Thread:
    def wait() -> None:
        ended.wait(0.01)
        while not condition() and not ended.is_set():
            ended.wait(0.002)
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    ended = threading.Event()
    thread = threading.Thread(target=wait, daemon=True)
    thread.ended = ended  # type: ignore[attr-defined]
    thread.start()
    return thread


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_a_training_with_the_best_epoch_so_far(data, tmp_path, capsys, monkeypatch):
    from napari_cam_feedback.cli.show import Bar

    file, steps = tmp_path / "m.safetensors", []
    shown = Bar.progress
    monkeypatch.setattr(Bar, "progress", lambda self, done, *more: (steps.append(done), shown(self, done, *more)))
    thread = press_ctrl_c_when(lambda: len(steps) >= 2)
    before = signal.getsignal(signal.SIGINT)
    status = main(["train", str(data), "--epochs", "10000", "--batch-size", "6", "--out", str(file)])
    thread.ended.set()
    assert status == 130
    said = capsys.readouterr()
    assert f"Saved {file} (epoch " in said.out
    assert f"of 10000; stopped after epoch {steps[-1]})." in said.out
    assert "Traceback" not in said.err
    assert load_classifier(file).class_names == NAMES
    assert signal.getsignal(signal.SIGINT) is before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "m_training"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_within_the_first_epoch_writes_nothing_and_says_so(data, tmp_path, capsys, monkeypatch):
    from napari_cam_feedback.data.cache import InputCache

    batches = InputCache.batches

    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        yield from batches(self, *arguments)

    monkeypatch.setattr(InputCache, "batches", interrupted)
    assert main(["train", str(data), "--epochs", "3", "--out", str(tmp_path / "m.safetensors")]) == 130
    assert capsys.readouterr().err.strip().splitlines() == ["Stopped before the first epoch was done; nothing was written."]
    assert not list(tmp_path.iterdir())
