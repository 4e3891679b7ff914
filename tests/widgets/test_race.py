"""Moving, painting, retuning, switching project and closing docks in random order: nothing is lost, mixed up, or raised."""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari.layers import _layer_actions

from napari_cam_feedback.memory import release_memory
from napari_cam_feedback.projects import Project
from napari_cam_feedback.widgets.retune.dock import JOB
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.docks import LEADING, PLUGIN, STEPS
from napari_cam_feedback.widgets.viewer.identity import role_of
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]

DOCKS = (LEADING, "Filters")
#: What memory may grow by after the first third of a long race.
MEGABYTES = 50


def resident_megabytes() -> float:
    """Memory of this process."""
    release_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Race:
    """A user who does anything at any time, and knows what each mask must be."""

    def __init__(self, viewer, projects, seed, qtbot):
        self.viewer, self.projects, self.qtbot = viewer, projects, qtbot
        self.random = random.Random(seed)
        self.session = session_of(viewer)
        self.classifier = projects[0].classifier(device="cpu")
        self.expected = {project.folder: {} for project in projects}
        self.done = []
        self.docks = {}
        self.switch()
        for name in DOCKS:
            self.open_dock(name)

    # What is done -----------------------------------------------------------------------------------

    def switch(self):
        project = self.random.choice(self.projects)
        self.session.open(prepare(project, self.classifier))

    def move(self):
        self.session.step(self.random.choice((-1, 1)))

    def jump(self):
        self.session.go_to(self.random.randrange(len(self.session.dataset)))

    def paint(self):
        self.session.paint()
        layer = self.session.layers.get(MASK)
        row, column = self.random.randrange(12), self.random.randrange(12)
        with layer.block_history():
            for step in range(self.random.randrange(1, 4)):
                layer.paint((row, column + step), self.random.choice((1, 1, 1, 0)))
                if self.random.random() < 0.2:
                    self.qtbot.wait(self.random.randrange(1, 320))
        self.note()

    def undo(self):
        layer = self.session.layers.get(MASK)
        if layer is not None:
            layer.undo()
            self.note()

    def clear(self):
        self.session.clear_mask()
        self.note()

    def note(self):
        """Remember what the mask of this image must be."""
        layer = self.session.layers.get(MASK)
        masks = self.expected[self.session.project.folder]
        mask = np.asarray(layer.data) > 0
        if mask.any():
            masks[self.session.key] = mask
        else:
            masks.pop(self.session.key, None)

    def view(self):
        self.session.set_view(
            target=self.random.choice(("true", "predicted", 0)), method=self.random.choice(("cam", "gradcam"))
        )

    def retune(self):
        leading = self.dock(LEADING)
        if leading is None:
            return
        leading.show_step(self.random.choice(STEPS))
        dock = leading.retune
        if dock.choice.form is not None:
            dock.choice.form.set_values({"iterations": 4, "check_every": 2, "learning_rate": 1e-3})
        buttons = [dock.start_button, dock.stop_button, dock.keep_button, dock.discard_button, dock.side_button]
        self.random.choice(buttons).click()

    def filters(self):
        dock = self.dock("Filters")
        if dock is not None:
            self.random.choice((dock.image.show_button, dock.image.back_button, dock.image.over_check)).click()

    def layers(self):
        own = [layer for layer in self.viewer.layers if role_of(layer) is not None]
        others = [layer for layer in self.viewer.layers if role_of(layer) is None]
        if others:
            self.viewer.layers.remove(self.random.choice(others))
        elif own:
            self.viewer.layers.selection = {self.random.choice(own)}
            _layer_actions._duplicate_layer(self.viewer.layers)

    def remove_layer(self):
        own = [layer for layer in self.viewer.layers if role_of(layer) is not None]
        if own:
            self.viewer.layers.remove(self.random.choice(own))

    def close_dock(self):
        if self.docks:
            name = self.random.choice(sorted(self.docks))
            self.docks.pop(name)[0].destroyOnClose()

    def open_dock(self, name=None):
        name = name or self.random.choice(DOCKS)
        self.docks[name] = self.viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)

    def dock(self, name):
        return self.docks[name][1] if name in self.docks else None

    # The race ---------------------------------------------------------------------------------------

    def run(self, seconds):
        actions = [self.move] * 6 + [self.paint] * 6 + [self.jump, self.undo, self.view, self.filters] * 2
        actions += [self.retune] * 3 + [
            self.clear,
            self.switch,
            self.layers,
            self.remove_layer,
            self.close_dock,
            self.open_dock,
        ]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            action = self.random.choice(actions)
            self.done.append(action.__name__)
            action()
            self.qtbot.wait(self.random.choice((0, 0, 1, 5, 30)))

    def check(self):
        """Every mask is on disk as it was painted last, and no other."""
        assert self.session.save()
        for project in self.projects:
            found = Project.open(project.folder).masks
            expected = self.expected[project.folder]
            assert set(found) == set(expected)
            for key, mask in expected.items():
                assert np.array_equal(found[key], mask), key

    def end(self):
        self.session.jobs.stop(JOB)
        for name in list(self.docks):
            self.docks.pop(name)[0].destroyOnClose()
        self.qtbot.wait(100)
        self.session.close()


@pytest.fixture
def race(make_napari_viewer, project, qtbot, monkeypatch):
    from napari.utils.notifications import NotificationSeverity, notification_manager

    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))

    def note(notification):
        if notification.severity >= NotificationSeverity.ERROR:
            raised.append(notification)

    notification_manager.notification_ready.connect(note)
    other = Project.create(project.folder.with_name("other"), project.dataset, project.classifier(device="cpu"))
    races = []

    def start(seed):
        # napari's own check that no widget is left over.
        races.append(Race(make_napari_viewer(strict_qt=True), [project, other], seed, qtbot))
        races[0].session.jobs.failed.connect(lambda name, sentence: raised.append((name, sentence)))
        return races[0]

    yield start
    races[0].end()
    notification_manager.notification_ready.disconnect(note)
    assert not raised, (raised[:3], races[0].done[-10:])


def test_whatever_is_done_in_whatever_order_no_mask_is_lost_and_nothing_is_raised(race):
    running = race(seed=1)
    running.run(6)
    running.check()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [int(os.environ.get("RACE_SEED", "2"))])
def test_a_long_race_loses_no_mask_and_takes_no_more_memory_after_a_while(race, seed):
    seconds = float(os.environ.get("RACE_SECONDS", "300"))
    running = race(seed)
    running.run(seconds / 3)
    running.check()
    gc.collect()
    before = resident_megabytes()
    running.run(2 * seconds / 3)
    running.check()
    gc.collect()
    assert resident_megabytes() - before < MEGABYTES
