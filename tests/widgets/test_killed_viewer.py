"""A real viewer that is killed while a stroke is being drawn: what was said to be saved is there, and the project opens."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_cam_feedback.projects import Project

pytest_plugins = ["widget_fixtures"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Windows has no such kills, and macOS no virtual screen")

#: Paints with the button held, pixel after pixel, in one image after the other; says what is on disk, and nothing sooner.
VIEWER = """
import json, sys
import napari, torch
from qtpy.QtCore import QTimer
from napari_cam_feedback.projects import Project
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.layers import MASK

torch.set_num_threads(1)
viewer = napari.Viewer(show=True)
viewer.window.add_plugin_dock_widget("napari-cam-feedback", "CAM feedback")
session, project = session_of(viewer), Project.open(sys.argv[1])
session.open(prepare(project, project.classifier(device="cpu")))

def saved(key):
    print(json.dumps([key, session.masks[key].sum().item()]), flush=True)

def draw():
    layer = session.layers.get(MASK)
    if layer is None or session.explanation is None:
        return
    if draw.place == 0:
        draw.held = layer.block_history()
        draw.held.__enter__()
    layer.paint(divmod(draw.place, 16), 1)
    draw.place += 1
    if draw.place == 120:
        draw.held.__exit__(None, None, None)
        draw.place = 0
        session.step(1)

draw.place = 0
session.autosave.saved.connect(saved)
timer = QTimer()
timer.timeout.connect(draw)
timer.start(20)
napari.run()
"""


def kill_viewer(folder: Path, seed: int) -> dict[str, int]:
    """Start a viewer in which somebody draws, kill it some time after the first stroke is on disk; return what it said."""
    command = [sys.executable, "-W", "ignore", "-c", VIEWER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 1.5))
        process.kill()
        lines = [first, *process.stdout.read().splitlines()]
        assert first, process.stderr.read()[-2000:]
    return dict(json.loads(line) for line in lines if line.rstrip().endswith("]"))


def check(folder: Path, told: dict[str, int]) -> None:
    """All that was said to be saved is there, of the right image, and not less of it."""
    masks = Project.open(folder).masks
    for key, pixels in told.items():
        mask = masks[key]
        # Drawn from the first pixel on, so that a mask mixed up or half written has a gap.
        assert mask.sum() >= pixels
        assert np.flatnonzero(mask)[0] == 0
    assert not list(folder.rglob("*.lock")) or Project.open(folder).remember(item="x") is None


@pytest.mark.lengthy
def test_a_viewer_that_is_killed_while_a_stroke_is_drawn_loses_nothing_that_was_saved(project):
    told = kill_viewer(project.folder, 1)
    assert told
    check(project.folder, told)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_twenty_viewers_killed_in_the_midst_of_a_stroke_lose_nothing_that_was_saved(project):
    told: dict[str, int] = {}
    for seed in range(20):
        told |= kill_viewer(project.folder, seed)
        check(project.folder, told)
