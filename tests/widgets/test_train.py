"""The Train dock: what can be chosen, a training in a worker with its curves, stopping, saving, and opening the result."""

from __future__ import annotations

import shutil
import time

import pytest
from qtpy.QtWidgets import QMessageBox

from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.monitor import Callbacks
from napari_cam_feedback.training import Training, TrainStep
from napari_cam_feedback.training.loop import TrainConfig
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.train.dock import JOB, TrainWidget

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def docked(qtbot, files):
    """The widget of a viewer without a window, with a short training set."""
    from napari.components import ViewerModel

    viewer = ViewerModel()
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    widget.form.build()
    widget._refresh()
    widget.form.settings.set_values({"epochs": 2, "batch_size": 4, "head_epochs": 1})
    widget.form.choose(files.data, out=files.project / "m.safetensors")
    yield widget
    session_of(viewer).close()


def ended(widget):
    return lambda: not widget._session.jobs.running(JOB)


def shown(widget):
    return {name for name in widget.form.settings.names if not widget.form.settings.editor(name).isHidden()}


def test_settings_come_once_torch_is_loaded_and_architectures_are_offered(qtbot, wait):
    from napari.components import ViewerModel

    viewer = ViewerModel()
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    assert not widget.start_button.isEnabled()
    widget.show()
    wait(lambda: widget.form.settings is not None)
    assert widget.start_button.isEnabled()
    offered = [widget.form.arch.combo.itemText(row) for row in range(widget.form.arch.combo.count())]
    assert {"small-gap", "torchvision:resnet18"} <= set(offered)
    session_of(viewer).close()


def test_a_training_from_random_weights_is_saved_with_its_record_and_its_curves_are_drawn(docked, wait):
    docked.start_button.click()
    assert docked.stop_button.isEnabled()
    assert not docked.start_button.isEnabled()
    wait(ended(docked))
    assert docked.error.text() == ""
    order = docked.trained.order
    assert load_classifier(order.out, device="cpu").class_names == ("cat", "dog", "eel")
    folder = order.out.with_name("m_training")
    assert {path.name for path in folder.iterdir()} == {"config.json", "curves.png", "history.csv", "result.json"}
    for chart in docked.plot.charts:
        assert {name: [x for x, _ in line.points] for name, line in chart.lines.items()} == {
            "train": [1, 2],
            "validation": [1, 2],
        }
    steps = docked.trained.training.steps
    assert [y for _, y in docked.plot.losses.lines["validation"].points] == [step.val_loss for step in steps]
    assert [y for _, y in docked.plot.accuracies.lines["train"].points] == [step.train_accuracy for step in steps]
    assert "Done after 2 epochs. The best is epoch" in docked.result_label.text()
    assert docked.open_button.isVisibleTo(docked)
    assert not docked.save_button.isVisibleTo(docked)


def test_a_training_from_a_model_has_its_own_settings_and_two_phases(docked, files, wait):
    assert {"epochs", "batch_size", "seed"} <= shown(docked)
    assert not {"head_epochs", "freeze", "fine_tune_factor", "freeze_batch_norm", "mirror"} & shown(docked)
    docked.form.choose(files.data, model=files.model)
    assert {"head_epochs", "freeze", "fine_tune_factor", "freeze_batch_norm"} <= shown(docked)
    docked.start_button.click()
    wait(ended(docked))
    assert [step.phase for step in docked.trained.training.steps] == ["head", "fine-tune", "fine-tune"]
    assert docked.trained.training.recipe.weights == str(files.model)


def test_settings_that_are_not_shown_are_as_by_default(docked, files):
    docked.form.choose(files.data, model=files.model)
    docked.form.settings.set_values({"freeze": ("features.0",), "head_epochs": 3})
    docked.form.choose(files.data)
    assert docked.form.order().training == TrainConfig(epochs=2, batch_size=4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.form.data.set_path(""), "Choose the images first: a folder with a folder of images for each class."),
        (lambda w: w.form.kind.setCurrentIndex(1), "Choose the model to start from: a file, or torchvision:NAME."),
        (lambda w: w.form.out.set_path(""), "Name the file that the model is to be saved as."),
        (lambda w: w.form.network.mean.setText("abc"), "“Mean” cannot be “abc”; write numbers with spaces between them."),
        (lambda w: w.form.arch.edit.setText("smal-gap"), "There is no architecture 'smal-gap'; did you mean small-gap"),
        (lambda w: w.form.settings.set_values({"val_share": 0.0, "patience": 1}), ""),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_sentence(docked, wait, change, sentence):
    change(docked)
    docked.start_button.click()
    wait(ended(docked))
    assert docked.error.text().startswith(sentence) if sentence else docked.error.text() == ""


