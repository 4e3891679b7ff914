"""Painting: what is painted is on disk within a second and is never lost."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.widgets.browse.dock import BrowseWidget
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.identity import NAMESPACE, find_layers
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]


def on_disk(session, key):
    """Read a mask as another program would: from its file; None where there is none."""
    try:
        return np.asarray(Image.open(session.masks.path(key))) > 0
    except FileNotFoundError:
        return None


def stroke(session, rows=slice(2, 5)):
    layer = session.layers.get(MASK)
    layer.data_setitem(np.nonzero(_block(layer.data.shape, rows)), 1)
    return _block(layer.data.shape, rows)


def _block(shape, rows):
    block = np.zeros(shape, bool)
    block[rows, rows] = True
    return block


def same(a, b):
    return a is not None and np.array_equal(a, b)


def test_a_stroke_an_undo_and_a_redo_are_each_on_disk_within_a_second(window_session, wait):
    session = window_session
    layer, key = session.layers.get(MASK), session.key
    layer.brush_size = 3
    layer.paint((6, 6), 1)
    painted = layer.data > 0
    assert painted.any()
    wait(lambda: same(on_disk(session, key), painted), 10)
    layer.undo()
    wait(lambda: on_disk(session, key) is None, 10)
    layer.redo()
    wait(lambda: same(on_disk(session, key), painted), 10)


def test_painting_without_a_pause_is_saved_all_the_same(session, qtbot):
    key, until = session.key, time.monotonic() + 1
    row = 0
    while time.monotonic() < until:
        stroke(session, slice(row % 10, row % 10 + 2))
        row += 1
        qtbot.wait(50)
    assert on_disk(session, key) is not None


@pytest.mark.parametrize("label", [1, 0])
def test_a_stroke_is_on_disk_while_it_is_still_being_drawn(window_session, wait, label):
    session = window_session
    layer, key = session.layers.get(MASK), session.key
    layer.brush_size = 3
    if label == 0:
        layer.data_setitem(np.nonzero(np.ones(layer.data.shape)), 1)
        session.autosave.flush()
    # As napari's brush does from the pressing of the button to its release.
    with layer.block_history():
        for column in (3, 12):
            layer.paint((6, column), label)
            drawn = layer.data > 0
            wait(lambda drawn=drawn: same(on_disk(session, key), drawn), 10)
    layer.undo()
    before = None if label else np.ones(layer.data.shape, bool)
    wait(lambda: on_disk(session, key) is None if before is None else same(on_disk(session, key), before), 10)


def test_any_label_counts_as_irrelevant_and_is_seen(session, wait):
    layer, key = session.layers.get(MASK), session.key
    layer.data_setitem((np.array([1]), np.array([1])), 7)
    wait(lambda: same(on_disk(session, key), layer.data > 0), 10)
    assert layer.get_color(7)[3] > 0


def test_a_negative_label_of_another_plugin_is_paint_too(session, wait):
    layer, key = session.layers.get(MASK), session.key
    painted = _block(layer.data.shape, slice(2, 5))
    layer.data = np.where(painted, -1, 0)
    wait(lambda: same(on_disk(session, key), painted), 10)


def test_moving_on_keeps_the_mask_and_coming_back_shows_it(session, wait):
    key = session.key
    painted = stroke(session)
    session.step(1)
    assert session.key != key
    assert not session.layers.get(MASK).data.any()
    # Also before the disk has it.
    session.step(-1)
    assert np.array_equal(session.layers.get(MASK).data > 0, painted)
    wait(lambda: same(on_disk(session, key), painted), 10)


def test_undo_does_not_reach_into_the_item_before(session, wait):
    first = session.key
    painted = stroke(session)
    session.step(1)
    second = session.key
    session.layers.get(MASK).undo()
    session.layers.get(MASK).redo()
    assert not session.layers.get(MASK).data.any()
    session.autosave.flush()
    assert same(on_disk(session, first), painted)
    assert on_disk(session, second) is None


def test_moving_leaves_the_brush_in_hand(session):
    session.paint()
    layer = session.layers.get(MASK)
    layer.brush_size = 4
    assert layer.mode == "paint"
    session.step(1)
    assert session.layers.get(MASK) is layer
    assert layer.mode == "paint"
    assert layer.brush_size == 4


def test_clear_removes_the_mask_and_undo_brings_it_back(session, wait):
    key = session.key
    painted = stroke(session)
    wait(lambda: on_disk(session, key) is not None, 10)
    session.clear_mask()
    wait(lambda: on_disk(session, key) is None, 10)
    assert key not in session.painted()
    session.layers.get(MASK).undo()
    wait(lambda: same(on_disk(session, key), painted), 10)
    assert key in session.painted()


def test_clear_puts_aside_a_mask_on_disk_that_cannot_be_shown(session, wait, project):
    told = []
    session.mask_changed.connect(told.append)
    first, keys = session.index, [session.dataset.keys[n] for n in (1, 2)]
    store = session.masks
    store.put(keys[0], np.ones((8, 8), bool), author="Ben", time="2026-01-01T00:00:00+00:00")
    store.put(keys[1], np.ones((16, 16), bool))
    store.path(keys[1]).write_bytes(b"broken")
    session.autosave.open(store, keys)
    for index, key in enumerate(keys, 1):
        session.go_to(index)
        assert not session.layers.get(MASK).data.any()
        session.clear_mask()
        wait(lambda key=key: key not in session.painted())
        assert key not in store
        assert told[-1] == key
    aside = [MaskStore(folder) for folder in (project.folder / "masks-replaced").iterdir()]
    kept = {key: store for store in aside for key in store}
    assert sorted(kept) == keys
    assert kept[keys[0]][keys[0]].shape == (8, 8)
    assert kept[keys[0]].info(keys[0]) == {"size": [8, 8], "author": "Ben", "time": "2026-01-01T00:00:00+00:00"}
    assert kept[keys[1]].path(keys[1]).read_bytes() == b"broken"
    # Where there is nothing, nothing is said.
    session.go_to(first)
    before = len(told)
    session.clear_mask()
    session.save()
    assert len(told) == before
    assert np.array_equal(session.layers.get(MASK).data, np.zeros((16, 16)))


def test_moving_alone_writes_nothing(session, wait):
    told = []
    session.mask_changed.connect(told.append)
    for _ in range(4):
        session.step(1)
    session.autosave.flush()
    assert not session.autosave.painted()
    assert told == []
    assert list(session.project.folder.glob("masks/**/*.png")) == []


def test_masks_come_back_when_the_project_is_opened_again(session, project, wait):
    from napari_cam_feedback.projects import Project

    key = session.key
    painted = stroke(session)
    session.step(1)
    session.step(1)
    session.close()
    again = Project.open(project.folder)
    assert same(again.masks[key], painted)


def test_opening_another_project_saves_what_was_just_painted(session, project, tmp_path, wait):
    from napari_cam_feedback.projects import Project

    key, store = session.key, session.masks
    painted = stroke(session)
    other = Project.create(tmp_path / "other", project.dataset, project.classifier(device="cpu"))
    session.open(prepare(other, other.classifier(device="cpu")))
    assert not session.layers.get(MASK).data.any()
    session.autosave.flush()
    assert same(store[key], painted)
    assert list(other.masks) == []


def test_closing_the_window_saves_what_was_just_painted(make_napari_viewer, project, wait):
    viewer = make_napari_viewer()
    widget = BrowseWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Browse")
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    session.watch(widget)
    key = session.key
    painted = stroke(session)
    viewer.window._qt_window.close()
    assert same(MaskStore(project.folder / "masks")[key], painted)
    with pytest.raises(RuntimeError, match="closed"):
        session.jobs.start("late", lambda _: 1)


def test_removing_all_layers_saves_what_was_just_painted(session, wait):
    key = session.key
    painted = stroke(session)
    session.viewer.layers.clear()
    wait(lambda: same(on_disk(session, key), painted), 10)


def test_a_deleted_mask_layer_is_made_again_and_its_mask_is_not_lost(window_session, wait):
    session = window_session
    key = session.key
    painted = stroke(session)
    session.viewer.layers.remove(session.layers.get(MASK))
    wait(lambda: same(on_disk(session, key), painted), 10)
    assert same(session.current_mask(), painted)
    session.step(1)
    layers = find_layers(session.viewer, MASK)
    assert len(layers) == 1
    assert layers[0].metadata[NAMESPACE]["key"] == session.key
    session.step(-1)
    assert np.array_equal(session.layers.get(MASK).data > 0, painted)
    # The button makes it again without moving.
    session.viewer.layers.remove(session.layers.get(MASK))
    session.paint()
    assert np.array_equal(session.layers.get(MASK).data > 0, painted)
    more = stroke(session, slice(8, 10)) | painted
    wait(lambda: same(on_disk(session, key), more), 10)


def test_a_refused_mask_is_told_of_once_kept_and_tried_again(session, wait, monkeypatch):
    told, real = [], session.masks.put
    session.message.connect(lambda text, level: told.append((level, text)))

    def full(*args, **kwargs):
        raise StorageError("The disk is full; free some space and try again.")

    monkeypatch.setattr(session.masks, "put", full)
    key = session.key
    painted = stroke(session)
    wait(lambda: session.autosave.status == "not saved", 10)
    assert len(told) == 1
    assert told[0][0] == "error"
    assert "disk is full" in told[0][1]
    session.step(1)
    other = session.key
    more = stroke(session, slice(7, 9))
    session.autosave.collect()
    wait(lambda: len(session.autosave.unsaved) == 2, 10)
    assert len(told) == 1
    session.step(-1)
    assert np.array_equal(session.layers.get(MASK).data > 0, painted)
    assert {key, other} <= session.painted()
    monkeypatch.setattr(session.masks, "put", real)
    session.autosave.retry()
    wait(lambda: session.autosave.status == "saved", 10)
    assert same(on_disk(session, key), painted)
    assert same(on_disk(session, other), more)


def test_a_mask_of_another_size_is_told_of_and_not_overwritten(session, project, wait):
    told = []
    session.message.connect(lambda text, level: told.append(text))
    project.masks.put("train/cat/01.png", np.ones((5, 7), bool))
    session.open(prepare(project, project.classifier(device="cpu")))
    session.go_to(project.dataset.index_of("train/cat/01.png"))
    assert "5x7" in told[-1]
    session.step(1)
    session.autosave.flush()
    assert project.masks["train/cat/01.png"].shape == (5, 7)


def test_a_mask_given_by_the_program_shows_and_can_be_undone(session, wait):
    key, other = session.key, session.dataset.keys[3]
    mask = _block((16, 16), slice(3, 9))
    session.put_mask(key, mask)
    session.put_mask(other, mask)
    wait(lambda: same(on_disk(session, key), mask) and same(on_disk(session, other), mask), 10)
    assert {key, other} <= session.painted()
    session.layers.get(MASK).undo()
    wait(lambda: on_disk(session, key) is None, 10)


@pytest.mark.parametrize("rows", [slice(0, 1), slice(0, 16)])
def test_current_mask_is_what_is_painted_now(session, rows):
    assert session.current_mask() is None
    painted = stroke(session, rows)
    assert np.array_equal(session.current_mask(), painted)


def test_a_mask_layer_of_another_size_is_not_saved_and_told_of(session, wait):
    told = []
    session.message.connect(lambda text, level: told.append(text))
    painted = stroke(session)
    session.autosave.flush()
    session.layers.get(MASK).data = np.ones((3, 5), np.uint8)
    wait(lambda: told, 10)
    assert "16x16" in told[0]
    session.autosave.flush()
    assert same(on_disk(session, session.key), painted)
