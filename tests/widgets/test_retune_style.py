"""The Retune page against what lies over whole images: two folders that show it, a run, and its result."""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton

from napari_cam_feedback.auditing import NextShortcut
from napari_cam_feedback.evaluation import Interval
from napari_cam_feedback.projects import Project
from napari_cam_feedback.retuning import ValidationMetrics, take_checkpoint
from napari_cam_feedback.retuning.images import shown_style
from napari_cam_feedback.retuning.images.colour_style import ColourStyle
from napari_cam_feedback.retuning.images.style_file import load_style
from napari_cam_feedback.retuning.judging.style_verdict import STYLE_ADVICE
from napari_cam_feedback.retuning.result_file import read_result_file, save_result
from napari_cam_feedback.widgets.parts.tones import tone_of
from napari_cam_feedback.widgets.retune.dock import RetuneWidget
from napari_cam_feedback.widgets.retune.run import next_step
from napari_cam_feedback.widgets.retune.take_out import TakeOut
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.steps.standing import Standing
from napari_cam_feedback.widgets.steps.standing import next_step as next_of_leading
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.viewer.docks import PAINT, RETUNE

pytest_plugins = ["widget_fixtures"]

SIZE = 16
RUN = {"iterations": 4, "check_every": 2, "learning_rate": 1e-3}


def write_images(folder, count, *, dark=False):
    """Images as those of the data are, noise with a bright band; or darker ones of less contrast."""
    folder.mkdir()
    random = np.random.default_rng(len(folder.name))
    for number in range(count):
        image = random.integers(0, 90, (SIZE, SIZE)).astype(float)
        image[5 * (number % 3) : 5 * (number % 3) + 5] += 120
        image = image / 4 if dark else image
        Image.fromarray(image.astype(np.uint8)).save(folder / f"shown-{number:02d}.png")
    return folder


@pytest.fixture
def shown(tmp_path):
    """Two folders: images as bright as the data, and dark ones."""
    return write_images(tmp_path / "bright", 12), write_images(tmp_path / "dark", 9, dark=True)


@pytest.fixture
def windowed(make_napari_viewer, project, wait):
    """The page in a real window, with a short run set and nothing painted."""
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    widget = RetuneWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Retune", area="right")
    widget.choice.form.set_values(RUN)
    yield session, widget
    session.close()


@pytest.fixture
def docked(session, qtbot):
    """The same in a viewer without a window."""
    widget = RetuneWidget(session.viewer)
    qtbot.addWidget(widget)
    widget.choice.form.set_values(RUN)
    return session, widget


@pytest.fixture
def improving(monkeypatch):
    """Let a run always find something better than the start."""
    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))


def choose(widget, with_it=None, without=None):
    widget.take_out.set_style(True)
    for row, folder in ((widget.take_out.with_it, with_it), (widget.take_out.without, without)):
        if folder is not None:
            row.field.set_path(folder)


def finished(widget):
    return lambda: widget.run is None or widget.run.result is not None


def run_to_result(widget, wait, shown, **settings):
    choose(widget, *shown)
    widget.choice.form.set_values(settings)
    widget.start_button.click()
    wait(finished(widget))
    assert widget.run is not None, widget.status.text()
    return widget.run.result


def opened_again(project, wait, qtbot):
    """Open a project in another window, as after a restart; return its session, and the page with what waited."""
    viewer = ViewerModel()
    session = session_of(viewer)
    session.viewer_of_the_test = viewer
    again = Project.open(project.folder)
    session.open(prepare(again, again.classifier(device="cpu")))
    widget = RetuneWidget(viewer)
    qtbot.addWidget(widget)
    wait(lambda: widget.run is not None and widget.run.comparison is not None)
    return session, widget


def same_style(one, other):
    first, second = one.to_tensors(), other.to_tensors()
    return set(first) == set(second) and all(first[name].equal(second[name]) for name in first)