def slowly(monkeypatch):
    """Let a training go on until it is stopped, an epoch each 5 ms."""
    run = Training.run

    def endless(self, *, monitor):
        steps = run(self, monitor=Callbacks(lambda *said: monitor.progress(*said)))
        found = []
        while True:
            try:
                found.append(next(steps))
            except StopIteration:
                break
        epoch = 0
        self.steps.clear()
        while not monitor.stopped:
            epoch += 1
            time.sleep(0.005)
            step = TrainStep(epoch, 10_000, 1.0, 0.5, 0.5, 1.0)
            self.steps.append(step)
            yield step
        self.stopped = True
        self.result.info["training"]["epoch"] = 1
        return self.result

    monkeypatch.setattr(Training, "run", endless)


def test_stop_saves_the_best_so_far(docked, wait, monkeypatch):
    slowly(monkeypatch)
    docked.start_button.click()
    wait(lambda: docked._step is not None and docked._step.epoch > 3)
    docked._show_progress()
    assert docked.progress_label.text().startswith("Epoch ")
    assert " of 10000, about " in docked.progress_label.text()
    docked.stop_button.click()
    wait(ended(docked))
    assert docked.result_label.text().startswith("Stopped after epoch ")
    assert docked.trained.order.out.is_file()


def test_closing_while_it_trains_neither_hangs_nor_fails(docked, wait, monkeypatch):
    slowly(monkeypatch)
    docked.start_button.click()
    wait(lambda: docked._step is not None)
    docked._session.close()
    assert not docked._redraw.isActive()


def test_a_model_that_could_not_be_saved_can_be_saved_under_another_name(docked, wait, monkeypatch, files):
    write = Training.save

    def full(self, path, *, command=None):
        raise StorageError(f"Could not write {path}: the disk is full; free some space and try again.")

    monkeypatch.setattr(Training, "save", full)
    docked.start_button.click()
    wait(ended(docked))
    assert "the disk is full; free some space" in docked.error.text()
    assert "not saved" in docked.result_label.text()
    assert not docked.open_button.isVisibleTo(docked)
    monkeypatch.setattr(Training, "save", write)
    other = files.project / "other.safetensors"
    docked.form.out.set_path(other)
    docked.save_button.click()
    wait(lambda: other.is_file() and docked.trained.error is None)
    assert docked.error.text() == ""
    assert docked.open_button.isVisibleTo(docked)


def test_an_existing_model_is_replaced_only_if_the_user_agrees(docked, wait, monkeypatch, files):
    out = files.project / "m.safetensors"
    out.parent.mkdir()
    out.write_bytes(b"precious")
    asked = []

    def answer(button):
        def question(parent, title, text, *_):
            asked.append(text)
            return button

        monkeypatch.setattr(QMessageBox, "question", question)

    answer(QMessageBox.StandardButton.No)
    docked.start_button.click()
    assert docked._machine.phase is Phase.IDLE
    assert asked == [f"There is a model {out} already. Replace it when the training has ended?"]
    answer(QMessageBox.StandardButton.Yes)
    docked.start_button.click()
    wait(ended(docked))
    assert out.read_bytes() != b"precious"


def test_code_that_makes_the_network_runs_only_after_the_user_agreed(docked, wait, monkeypatch, tmp_path):
    ran = tmp_path / "ran"
    (tmp_path / "net.py").write_text(
        f"import torch, pathlib\npathlib.Path({str(ran)!r}).touch()\n"
        "def make(num_classes, channels):\n"
        "    n = torch.nn\n"
        "    maps = n.Sequential(n.Conv2d(channels, 4, 3), n.ReLU())\n"
        "    return n.Sequential(maps, n.AdaptiveAvgPool2d(1), n.Flatten(), n.Linear(4, num_classes))\n"
    )
    docked.form.arch.edit.setText(f"{tmp_path / 'net.py'}:make")
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    docked.start_button.click()
    wait(lambda: docked.error.text())
    assert docked.error.text().startswith("The training was not started, because the network's code may not run")
    assert not ran.exists()
    docked.start_button.click()
    wait(lambda: docked.trained is not None)
    assert ran.exists()
    assert docked.trained.error is None


