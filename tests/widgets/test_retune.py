"""The Retune dock: settings, a retune in a worker, and keeping or discarding its result."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_cam_feedback import retuning as retune_package
from napari_cam_feedback.auditing import NextShortcut
from napari_cam_feedback.errors import ConsentNeeded, StorageError
from napari_cam_feedback.evaluation import Interval
from napari_cam_feedback.files import write_json
from napari_cam_feedback.projects import Project
from napari_cam_feedback.projects import undecided as undecided_module
from napari_cam_feedback.retuning import RetuneConfig, RetuneStep, Verdict, judge
from napari_cam_feedback.retuning.judging import pareto as retune_front
from napari_cam_feedback.retuning.weight_path import SHARES
from napari_cam_feedback.widgets.open import dock as session_widget
from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.parts.basics import time_left
from napari_cam_feedback.widgets.parts.charts import StepPlot
from napari_cam_feedback.widgets.parts.editors import extras
from napari_cam_feedback.widgets.parts.plot import COLOURS, GRAY
from napari_cam_feedback.widgets.parts.tones import tone_of
from napari_cam_feedback.widgets.retune.dock import JOB, RetuneWidget
from napari_cam_feedback.widgets.retune.run import next_step
from napari_cam_feedback.widgets.session.consents import ConsentRequest
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.session.side_by_side import LAYER_NAMES
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.tasks.workers import WorkStopped
from napari_cam_feedback.widgets.viewer.identity import find_layer
from napari_cam_feedback.widgets.viewer.layers import MASK

pytest_plugins = ["widget_fixtures"]


def block(session):
    mask = np.zeros(session.dataset.image_size(0), bool)
    mask[2:6, 2:6] = True
    return mask


def paint_all(session, count=5):
    """Paint the first images of the training split; the last stroke is not on disk yet."""
    indices = session.dataset.indices("train")[:count]
    for index in indices[:-1]:
        session.put_mask(session.dataset.keys[index], block(session))
    session.go_to(int(indices[-1]))
    layer = session.layers.get(MASK)
    layer.data_setitem(np.nonzero(block(session)), 1)
    return [session.dataset.keys[index] for index in indices]


@pytest.fixture
def docked(session, qtbot):
    """The widget of a viewer without a window, with a short run set; its learning rate is not searched for."""
    widget = RetuneWidget(session.viewer)
    qtbot.addWidget(widget)
    widget.choice.form.set_values({"iterations": 4, "check_every": 2, "learning_rate": 1e-3})
    return session, widget


@pytest.fixture
def improving(monkeypatch):
    """Let a run always find something better than the start, which four steps of a random model need not do."""
    from napari_cam_feedback.retuning import ValidationMetrics

    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))


def finished(widget):
    return lambda: widget.run is None or widget.run.result is not None


def run_to_result(session, widget, wait, **settings):
    paint_all(session)
    widget.choice.form.set_values(settings)
    widget.start_button.click()
    wait(finished(widget))
    assert widget.run is not None, widget.status.text()
    assert widget.run is not None, widget.status.text()
    return widget.run.result


def fake_retune(monkeypatch, generator):
    monkeypatch.setattr(retune_package, "retune", generator)


def endless(classifier, dataset, masks, config, *, monitor, **_):
    iteration = 0
    while not monitor.stopped:
        time.sleep(0.005)
        iteration += 1
        yield RetuneStep(iteration, 10_000, {"total": 1.0}, ())
    raise WorkStopped


def test_opening_the_docks_module_loads_no_torch():
    code = (
        "import os, sys, napari_cam_feedback.widgets.retune.dock, napari_cam_feedback.widgets.filters.dock;"
        "print('torch' in sys.modules, flush=True); os._exit(0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.stdout.strip() == "False", ended.stderr


def test_without_a_project_it_says_what_to_do_first(qtbot):
    viewer = ViewerModel()
    widget = RetuneWidget(viewer)
    qtbot.addWidget(widget)
    assert "the step Open" in widget.hint.text()
    assert not widget.start_button.isEnabled()
    session_of(viewer).close()


def test_without_paint_it_says_so_and_a_start_ends_in_a_sentence(docked, wait):
    _, widget = docked
    assert "Nothing is painted yet" in widget.hint.text()
    widget.start_button.click()
    wait(finished(widget))
    assert "paint what is irrelevant" in widget.status.text()
    assert widget.start_button.isEnabled()
    assert not widget.stop_button.isEnabled()


def test_painted_images_are_counted_by_class_and_test_images_left_out(docked, wait):
    session, widget = docked
    paint_all(session, 5)
    test_key = session.dataset.keys[session.dataset.indices("test")[0]]
    session.put_mask(test_key, block(session))
    session.save()
    wait(lambda: "Painted images: 5 (cat: 4, dog: 1)" in widget.painted_label.text())
    assert "Another one is not learnt from" in widget.painted_label.text()
    assert "defaults are a good first try" in widget.hint.text()


def test_beside_retune_it_says_whether_more_masks_help_by_the_runs_so_far(docked, wait):
    session, widget = docked
    paint_all(session, 5)
    session.save()
    wait(lambda: "known after a retune" in widget.more_label.text())
    assert widget.more_label.isVisibleTo(widget)
    keys = sorted(session.painted())
    checks = [{"neutral": None, "conflict_accuracy": 0.5, "marks": 0.9, "moved": [lost, lost, 0, 0]} for lost in (0.8, 0.2)]
    run = {"before": checks[0], "after": checks[1], "painted": keys, "held_out": keys, "status": "done"}
    write_json(session.project.folder / "runs" / "one" / "result.json", {**run, "verdict": {"name": "improved"}})
    session.put_mask(session.dataset.keys[session.dataset.indices("train")[5]], block(session))
    session.save()
    wait(lambda: "Ten more masks will probably help" in widget.more_label.text())
    widget.take_out.set_style(True)
    wait(lambda: not widget.more_label.isVisibleTo(widget))


@pytest.mark.usefixtures("improving")
def test_a_whole_run_in_a_window_ends_in_a_kept_version(make_napari_viewer, project, wait, qtbot):
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None)
    widget = RetuneWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Retune", area="right")
    widget.choice.form.set_values({"iterations": 4, "check_every": 2, "learning_rate": 1e-3})
    before = session.classifier
    keys = paint_all(session)
    viewer.layers.selection.active = session.layers.get(MASK)

    qtbot.mouseClick(widget.start_button, Qt.MouseButton.LeftButton)
    assert session.jobs.phase(JOB).phase is Phase.RUNNING
    assert (widget.start_button.isEnabled(), widget.stop_button.isEnabled()) == (False, True)
    wait(finished(widget))
    result = widget.run.result
    # The last stroke was not on disk when Start was pressed.
    assert sorted({*result.painted_keys, *result.held_out_keys}) == sorted(keys)
    assert {"cross-entropy", "actdiff", "total"} <= set(widget.plot.loss_names)
    assert set(widget.plot.painted_keys) == set(result.painted_keys)
    assert result.verdict.name.capitalize() in widget.verdict_label.text()
    assert result.verdict.headline in widget.verdict_label.text()
    assert result.verdict.reason in widget.reason_label.text()
    wait(lambda: widget.run.comparison is not None)
    assert not widget.table.isVisible()
    widget.table_fold.set_opened(True)
    assert widget.table.isVisible()
    assert ("train", "", "", "") in widget.table.texts()
    wait(lambda: find_layer(viewer, LAYER_NAMES[2]) is not None and viewer.canvas.grid.enabled)
    assert viewer.layers.selection.active is session.layers.get(MASK)

    qtbot.mouseClick(widget.keep_button, Qt.MouseButton.LeftButton)
    wait(lambda: widget.run is None)
    assert "Kept as v002" in widget.status.text()
    assert session.classifier is result.classifier
    assert session.classifier is not before
    assert not viewer.canvas.grid.enabled
    assert find_layer(viewer, LAYER_NAMES[0]) is None
    assert widget.start_button.isEnabled()
    reopened = Project.open(project.folder)
    assert (reopened.current.id, reopened.current.parent) == ("v002", "v001")
    assert reopened.classifier(device="cpu").fingerprint() == result.classifier.fingerprint()
    session.close()


@pytest.mark.usefixtures("improving")
def test_the_next_shortcut_is_said_below_the_result_and_its_images_are_a_click_away(docked, wait, monkeypatch, qtbot):
    session, widget = docked
    others = [int(index) for index in session.dataset.indices("train")[-2:]]
    found = NextShortcut(
        cue="border",
        followed=0.4,
        interval=Interval(0.3, 0.5),
        n=40,
        accuracy=0.9,
        chance=0.5,
        painted=False,
        keys=tuple(session.dataset.keys[index] for index in others),
    )
    monkeypatch.setattr("napari_cam_feedback.auditing.next_shortcuts", lambda *_, **__: (found,))
    assert widget.next_shortcut.isHidden()
    run_to_result(session, widget, wait)
    wait(lambda: not widget.next_shortcut.isHidden())
    assert found.sentence in widget.next_shortcut.sentence.text()
    with qtbot.waitSignal(widget.paint_wanted):
        widget.next_shortcut.button.click()
    assert session.index == others[0]
    session.step(1)
    assert session.index == others[1]


def test_discarding_leaves_the_model_and_writes_the_record(docked, wait):
    session, widget = docked
    before = session.classifier
    run_to_result(session, widget, wait)
    widget.discard_button.click()
    wait(lambda: widget.run is None)
    assert "Discarded" in widget.status.text()
    assert session.classifier is before
    assert [version.id for version in session.project.versions] == ["v001"]
    (record,) = session.project.folder.glob("runs/*/result.json")
    assert json.loads(record.read_text())["kept"] is None
    assert widget.start_button.isEnabled()
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("improving")
def test_a_new_run_waits_for_the_decision_on_the_last(docked, wait):
    session, widget = docked
    run_to_result(session, widget, wait)
    assert not widget.start_button.isEnabled()
    assert "keep or discard" in widget.hint.text()


@pytest.mark.usefixtures("improving")
def test_stop_leaves_the_best_so_far_to_keep(docked, wait):
    session, widget = docked
    paint_all(session)
    widget.choice.form.set_values({"iterations": 100_000})
    widget.start_button.click()
    wait(lambda: "total" in widget.plot.loss_names and len(widget.plot.losses.lines["total"].points) > 4)
    widget.stop_button.click()
    assert not widget.stop_button.isEnabled()
    wait(finished(widget), 10)
    assert widget.run is not None, widget.status.text()
    assert widget.run.result.status == "stopped"
    assert widget.keep_button.isEnabled()
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert session.project.current.id == "v002"


def test_a_run_that_found_nothing_better_cannot_be_kept(docked, wait, monkeypatch):
    from napari_cam_feedback.retuning import ValidationMetrics

    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: -float(check.iteration)))
    session, widget = docked
    run_to_result(session, widget, wait)
    assert not widget.keep_button.isEnabled()
    assert widget.discard_button.isEnabled()
    assert "No step was better" in widget.hint.text()


def test_a_loss_that_is_no_number_is_told_of_in_a_sentence(docked, wait, monkeypatch):
    from napari_cam_feedback.retuning.methods import ActDiff

    monkeypatch.setattr(ActDiff, "penalty", lambda self, batch, outputs: outputs.activations.sum() * float("nan"))
    session, widget = docked
    result = run_to_result(session, widget, wait, iterations=20, learning_rate=1e-3)
    assert (result.status, result.verdict.name) == ("rolled back", "failed")
    assert widget.status.text() == (
        "The loss is not a number any more, again and again, so the run was given up after 3 iterations; the model is as it "
        "was. Lower the learning rate or the strength."
    )
    assert tone_of(widget.status) == "error"
    assert not widget.keep_button.isEnabled()
    assert "the verdict says what to try next" in widget.hint.text()
    assert "Failed" in widget.verdict_label.text()
    # All three times are still there to be read, in their order.
    assert [line.split(":")[0] for line in widget.log.lines[-3:]] == ["1", "2", "3"]
    assert widget.log.lines[-1] == "3: The loss is not a number any more; went back to the best so far and ended."
    assert not widget.log.opened
    widget.discard_button.click()
    wait(lambda: widget.run is None)
    assert widget.log.lines == []


def says(*steps):
    """A run of these steps that fails after them."""

    def run(classifier, dataset, masks, config, *, monitor, **_):
        yield from steps
        while not monitor.stopped:
            time.sleep(0.005)
        raise WorkStopped

    return run


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        ("Learning rate 0.001, by the loss after a few steps at each of several (0.001: 0.40).", False),
        ("The model became worse than it was; went back to the best so far, with a learning rate of 0.0003.", True),
    ],
)
def test_a_message_is_red_only_where_weights_were_thrown_away(docked, wait, monkeypatch, message, trouble):
    fake_retune(monkeypatch, says(RetuneStep(0, 4, {}, (), message="First."), RetuneStep(1, 4, {}, (), message=message)))
    session, widget = docked
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.status.text() == message)
    assert bool(widget.status.styleSheet()) is trouble
    assert widget.log.lines == ["0: First.", f"1: {message}"]
    assert widget.log.button.text() == "The run's log (2)"
    assert widget.log.text.isReadOnly()


def test_while_learning_rates_are_tried_the_label_says_which(docked, wait, monkeypatch):
    fake_retune(monkeypatch, says(RetuneStep(0, 300, {}, ()), RetuneStep(0, 300, {}, (), trying=3e-4)))
    session, widget = docked
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.progress_label.text() == "Trying a learning rate of 0.0003…")
    assert not widget.plot.loss_names


@pytest.mark.parametrize(
    ("iterations", "label", "axis"),
    [(None, "Iteration 40 of at most 300,\nat most ", 40), (300, "Iteration 40 of 300, ", 300)],
)
def test_a_run_that_ends_by_itself_says_at_most_and_its_axis_grows(docked, wait, monkeypatch, iterations, label, axis):
    steps = [RetuneStep(n, 300, {"total": 1.0} if n else {}, ()) for n in range(41)]
    fake_retune(monkeypatch, says(*steps))
    session, widget = docked
    widget.choice.form.set_values({"iterations": iterations})
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.progress_label.text().startswith(label))
    assert widget.plot.losses.last_x == axis
    assert widget.progress.maximum() == 300
    widget.stop_button.click()
    wait(lambda: widget.run is None)
    # Nothing comes after these.
    assert widget.plot.losses.last_x == 40


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), "device-side assert"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "not enough memory"),
        (OSError(28, "No space left on device"), "disk is full"),
    ],
)
def test_an_error_inside_the_run_reaches_the_user(docked, wait, monkeypatch, error, words):
    def failing(classifier, dataset, masks, config, *, monitor, **_):
        yield RetuneStep(0, 4, {}, ())
        raise error

    fake_retune(monkeypatch, failing)
    session, widget = docked
    paint_all(session)
    widget.start_button.click()
    wait(finished(widget))
    assert words in widget.status.text()
    assert session.jobs.phase(JOB).phase is Phase.FAILED
    assert widget.start_button.isEnabled()


def test_what_a_failed_run_said_goes_when_something_is_painted(docked, wait):
    session, widget = docked
    widget.start_button.click()
    wait(finished(widget))
    assert widget.status.text()
    session.put_mask(session.key, block(session))
    wait(lambda: not widget.status.text())


def test_a_full_disk_while_keeping_loses_nothing(docked, wait, monkeypatch, improving):
    session, widget = docked
    run_to_result(session, widget, wait)

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Project, "keep", refuse)
        widget.keep_button.click()
        wait(lambda: "disk is full" in widget.status.text())
    assert widget.keep_button.isEnabled()
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert session.project.current.id == "v002"


def test_the_plot_is_drawn_a_few_times_a_second_however_many_steps_come(docked, wait, monkeypatch):
    def fast(classifier, dataset, masks, config, *, monitor, **_):
        for iteration in range(2000):
            yield RetuneStep(iteration, 2000, {"total": 1.0 / (iteration + 1)}, ())
        raise RuntimeError("end")

    fake_retune(monkeypatch, fast)
    session, widget = docked
    paint_all(session)
    draws, start = widget.plot.draws, time.monotonic()
    widget.start_button.click()
    wait(finished(widget))
    assert len(widget.plot.losses.lines["total"].points) == 2000
    assert widget.plot.draws - draws <= 4 * (time.monotonic() - start) + 3


def test_closing_while_a_retune_runs_neither_hangs_nor_fails(docked, wait, monkeypatch):
    fake_retune(monkeypatch, endless)
    session, widget = docked
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.plot.loss_names)
    start = time.monotonic()
    session.close()
    assert time.monotonic() - start < 2
    assert not session.jobs.running(JOB)


def waiting(project):
    """The files of results that wait in a project."""
    return list((project.folder / "undecided").glob("*.pt"))


def opened_again(project, wait, qtbot):
    """Open a project in another window, as after a restart; return its session, and the dock with what waited."""
    viewer = ViewerModel()
    session = session_of(viewer)
    # A session ends with its viewer.
    session.viewer_of_the_test = viewer
    again = Project.open(project.folder)
    session.open(prepare(again, again.classifier(device="cpu")))
    widget = RetuneWidget(viewer)
    qtbot.addWidget(widget)
    wait(lambda: widget.run is not None and widget.run.comparison is not None)
    return session, widget


def same_result(one, other):
    """Whether two results are equal in everything but the objects that they are made of."""
    assert one.classifier.fingerprint() == other.classifier.fingerprint()
    assert one.given.fingerprint() == other.given.fingerprint()
    assert one.classifier.info == other.classifier.info
    assert json.dumps(one.to_json(), default=float) == json.dumps(other.to_json(), default=float)
    assert repr(one.history) == repr(other.history)
    assert repr(one.painted_history) == repr(other.painted_history)
    assert [each.check for each in one.checkpoints] == [each.check for each in other.checkpoints]
    assert set(one.masks) == set(other.masks)
    assert all(np.array_equal(one.masks[key], other.masks[key]) for key in one.masks)
    return True


@pytest.mark.usefixtures("improving")
def test_a_finished_result_is_on_disk_before_the_user_decides_and_waits_after_a_restart(docked, wait, qtbot):
    session, widget = docked
    result = run_to_result(session, widget, wait)
    # As after a kill: nothing is closed, and nothing is written from here on.
    (path,) = waiting(session.project)
    again, dock = opened_again(session.project, wait, qtbot)
    assert same_result(dock.run.result, result)
    assert (dock.run.parent, dock.run.seconds > 0) == ("v001", True)
    assert all(np.array_equal(dock.run.masks[key], mask) for key, mask in widget.run.masks.items())
    assert result.verdict.reason in dock.reason_label.text()
    assert dock.plot.loss_names == widget.plot.loss_names
    assert not dock.side_button.isChecked()
    assert [dock.checkpoint_box.itemText(n) for n in range(dock.checkpoint_box.count())] == [
        widget.checkpoint_box.itemText(n) for n in range(widget.checkpoint_box.count())
    ]
    dock.keep_button.click()
    wait(lambda: dock.run is None)
    assert again.project.current.id == "v002"
    assert again.classifier.fingerprint() == result.classifier.fingerprint()
    assert not path.exists()
    # The first window has it still, and must not keep it twice.
    widget.keep_button.click()
    wait(lambda: "in another window" in widget.status.text())
    assert widget.run is None
    again.close()


@pytest.mark.usefixtures("improving")
def test_a_result_that_waited_can_be_discarded_and_is_gone(docked, wait, qtbot):
    session, widget = docked
    run_to_result(session, widget, wait)
    session.close()
    again, dock = opened_again(session.project, wait, qtbot)
    dock.discard_button.click()
    wait(lambda: dock.run is None)
    assert not waiting(session.project)
    assert len(list(session.project.folder.glob("runs/*/history.csv"))) == 1
    again.close()


@pytest.mark.usefixtures("improving")
def test_a_stopped_run_that_waited_can_be_continued(docked, wait, qtbot):
    session, widget = docked
    stopped = stop_after(session, widget, wait)
    session.close()
    again, dock = opened_again(session.project, wait, qtbot)
    assert not dock.continue_button.isHidden()
    dock.continue_button.click()
    start = stopped.run_state.iteration
    wait(lambda: len(dock.plot.losses.lines["total"].points) > start + 2)
    assert dock.run.earlier.run_state.identity == stopped.run_state.identity
    again.close()
    assert len(waiting(session.project)) == 1


@pytest.mark.usefixtures("improving")
def test_closing_during_a_run_keeps_what_it_has_found(docked, wait, qtbot):
    session, widget = docked
    paint_all(session)
    widget.choice.form.set_values({"iterations": 100_000, "check_every": 2})
    widget.start_button.click()
    wait(lambda: "total" in widget.plot.loss_names and len(widget.plot.losses.lines["total"].points) > 4)
    session.close()
    assert len(waiting(session.project)) == 1
    again, dock = opened_again(session.project, wait, qtbot)
    assert dock.run.result.status == "stopped"
    again.close()


@pytest.mark.usefixtures("improving")
def test_opening_a_project_says_that_a_result_waits_also_without_the_dock(docked, wait):
    session, widget = docked
    run_to_result(session, widget, wait)
    session.close()
    viewer = ViewerModel()
    other, told = session_of(viewer), []
    other.message.connect(lambda text, level: told.append(text))
    again = Project.open(session.project.folder)
    other.open(prepare(again, again.classifier(device="cpu")))
    assert "The result of a retune waits to be kept or discarded; see the step Compare of CAM feedback." in told
    other.close()


@pytest.mark.usefixtures("improving")
def test_a_broken_file_of_a_result_is_said_and_harms_nothing(docked, wait, qtbot):
    session, widget = docked
    folder = session.project.folder / "undecided"
    folder.mkdir()
    (folder / "20260101-000000-auto.pt").write_bytes(b"broken")
    session.open(prepare(session.project, session.classifier))
    wait(lambda: "cannot be read" in widget.status.text())
    assert run_to_result(session, widget, wait)


def test_a_result_that_the_disk_refuses_is_said_and_written_at_the_end(docked, wait, monkeypatch, improving):
    session, widget = docked

    def refuse(*_, **__):
        raise StorageError("The disk is full; free some space and try again.")

    with monkeypatch.context() as patch:
        patch.setattr(undecided_module, "save_undecided", refuse)
        run_to_result(session, widget, wait)
        assert "disk is full" in widget.status.text()
    session.close()
    assert len(waiting(session.project)) == 1


def test_another_project_stops_the_run_and_its_result_is_dropped(docked, wait, monkeypatch, files):
    fake_retune(monkeypatch, endless)
    session, widget = docked
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.plot.loss_names)
    other = Project.create(files.project.with_name("other"), session.dataset, session.classifier)
    session.open(prepare(other, session.classifier))
    assert widget.run is None
    wait(lambda: not session.jobs.running(JOB))
    assert widget.start_button.isEnabled()
    assert not widget.result_box.isVisibleTo(widget)
    assert not widget.plot.loss_names
    assert not widget.plot.isVisibleTo(widget)


@pytest.mark.usefixtures("improving")
def test_a_result_waits_in_its_project_while_another_one_is_open(docked, wait, files):
    session, widget = docked
    result = run_to_result(session, widget, wait)
    project = session.project
    other = Project.create(files.project.with_name("other"), session.dataset, session.classifier)
    session.open(prepare(other, session.classifier))
    assert widget.run is None
    assert not waiting(other)
    session.open(prepare(project, session.classifier))
    wait(lambda: widget.run is not None)
    assert same_result(widget.run.best, result)
    assert [version.id for version in project.versions] == ["v001"]


@pytest.mark.usefixtures("improving")
def test_another_project_takes_the_plot_of_a_run_that_was_decided_on(docked, wait, files):
    session, widget = docked
    run_to_result(session, widget, wait)
    widget.discard_button.click()
    wait(lambda: widget.run is None)
    assert widget.plot.loss_names
    other = Project.create(files.project.with_name("other"), session.dataset, session.classifier)
    session.open(prepare(other, session.classifier))
    assert not widget.plot.loss_names


@pytest.fixture
def asked(monkeypatch):
    """What the user is asked, and the answer, no at first."""
    found = {"texts": [], "answer": QMessageBox.StandardButton.No}

    def question(parent, title, text, *_):
        found["texts"].append(text)
        return found["answer"]

    monkeypatch.setattr(QMessageBox, "question", question)
    return found


def stopping(verb):
    return (
        "The retune of v001 by auto is still running and would be stopped; a better model, if it has found one, "
        f"would wait in this project to be kept or discarded.\n\n{verb} all the same?"
    )


def other_project(session, qtbot, files):
    """Make another project, and return the Session dock with it chosen."""
    other = Project.create(files.project.with_name("other"), session.dataset, session.classifier)
    dock = SessionWidget(session.viewer)
    qtbot.addWidget(dock)
    dock.choose_project(other.folder)
    return dock, other


def test_another_project_is_loaded_only_if_the_user_agrees_that_the_run_is_stopped(
    docked, wait, monkeypatch, files, qtbot, asked
):
    fake_retune(monkeypatch, endless)
    session, widget = docked
    dock, other = other_project(session, qtbot, files)
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.plot.loss_names)
    dock.load_button.click()
    assert asked["texts"] == [stopping("Load")]
    assert not session.jobs.running("load")
    assert session.jobs.running(JOB)
    asked["answer"] = QMessageBox.StandardButton.Yes
    dock.load_button.click()
    wait(lambda: session.project.folder == other.folder)
    assert len(asked["texts"]) == 2
    wait(lambda: not session.jobs.running(JOB))


def test_a_user_who_agreed_to_stop_a_run_is_not_asked_again_after_consenting_to_the_models_code(
    docked, wait, monkeypatch, files, qtbot, asked
):
    fake_retune(monkeypatch, endless)
    session, widget = docked
    dock, other = other_project(session, qtbot, files)
    real, tried = session_widget.load, []

    def load(source, monitor):
        tried.append(source)
        if len(tried) == 1:
            need = ConsentNeeded("Its code has to run.", kind="trust", question="May its code run?")
            raise ConsentRequest(need, ("model.pt2", 0, 0))
        return real(source, monitor)

    monkeypatch.setattr(session_widget, "load", load)
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.plot.loss_names)
    asked["answer"] = QMessageBox.StandardButton.Yes
    dock.load_button.click()
    asking = stopping("Load")
    wait(lambda: session.project.folder == other.folder)
    assert asked["texts"] == [asking, "May its code run?"]


@pytest.mark.usefixtures("improving")
def test_the_best_model_of_a_run_that_another_project_stopped_waits_in_the_one_that_it_belongs_to(
    docked, wait, files, qtbot, asked
):
    session, widget = docked
    before = session.project
    dock, other = other_project(session, qtbot, files)
    paint_all(session)
    widget.choice.form.set_values({"iterations": 100_000, "check_every": 1, "learning_rate": 1e-3})
    widget.start_button.click()
    wait(lambda: widget.run is not None and widget.plot.loss_names)
    asked["answer"] = QMessageBox.StandardButton.Yes
    dock.load_button.click()
    wait(lambda: session.project.folder == other.folder)
    wait(lambda: waiting(before))
    wait(lambda: "waits in" in widget.status.text())
    assert not waiting(other)


@pytest.mark.usefixtures("improving")
def test_a_run_that_was_started_while_another_project_loaded_is_asked_about_too(
    docked, wait, monkeypatch, files, qtbot, asked
):
    fake_retune(monkeypatch, endless)
    session, widget = docked
    project = session.project
    dock, _ = other_project(session, qtbot, files)
    paint_all(session)
    dock.load_button.click()
    widget.start_button.click()
    wait(lambda: asked["texts"])
    wait(lambda: dock.status.text() == "Nothing was loaded; the project that was open still is.")
    assert session.project is project
    assert session.jobs.running(JOB)


def test_a_copy_of_the_project_is_asked_about_too(docked, wait, monkeypatch, files, qtbot, asked):
    fake_retune(monkeypatch, endless)
    session, widget = docked
    dock, _ = other_project(session, qtbot, files)
    paint_all(session)
    widget.start_button.click()
    wait(lambda: widget.plot.loss_names)
    dock.open_view.save_as(files.project.with_name("copy"))
    assert asked["texts"] == [stopping("Copy")]
    assert not files.project.with_name("copy").exists()


@pytest.mark.usefixtures("improving")
def test_the_dock_says_which_version_a_retune_begins_with_and_which_one_a_result_came_from(docked, wait):
    session, widget = docked
    assert widget.version_label.text() == "The retune begins with v001, the version in use."
    run_to_result(session, widget, wait)
    assert widget.version_label.text() == "The result below came from v001, by auto."
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert widget.version_label.text() == "The retune begins with v002, the version in use."
    # A result of a version that is in use no more.
    run_to_result(session, widget, wait)
    use(session, "v001")
    assert widget.version_label.text() == "The result below came from v002, by auto. In use now is v001."


def use(session, version):
    session.project.select(version)
    session.set_classifier(session.project.classifier(device="cpu"))


@pytest.mark.usefixtures("improving")
def test_what_was_said_of_a_version_goes_when_another_is_used(docked, wait):
    session, widget = docked
    run_to_result(session, widget, wait)
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert "Kept as v002" in widget.status.text()
    run_to_result(session, widget, wait)
    widget.discard_button.click()
    wait(lambda: widget.run is None)
    assert "the model is v002 as before" in widget.status.text()
    # Another target layer is no other version.
    session.set_classifier(session.classifier)
    assert "the model is v002 as before" in widget.status.text()
    use(session, "v001")
    assert widget.status.text() == ""


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        ("auto", {"fill", "transplant_share"}),
        ("pasa", {"pasa_base", "pasa_threshold", "pasa_detach"}),
        ("counterexample + dropout", {"fill", "dropout_filters"}),
        ("inpaint", {"inpainter"}),
        ("head", {"transplant_share"}),
        ("augment", {"mirror"}),
        ("misclassified", {"misclassified_share"}),
        ("rrr", set()),
    ],
)
def test_settings_of_a_method_are_shown_with_that_method_only(docked, method, shown):
    _, widget = docked
    form = widget.choice.form
    special = {name for name, field in RetuneConfig.model_fields.items() if "methods" in extras(field)}
    widget.choice.method_box.setCurrentText(method)
    assert {name for name in special if not form.editor(name).isHidden()} == shown
    assert not form.editor("freeze").isHidden()


def test_settings_are_shown_where_another_setting_needs_them_and_are_of_no_effect_while_hidden(docked):
    _, widget = docked
    form, box = widget.choice.form, widget.choice.method_box
    inpainter, mirror = form.editor("inpainter"), form.editor("mirror")
    box.setCurrentText("actdiff")
    assert inpainter.isHidden()
    assert mirror.isHidden()
    form.set_values({"fill": "inpaint", "augment": True})
    assert not inpainter.isHidden()
    assert not mirror.isHidden()
    form.set_values({"inpainter": "filler.pt2", "mirror": True})
    config = widget.choice.config()
    assert (config.fill, config.inpainter, config.mirror) == ("inpaint", "filler.pt2", True)
    box.setCurrentText("rrr")
    assert inpainter.isHidden()
    config = widget.choice.config()
    assert (config.fill, config.inpainter, config.mirror) == ("surround", None, True)


def test_every_setting_says_of_known_methods_and_settings_only_that_they_use_it():
    for field in RetuneConfig.model_fields.values():
        said = {"methods": [], "with": {}, **extras(field)}
        assert set(said["methods"]) <= set(retune_package.METHODS)
        assert set(said["with"]) <= set(RetuneConfig.model_fields)


def test_all_methods_are_offered_auto_first_each_with_its_sentence_and_can_be_joined(docked):
    _, widget = docked
    box = widget.choice.method_box
    names = [box.itemText(i) for i in range(box.count()) if box.itemText(i)]
    assert names == list(retune_package.method_names())
    assert box.currentText() == names[0] == "auto"
    assert {"auto", *retune_package.METHODS, "actdiff+transplant"} == set(names)
    for name in names:
        box.setCurrentText(name)
        assert widget.choice.method_label.text() == retune_package.describe_method(name)
        assert box.itemData(box.findText(name), Qt.ItemDataRole.ToolTipRole) == retune_package.describe_method(name)
    box.setCurrentText("tap+crop")
    assert widget.choice.method_label.text().count("2019") == 1
    assert "Zhang 2024" in widget.choice.method_label.text()
    assert widget.choice.config().method == "tap+crop"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("actdif", "There is no retune method 'actdif'; did you mean actdiff?"),
        ("head+actdiff", "The method head cannot be joined with others; choose it alone."),
    ],
)
def test_what_is_no_method_is_said_while_typing_and_at_the_start(docked, typed, sentence):
    session, widget = docked
    paint_all(session)
    widget.choice.method_box.setCurrentText(typed)
    assert widget.choice.method_label.text() == sentence
    widget.start_button.click()
    assert widget.run is None
    assert widget.status.text() == sentence
    assert widget.start_button.isEnabled()


def test_a_method_that_this_model_cannot_do_says_so_before_the_first_step(docked, wait):
    session, widget = docked
    paint_all(session)
    widget.choice.method_box.setCurrentText("dropout")
    widget.choice.form.set_values({"dropout_filters": 100_000})
    widget.start_button.click()
    wait(finished(widget))
    assert widget.status.text().startswith("The method dropout would switch off all")
    assert "Traceback" not in widget.status.text()
    assert not widget.plot.loss_names


def stop_after(session, widget, wait, iterations=100_000, **settings):
    """Start a run and stop it after its first check on the validation images; return the result."""
    paint_all(session)
    widget.choice.form.set_values({"iterations": iterations, "check_every": 2, **settings})
    widget.start_button.click()
    wait(lambda: "total" in widget.plot.loss_names and len(widget.plot.losses.lines["total"].points) > 4)
    widget.stop_button.click()
    wait(finished(widget))
    assert widget.run is not None, widget.status.text()
    return widget.run.result


@pytest.mark.usefixtures("improving")
def test_a_stopped_run_can_be_continued_with_its_own_settings_and_masks(docked, wait):
    session, widget = docked
    stopped = stop_after(session, widget, wait)
    assert not widget.continue_button.isHidden()
    assert "continue the run" in widget.hint.text()
    looked, last = stopped.run_state.iteration, stopped.history[-1]["iteration"]
    goes_on = f"Continue goes on from iteration {looked}, where it was last measured."
    assert (goes_on in widget.status.text()) is (looked < last)
    # What is set and painted meanwhile is for the next run.
    widget.choice.form.set_values({"iterations": 3})
    widget.choice.method_box.setCurrentText("rrr")
    session.put_mask(session.dataset.keys[session.dataset.indices("train")[7]], block(session))
    session.save()

    widget.continue_button.click()
    assert session.jobs.phase(JOB).phase is Phase.RUNNING
    assert not widget.result_box.isVisibleTo(widget)
    start = stopped.run_state.iteration
    points = widget.plot.losses.lines["total"].points
    assert [x for x, _ in points] == list(range(1, start + 1))
    assert [y for _, y in points] == [row["loss_total"] for row in stopped.history[1 : start + 1]]
    wait(lambda: len(widget.plot.losses.lines["total"].points) > start + 4)
    widget.stop_button.click()
    wait(finished(widget))
    result = widget.run.result
    # No step was taken twice.
    assert [x for x, _ in points] == list(range(1, len(points) + 1))
    assert result.config == stopped.config
    assert (result.painted_keys, result.held_out_keys) == (stopped.painted_keys, stopped.held_out_keys)
    assert result.run_state.iteration > start
    assert [row["iteration"] for row in result.history] == list(range(len(result.history)))
    assert result.history[: start + 1] == stopped.history[: start + 1]
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert session.classifier is result.classifier
    # The first, undecided part leaves no record of its own.
    assert len(list(session.project.folder.glob("runs/*/result.json"))) == 1


@pytest.mark.usefixtures("improving")
def test_a_run_that_ended_by_itself_cannot_be_continued(docked, wait):
    session, widget = docked
    run_to_result(session, widget, wait)
    assert widget.continue_button.isHidden()


@pytest.mark.usefixtures("improving")
def test_a_continued_run_that_fails_gives_back_what_it_went_on_from(docked, wait, monkeypatch):
    session, widget = docked
    stopped = stop_after(session, widget, wait)

    def failing(classifier, dataset, masks, config, **_):
        raise OSError(28, "No space left on device")
        yield

    fake_retune(monkeypatch, failing)
    widget.continue_button.click()
    wait(finished(widget))
    assert "disk is full" in widget.status.text()
    assert widget.run.result is stopped
    assert widget.keep_button.isEnabled()
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert session.classifier is stopped.classifier


@pytest.mark.usefixtures("improving")
def test_closing_while_a_run_is_continued_leaves_the_model_it_went_on_from(docked, wait, monkeypatch):
    session, widget = docked
    stop_after(session, widget, wait)
    fake_retune(monkeypatch, endless)
    widget.continue_button.click()
    session.close()
    assert len(waiting(session.project)) == 1


def inpainter_file(folder):
    """A program that paints what is masked in the image's mean."""
    from napari_cam_feedback.torch_loader import torch

    class Mean(torch.nn.Module):
        def forward(self, images, masks):
            return images.mean((2, 3), keepdim=True).expand_as(images)

    path, sizes = folder / "filler.pt2", dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    given = torch.rand(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    torch.export.save(torch.export.export(Mean(), given, dynamic_shapes=(sizes, sizes)), path)
    return path


@pytest.mark.usefixtures("improving")
def test_an_inpainters_program_runs_only_after_the_user_agreed_in_the_window(docked, wait, monkeypatch, tmp_path):
    session, widget = docked
    path = inpainter_file(tmp_path)
    asked, answers = [], [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]

    def question(parent, title, text, *_):
        asked.append((title, text))
        return answers[len(asked) - 1]

    monkeypatch.setattr(QMessageBox, "question", question)
    paint_all(session)
    widget.choice.method_box.setCurrentText("inpaint")
    widget.choice.form.set_values({"inpainter": str(path)})
    widget.start_button.click()
    wait(lambda: "not started, because the inpainter's program may not run" in widget.status.text())
    assert widget.run is None
    (title, text), *_ = asked
    assert title == "Run the inpainter's program?"
    assert text.startswith(f"The inpainter {path} is a program of torch.export, not weights alone.")
    widget.start_button.click()
    wait(lambda: widget.run is not None and widget.run.result is not None)
    assert len(asked) == 2
    widget.discard_button.click()
    wait(lambda: widget.run is None)
    # Agreed to once, it is not asked about again.
    widget.start_button.click()
    wait(finished(widget))
    assert widget.run.result.config.inpainter == str(path)
    assert len(asked) == 2


def test_another_model_seen_on_the_way_can_be_taken_and_kept(docked, wait, monkeypatch):
    monkeypatch.setattr(retune_front, "_beats", lambda one, other: False)
    monkeypatch.setattr(retune_package.ValidationMetrics, "score", property(lambda check: float(check.iteration)))
    session, widget = docked
    best = run_to_result(session, widget, wait, iterations=6)
    wait(lambda: widget.run.comparison is not None)
    box = widget.checkpoint_box
    assert not widget.checkpoint_row.isHidden()
    assert [box.itemData(i) for i in range(box.count())] == [6, 2, 4]
    check = best.checkpoints[1].check
    assert box.itemText(0).startswith("best (iteration 6: accuracy ")
    assert box.itemText(1) == (
        f"iteration 2: accuracy {check.accuracy:.2f}, conflict {check.conflict_accuracy:.2f}, "
        f"changed {check.conflict_flip_rate:.2f}"
    )
    box.setCurrentIndex(1)
    assert not widget.keep_button.isEnabled()
    wait(lambda: widget.run.comparison is not None and widget.run.result is not best)
    taken = widget.run.result
    assert (taken.selected_iteration, taken.after.iteration) == (2, 2)
    assert widget.status.text().endswith("the model is that of iteration 2.")
    # All measures are there, as for the best.
    assert taken.after.held_out.random_flip_rate is not None
    state = best.checkpoints[1].state
    assert all(bool((value == state[name]).all()) for name, value in taken.classifier.module.state_dict().items())
    assert taken.verdict == judge(taken.before, taken.after, held_out=False)
    assert taken.verdict.reason.split(":")[0] in widget.reason_label.text()
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert session.classifier is taken.classifier
    (record,) = session.project.folder.glob("runs/*/result.json")
    assert json.loads(record.read_text())["selected_iteration"] == 2
    assert session.classifier.info["retune"]["iteration"] == 2


@pytest.fixture
def halfway(monkeypatch):
    """Let every check be kept, the last be the best, and half of the way to it be better still."""
    monkeypatch.setattr(retune_front, "_beats", lambda one, other: False)
    score = property(lambda check: check.iteration + (0.5 if check.share == 0.5 else 0.0))
    monkeypatch.setattr(retune_package.ValidationMetrics, "score", score)
    # One that knows more than the shortcut, and lost something, has stops in between.
    monkeypatch.setattr("napari_cam_feedback.retuning.judging.metrics.LITTLE", -1.0)
    monkeypatch.setattr("napari_cam_feedback.retuning.weight_path.SHARES_NOTHING_LOST", SHARES)


@pytest.mark.usefixtures("halfway")
def test_how_much_of_the_old_is_kept_is_chosen_with_a_slider(docked, wait, qtbot):
    session, widget = docked
    best = run_to_result(session, widget, wait)
    wait(lambda: widget.run.comparison is not None)
    share, slider, box = widget.old_share, widget.old_share.slider, widget.checkpoint_box
    assert (best.selected_iteration, best.selected_share) == (4, 0.5)
    assert not share.isHidden()
    # It starts at the stop that the run chose, and the stops are those that were measured.
    assert [share.stops.itemAt(n).widget().text() for n in range(4)] == ["0 %", "25 %", "50 %", "75 %"]
    assert (slider.value(), slider.maximum()) == (2, 3)
    assert box.itemText(0).startswith("best (iteration 4, 50% of the old: accuracy ")
    assert "the model is that of iteration 4, half of the way from the given weights." in widget.status.text()
    half = next(check for check in best.path if check.share == 0.5)
    assert share.numbers.text() == (
        f"50 % of the old: accuracy {half.accuracy:.2f} as it is, {half.conflict_accuracy:.2f} where the shortcut "
        f"conflicts; {100 * half.conflict_flip_rate:.0f} % of the predictions change there."
    )

    # By keyboard, one stop towards the new weights.
    qtbot.keyClick(slider, Qt.Key.Key_Left)
    assert not widget.keep_button.isEnabled()
    assert share.numbers.text().startswith("25 % of the old:")
    wait(lambda: widget.run.comparison is not None and widget.run.result is not best)
    taken = widget.run.result
    assert (taken.selected_iteration, taken.selected_share, taken.after.share) == (4, 0.75, 0.75)
    given, tuned, mixed = (each.module.state_dict() for each in (best.given, best.classifier_at(4), taken.classifier))
    name = next(name for name, value in tuned.items() if value.is_floating_point())
    assert mixed[name].numpy() == pytest.approx((given[name] + 0.75 * (tuned[name] - given[name])).numpy(), abs=1e-6)
    assert box.currentIndex() == 0
    assert box.itemText(0).startswith("iteration 4, 25% of the old: ")

    # Of another iteration no path was measured.
    box.setCurrentIndex(1)
    assert (slider.value(), slider.isEnabled()) == (0, False)
    assert slider.toolTip() == share.numbers.text()
    assert slider.toolTip() == "Weights in between were measured for iteration 4 only; take that one to move the slider."
    wait(lambda: widget.run.result.selected_iteration == 2)
    assert widget.run.result.selected_share == 1
    box.setCurrentIndex(0)
    wait(lambda: widget.run.result is best)
    assert (slider.value(), slider.isEnabled()) == (2, True)
    slider.setValue(3)
    wait(lambda: widget.run.comparison is not None and widget.run.result.selected_share == 0.25)
    widget.keep_button.click()
    wait(lambda: widget.run is None)
    assert session.classifier.info["retune"]["share"] == 0.25


@pytest.mark.usefixtures("improving")
def test_without_a_path_there_is_no_slider(docked, wait):
    session, widget = docked
    result = run_to_result(session, widget, wait, freeze_batch_norm=False)
    assert result.path == ()
    assert widget.old_share.isHidden()


@pytest.mark.parametrize(
    ("name", "path", "sentence"),
    [
        ("mixed", True, "Move the slider towards the old weights, or keep it, or discard it."),
        ("mixed", False, "Keep it, or discard it."),
        ("fixed", True, "Look at some images (the keys . and ,) to see what changed, then keep or discard it."),
    ],
)
def test_the_next_step_fits_the_verdict(name, path, sentence):
    result = SimpleNamespace(verdict=Verdict(name, ""), selected_iteration=3, run_state=None, path=(1,) if path else ())
    assert next_step(Phase.DONE, result, opened=True, painted=True).startswith(sentence)


@pytest.mark.usefixtures("improving")
def test_nothing_is_offered_to_be_taken_where_one_model_beats_all_others(docked, wait):
    session, widget = docked
    run_to_result(session, widget, wait, iterations=2)
    assert widget.checkpoint_row.isHidden()


def test_the_plot_shows_gaps_and_chooses_its_scale(qtbot):
    plot = StepPlot(ViewerModel())
    qtbot.addWidget(plot)
    plot.resize(320, 165)
    plot.show()
    plot.clear(1000)
    for iteration in range(1000):
        value = float("nan") if iteration == 500 else 10.0 ** (1 - iteration / 250)
        plot.add(iteration, {"a": value, "total": 1.0}, ("x", "y"), np.array([0.2, 0.4]) if iteration % 100 == 0 else None)
    plot.redraw()
    qtbot.waitUntil(lambda: "mean" in plot.painted.curves)
    assert plot.losses.axes.getAxis("left").logMode
    low, high = plot.losses.axes.viewRange()[1]
    assert low <= -2.99
    assert high >= 1
    x, y = plot.losses.curves["a"].getData()
    assert x[~np.isfinite(y)].tolist() == [500]
    assert np.nanmin(y) == pytest.approx(1 - 999 / 250)
    assert plot.painted.lines["mean"].points[-1] == (900, pytest.approx(0.3))
    picture = plot.grab().toImage()
    colours = {picture.pixelColor(x, y).name() for x in range(picture.width()) for y in range(picture.height())}
    assert len(colours) > 20
    assert {COLOURS[0].lower(), GRAY.lower()} <= colours


def test_time_left_is_said_as_a_user_says_it():
    assert [time_left(s) for s in (0.2, 42, 300)] == ["less than a second left", "about 42 s left", "about 5 min left"]
