"""Running commands in this process, and what they are run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import stripes
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing
from napari_cam_feedback.models import Classifier, build_classifier, save_classifier

NAMES = ("across", "along")
FACTORY = """
import torch

def tiny(num_classes=2):
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(6, num_classes),
    )
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Run a command that must succeed; return what it said on stdout and on stderr."""
    capsys.readouterr()
    status = main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out, said.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Run a command that must end with status 2 and one line on stderr; return that line and stdout."""
    capsys.readouterr()
    status = main([str(a) for a in arguments])
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert status == 2
    assert lines[0].startswith("napari-cam-feedback: ")
    assert "Traceback" not in said.out
    return lines[0], said.out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command as `fails` does; return the line on stderr."""
    return fails(capsys, *arguments)[0]


def small_gap(seed: int = 0) -> Classifier:
    """A network of ours for the stripes, gray, 16x16, with random weights."""
    plain = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))
    return build_classifier("small-gap", NAMES, plain, seed=seed)


def write_stripes(folder: Path) -> Path:
    """Write the stripes, gray, 16x16, as class folders with splits and known masks; return the folder."""
    dataset = stripes({"train": 12, "val": 6, "test": 6})
    for index in range(len(dataset)):
        item = dataset.item(index)
        relative = Path(item.split) / dataset.class_names[item.label] / f"{index:03}.png"
        mask = dataset.known_mask(index).astype(np.uint8) * 255
        for where, pixels in ((folder / relative, dataset.read(index)), (folder / "masks" / relative, mask)):
            where.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(where)
    return folder


def ours(folder: Path) -> list[str]:
    """Write a file of ours into a folder; return the words of the shell that name it."""
    save_classifier(small_gap(), folder / "m.safetensors")
    return [str(folder / "m.safetensors")]