def test_the_proposed_name_is_one_that_is_not_there_yet(docked, files):
    docked.form.suggest_another()
    first = docked.form.out.path
    assert first.name == "data-small-gap.safetensors"
    first.parent.mkdir(parents=True)
    first.touch()
    docked.form.suggest_another()
    assert docked.form.out.path.name == "data-small-gap-2.safetensors"
    docked.form.choose(files.data, model="torchvision:resnet18")
    assert docked.form.out.path.name == "data-resnet18.safetensors"


def test_after_a_stop_the_axis_ends_with_the_last_epoch(docked, wait, monkeypatch):
    slowly(monkeypatch)
    docked.start_button.click()
    wait(lambda: docked._step is not None and docked._step.epoch > 3)
    assert docked.plot.losses.last_x == 10_000
    docked.stop_button.click()
    wait(ended(docked))
    last = docked.trained.training.steps[-1].epoch
    assert [chart.last_x for chart in docked.plot.charts] == [last, last]


def test_the_curves_say_where_all_layers_begin_to_learn_and_which_epoch_is_best(docked, files, wait):
    docked.form.choose(files.data, model=files.model)
    docked.start_button.click()
    wait(ended(docked))
    best = docked.trained.training.result.info["training"]["epoch"]
    for chart in docked.plot.charts:
        assert {name: mark.x for name, mark in chart.marks.items()} == {"all layers learn": 1.5, "best": best}
    docked.plot.resize(320, 165)
    for chart in docked.plot.charts:
        chart.draw()
    picture = docked.plot.grab().toImage()
    colours = {picture.pixelColor(x, y).name() for x in range(picture.width()) for y in range(picture.height())}
    assert docked.plot.losses.marks["best"].colour.lower() in colours
    docked.plot.clear()
    assert not docked.plot.losses.marks


def test_the_next_training_is_not_to_replace_the_last_one(docked, wait, monkeypatch, files):
    monkeypatch.setattr(QMessageBox, "question", lambda *_: pytest.fail("asked"))
    for number in (2, 3):
        docked.start_button.click()
        wait(ended(docked))
        assert docked.form.out.path == files.project / f"m-{number}.safetensors"
    assert docked.trained.order.out == files.project / "m-2.safetensors"


def test_the_model_that_a_training_starts_from_is_not_replaced(docked, files, monkeypatch):
    monkeypatch.setattr(QMessageBox, "question", lambda *_: pytest.fail("asked"))
    docked.form.choose(files.data, model=files.model, out=files.model.parent / "." / files.model.name)
    before = files.model.read_bytes()
    docked.start_button.click()
    assert "is the model that the training starts from; save the new one under another name" in docked.error.text()
    assert docked._machine.phase is Phase.IDLE
    assert files.model.read_bytes() == before


def test_a_place_that_cannot_be_written_is_told_of_before_the_training(docked, files):
    (files.project.parent / "file").write_text("")
    docked.form.out.set_path(files.project.parent / "file" / "m.safetensors")
    docked.start_button.click()
    assert "Could not write" in docked.error.text()
    assert docked._machine.phase is Phase.IDLE


def test_what_was_said_of_the_split_still_stands_when_the_training_has_ended(docked, files, wait):
    shutil.rmtree(files.data / "val")
    docked.start_button.click()
    wait(ended(docked))
    assert "The dataset has no split val" in docked.status.text()
    assert not docked.status.isHidden()


def test_the_trained_model_opens_in_the_session_with_its_images(make_napari_viewer, files, wait):
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-cam-feedback", "Train")
    # The window is hidden, so that the dock is never shown.
    widget._load_settings()
    wait(lambda: widget.form.settings is not None)
    widget.form.settings.set_values({"epochs": 1, "batch_size": 4})
    widget.form.choose(files.data, out=files.project.parent / "mine.safetensors")
    widget.start_button.click()
    wait(ended(widget))
    widget.open_button.click()
    session = session_of(viewer)
    wait(lambda: session.project is not None)
    assert session.classifier.info["training"]["config"]["epochs"] == 1
    assert session.dataset.source == files.data
    assert session.project.folder.name == "data-mine"
    session.close()
