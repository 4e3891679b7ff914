"""Docks that are closed by their x, opened again, or chosen in the menu while they lie behind others."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_cam_feedback.retuning import ValidationMetrics
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.docks import LEADING, PLUGIN
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]

DOCKS = (LEADING, "Filters", "Concepts", "Train")


@pytest.fixture
def raised(monkeypatch):
    """Every exception that reached Qt's event loop, and every error that napari was told of."""
    from napari.utils.notifications import NotificationSeverity, notification_manager

    found = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(error))

    def note(notification):
        if notification.severity >= NotificationSeverity.ERROR:
            found.append(notification)

    notification_manager.notification_ready.connect(note)
    yield found
    notification_manager.notification_ready.disconnect(note)


@pytest.fixture
def opened(make_napari_viewer, project, wait):
    """A viewer with a window and a project."""
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    yield viewer, session
    session.close()


def open_all(viewer, names=DOCKS):
    return {name: viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True) for name in names}


def close_by_x(docks, qtbot):
    for dock, _ in docks.values():
        dock.destroyOnClose()
    docks.clear()
    qtbot.wait(50)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    qtbot.wait(50)


def show_filters(docks, wait):
    button = docks["Filters"][1].image.show_button
    wait(button.isEnabled, 60)
    button.click()


def our_threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("cam-feedback"))


def use(viewer, session, wait):
    """Do what every dock listens to."""
    for _ in range(3):
        session.step(1)
        wait(lambda: session.explanation is not None)
    layer = session.layers.get(MASK)
    layer.data_setitem((np.array([3, 4]), np.array([3, 4])), 1)
    session.autosave.flush()
    session.layers.get("cam").opacity = 0.3
    session.set_classifier(session.classifier.copy())
    wait(lambda: session.explanation is not None)
    viewer.theme = "light" if viewer.theme == "dark" else "dark"
    session.open(prepare(session.project, session.classifier))
    wait(lambda: session.explanation is not None)


def test_closed_docks_leave_no_widget_no_thread_and_no_error(opened, wait, qtbot, raised):
    viewer, session = opened
    counts = []
    for _ in range(3):
        docks = open_all(viewer)
        docks["Filters"][0].raise_()
        show_filters(docks, wait)
        wait(lambda: len(viewer.layers) > 3, 60)
        wait(lambda: not session.jobs.running(), 60)
        close_by_x(docks, qtbot)
        assert len(viewer.layers) == 3
        assert not viewer.canvas.grid.enabled
        use(viewer, session, wait)
        counts.append((len(QApplication.allWidgets()), our_threads()))
    assert not raised
    assert counts[1:] == counts[:1] * 2 or counts[2] == counts[1]
    assert set(counts[-1][1]) <= {"cam-feedback inspect"}


def test_a_retune_goes_on_when_its_dock_is_closed_and_its_result_waits_for_the_next_one(
    opened, wait, qtbot, raised, monkeypatch
):
    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))
    viewer, session = opened
    for index in session.dataset.indices("train")[:4]:
        session.put_mask(session.dataset.keys[index], np.eye(16, dtype=bool))
    docks = open_all(viewer, (LEADING,))
    retune = docks[LEADING][1].retune
    retune.choice.form.set_values({"iterations": 30, "check_every": 2, "learning_rate": 1e-3})
    retune.start_button.click()
    wait(lambda: retune.plot.loss_names, 60)
    close_by_x(docks, qtbot)
    again = open_all(viewer, (LEADING,))[LEADING][1].retune
    wait(lambda: again.run is not None and again.run.comparison is not None, 120)
    assert again.run.result.selected_iteration > 0
    again.keep_button.click()
    wait(lambda: again.run is None)
    assert session.project.current.id == "v002"
    assert not raised


def test_choosing_a_dock_in_the_menu_that_lies_behind_another_brings_it_to_the_front(opened, wait):
    viewer, _ = opened
    docks = open_all(viewer, (LEADING, "Filters", "Train"))
    front, behind = docks["Train"][0], docks[LEADING][0]
    wait(lambda: all(dock.isVisible() for dock, _ in docks.values()))
    front.raise_()
    wait(lambda: behind.visibleRegion().isEmpty() and not front.visibleRegion().isEmpty())

    def choose(dock):
        # What napari's menu does.
        dock.setVisible(not dock.isVisible())

    choose(behind)
    wait(lambda: not behind.visibleRegion().isEmpty())
    assert front.isVisible()
    # One that is in front is closed by it, as any dock.
    choose(behind)
    wait(lambda: not behind.isVisible())
    choose(behind)
    wait(lambda: behind.isVisible() and not behind.visibleRegion().isEmpty())