@pytest.mark.usefixtures("improving")
def test_without_a_mask_two_folders_are_chosen_and_the_run_ends_in_a_kept_version(windowed, shown, wait, qtbot):
    session, widget = windowed
    take_out = widget.take_out
    assert not take_out.opened
    assert take_out.button.text() == "Take out: what is painted"
    assert "open “Take out” below" in widget.hint.text()
    qtbot.mouseClick(take_out.button, Qt.MouseButton.LeftButton)
    assert not take_out.with_it.isVisible()
    qtbot.keyClick(take_out.style_button, Qt.Key.Key_Space)
    assert take_out.of_style
    assert take_out.button.text() == "Take out: something over whole images"
    assert take_out.with_it.isVisible()
    assert "one of images without it, then start" in widget.hint.text()
    choose(widget, *shown)
    wait(lambda: take_out.with_it.count.text() == "12 images; some 30 are better.")
    wait(lambda: take_out.without.count.text() == "9 images; some 30 are better.")
    assert "Start; the defaults" in widget.hint.text()

    qtbot.mouseClick(widget.start_button, Qt.MouseButton.LeftButton)
    assert not take_out.opened
    wait(finished(widget))
    run = widget.run
    assert run is not None, widget.status.text()
    result = run.result
    assert result.style is not None
    assert result.style.sentence in widget.log.lines[0]
    assert result.masks == {}
    assert result.painted_keys
    assert widget.plot.painted.title == "With it: p(true class)"
    assert "against what lies over whole images" in widget.version_label.text()
    assert "with it swapped (taken off where it is, else put on)" in widget.numbers.text()
    wait(lambda: run.comparison is not None)
    told = "\n".join(
        [*(label.text() for label in widget.findChildren(QLabel)), *(" ".join(row) for row in widget.table.texts())]
    )
    assert "images with it" in told
    # The choice of what to take out, and what may be painted meanwhile, alone speak of painting.
    assert "painted image" not in told
    assert "what is painted" not in told.lower()
    assert "marker" not in told

    qtbot.mouseClick(widget.keep_button, Qt.MouseButton.LeftButton)
    wait(lambda: widget.run is None)
    assert "Kept as v002" in widget.status.text()
    # As it was left, for the next run.
    assert take_out.opened
    assert take_out.with_it.field.path == shown[0]
    (kept,) = session.project.folder.glob("runs/*/style.safetensors")
    assert same_style(load_style(kept), result.style)


@pytest.mark.usefixtures("improving")
@pytest.mark.parametrize("painted_too", [True, False])
def test_brightness_and_colour_need_no_folder_and_go_with_what_is_painted(windowed, wait, qtbot, painted_too):
    session, widget = windowed
    take_out = widget.take_out
    keys = [session.dataset.keys[int(index)] for index in session.dataset.indices("train")[:3]]
    for key in keys:
        session.put_mask(key, np.eye(SIZE, dtype=bool))
    take_out.set_opened(True)
    assert not take_out.painted_too.isVisible()
    qtbot.keyClick(take_out.colours_button, Qt.Key.Key_Space)
    assert take_out.button.text() == "Take out: brightness and colour"
    assert not take_out.with_it.isVisible()
    assert take_out.painted_too.isVisible()
    assert take_out.painted_too.isChecked()
    assert "Start; the defaults" in widget.hint.text()
    take_out.painted_too.setChecked(painted_too)
    qtbot.mouseClick(widget.start_button, Qt.MouseButton.LeftButton)
    wait(finished(widget))
    result = widget.run.result
    assert isinstance(result.style, ColourStyle)
    assert sorted(result.masks) == (sorted(keys) if painted_too else [])
    said = "pasted in, and with the brightness" if painted_too else "images with the brightness and colour of other images"
    assert said in widget.numbers.text()
    wait(lambda: widget.run.comparison is not None)


def test_a_missing_folder_is_asked_for_where_it_goes_and_nothing_starts(windowed, shown, wait):
    _, widget = windowed
    take_out = widget.take_out
    choose(widget)
    widget.start_button.click()
    assert widget.status.text() == "Choose a folder of images with what is to be taken out."
    choose(widget, shown[0])
    assert widget.status.text() == ""
    take_out.set_opened(False)
    widget.start_button.click()
    assert widget.run is None
    assert "Choose a folder of images without it, too" in widget.status.text()
    assert take_out.without.isVisible()
    assert take_out.without.count.text() == widget.status.text()
    assert tone_of(take_out.without.count) == "warning"
    assert widget.window().focusWidget() is take_out.without.field.edit
    choose(widget, None, shown[0])
    widget.start_button.click()
    assert "Both folders are the same" in widget.status.text()
    assert widget.run is None


def test_too_few_images_are_said_at_the_folder_and_by_the_run(windowed, shown, tmp_path, wait):
    _, widget = windowed
    choose(widget, shown[0], write_images(tmp_path / "few", 3, dark=True))
    row = widget.take_out.without
    wait(lambda: row.count.text() == "3 images: too few; 8 are needed, some 30 are better.")
    assert tone_of(row.count) == "warning"
    widget.start_button.click()
    wait(finished(widget))
    assert widget.run is None
    assert "There are 12 images with it and 3 without it; 8 of each are needed" in widget.status.text()
    assert tone_of(widget.status) == "error"
    assert widget.take_out.opened
    # It is below settings that came back; the user sees it all the same.
    wait(lambda: not widget.status.visibleRegion().isEmpty())


def test_a_folder_that_cannot_be_read_is_said_at_once_and_when_it_is_started_with(docked, shown, tmp_path, wait):
    _, widget = docked
    choose(widget, shown[0], tmp_path / "nowhere")
    wait(lambda: "nowhere does not exist; check the path." in widget.take_out.without.count.text())
    widget.start_button.click()
    wait(finished(widget))
    assert "nowhere does not exist; check the path." in widget.status.text()


def test_images_that_differ_in_nothing_are_said_not_to(docked, shown, tmp_path, wait):
    _, widget = docked
    choose(widget, shown[0], write_images(tmp_path / "alike", 12))
    widget.start_button.click()
    wait(finished(widget))
    assert widget.run is None
    assert "of these images apart, and half would be chance" in widget.status.text()


@pytest.mark.usefixtures("improving")
def test_stop_leaves_the_best_so_far_which_waits_after_a_restart_and_is_continued_with_its_style(docked, shown, wait, qtbot):
    session, widget = docked
    choose(widget, *shown)
    widget.choice.form.set_values({"iterations": 100_000})
    widget.start_button.click()
    wait(lambda: "total" in widget.plot.loss_names and len(widget.plot.losses.lines["total"].points) > 4)
    widget.stop_button.click()
    wait(finished(widget))
    stopped = widget.run.result
    assert stopped.status == "stopped"
    session.close()
    again, dock = opened_again(session.project, wait, qtbot)
    assert same_style(dock.run.result.style, stopped.style)
    dock.continue_button.click()
    wait(lambda: len(dock.plot.losses.lines["total"].points) > stopped.run_state.iteration + 2)
    assert dock.run.earlier.run_state.identity == stopped.run_state.identity
    again.close()


def test_stop_while_the_images_are_read_ends_before_the_first_step(docked, shown, wait, monkeypatch):
    class Slow(shown_style.InputCache):
        def batches(self, indices, size):
            yield from super().batches(indices, size)
            while widget._machine.phase is not Phase.STOPPING:
                time.sleep(0.005)
            yield from super().batches(indices, size)

    _, widget = docked
    monkeypatch.setattr(shown_style, "InputCache", Slow)
    choose(widget, *shown)
    widget.start_button.click()
    assert widget.stop_button.isEnabled()
    widget.stop_button.click()
    wait(finished(widget))
    assert widget.run is None
    assert widget.status.text() == "Stopped before the first step; nothing was changed."
    assert widget.start_button.isEnabled()


@pytest.mark.usefixtures("improving")
def test_a_result_that_waits_comes_back_after_a_restart_with_its_style(docked, shown, wait, qtbot):
    session, widget = docked
    result = run_to_result(widget, wait, shown)
    session.close()
    again, dock = opened_again(session.project, wait, qtbot)
    found = dock.run.result
    assert same_style(found.style, result.style)
    assert (found.verdict, found.verdict.advice) == (result.verdict, STYLE_ADVICE[result.verdict.name])
    assert dock.plot.painted.title == "With it: p(true class)"
    assert "against what lies over whole images" in dock.version_label.text()
    assert dock.log.lines == widget.log.lines
    # Another model of it is measured as the run measured it.
    (check,) = [each.check for each in found.checkpoints if each.check.iteration == found.selected_iteration]
    taken = take_checkpoint(found, check.iteration, again.dataset, {})
    assert (taken.after.style, taken.style is found.style) == (found.after.style, True)
    assert taken.after.conflict_accuracy == pytest.approx(check.conflict_accuracy)
    assert "on 6 validation images " + found.after.style in taken.verdict.reason
    dock.keep_button.click()
    wait(lambda: dock.run is None)
    assert len(list(session.project.folder.glob("runs/*/style.safetensors"))) == 1
    again.close()


def test_a_file_of_a_result_from_before_there_were_styles_is_read(docked, shown, wait, tmp_path):
    _, widget = docked
    result = run_to_result(widget, wait, shown)
    save_result(result, tmp_path / "new.pt", {})
    found = read_result_file(tmp_path / "new.pt")
    del found.values["style"]
    assert found.result(result.given).style is None


def test_folders_are_remembered_in_the_window_and_the_choice_is_not_taken_to_other_data(docked, shown, files, qtbot):
    session, widget = docked
    choose(widget, *shown)
    again = RetuneWidget(session.viewer)
    qtbot.addWidget(again)
    assert not again.take_out.of_style
    assert again.take_out.with_it.field.path == shown[0]
    assert again.take_out.without.field.path == shown[1]
    other = Project.create(files.project.with_name("other"), session.dataset, session.classifier)
    session.open(prepare(other, session.classifier))
    assert not widget.take_out.of_style
    assert widget.take_out.complete


def test_fields_and_buttons_have_names_and_are_reached_by_tab_in_their_order(windowed, qtbot):
    _, widget = windowed
    take_out = widget.take_out
    take_out.set_opened(True)
    take_out.set_style(True)
    assert take_out.with_it.field.edit.accessibleName() == "Images with it"
    buttons = [row.findChild(QPushButton) for row in (take_out.with_it, take_out.without)]
    assert [button.accessibleName() for button in buttons] == [
        "Images with it: choose a folder",
        "Images without it: choose a folder",
    ]
    order = [take_out.button, take_out.style_button]
    for row, button in zip((take_out.with_it, take_out.without), buttons, strict=True):
        order += [row.field.edit, button]
    order.append(widget.settings.button)
    reached, at = [], take_out.button
    while at is not widget.settings.button:
        reached.append(at)
        at = at.nextInFocusChain()
    reached.append(at)
    places = [reached.index(each) for each in order]
    assert places == sorted(places)


def test_nothing_of_the_open_fold_is_cut_off_at_the_docks_least_width(qtbot):
    take_out = TakeOut()
    qtbot.addWidget(take_out)
    take_out.set_opened(True)
    take_out.set_style(True)
    take_out.resize(318, take_out.heightForWidth(318))
    take_out.show()
    assert take_out.minimumSizeHint().width() <= 318
    assert take_out.button.fontMetrics().horizontalAdvance(take_out.button.text()) + 24 <= take_out.button.width()
    for row in (take_out.with_it, take_out.without):
        assert row.field.edit.width() >= 100


def test_the_next_step_speaks_of_folders_where_these_show_it():
    assert "Nothing is painted yet" in next_step(Phase.IDLE, None, opened=True, painted=False)
    assert "Choose a folder of images with it" in next_step(Phase.IDLE, None, opened=True, painted=False, shown=False)
    assert next_step(Phase.IDLE, None, opened=True, painted=False, shown=True).startswith("Start;")
    here = Standing(step=RETUNE, opened=True, looked=True, of_style=True)
    assert "nothing need be painted" in next_of_leading(here).sentence
    at_paint = Standing(step=PAINT, opened=True, looked=True, of_style=True)
    assert "Paint what is irrelevant" in next_of_leading(at_paint).sentence


@pytest.mark.usefixtures("improving")
def test_where_the_next_shortcut_is_colour_the_folders_are_named_and_nothing_is_to_be_painted(
    docked, shown, wait, monkeypatch
):
    _, widget = docked
    found = NextShortcut("brightness and colour", 0.4, Interval(0.3, 0.5), 40, 0.9, 0.5, False, ())
    monkeypatch.setattr("napari_cam_feedback.auditing.next_shortcuts", lambda *_, **__: (found,))
    run_to_result(widget, wait, shown)
    wait(lambda: not widget.next_shortcut.isHidden())
    assert "in all lights (“Brightness and colour”)." in widget.next_shortcut.sentence.text()
    assert widget.next_shortcut.button.isHidden()
