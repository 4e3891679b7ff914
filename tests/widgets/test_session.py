"""The Session dock: loading samples, files and projects, and one sentence for all that can be wrong."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox, QPushButton

from napari_cam_feedback.monitor import Callbacks
from napari_cam_feedback.widgets.open import dock as session_widget
from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.session import loading
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.viewer.layers import CAM, IMAGE, MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def widget(make_napari_viewer_proxy, files):
    """The Session widget in a viewer, as napari hands it over."""
    viewer = make_napari_viewer_proxy()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    yield widget
    session_of(viewer).close()


def _plain(html):
    return re.sub(r"<[^>]*>", " ", html.replace("&#8203;", "")).replace("&#x27;", "'")


def _button(widget, text):
    return next(button for button in widget.findChildren(QPushButton) if button.text() == text)


def load(widget, wait):
    widget.load_button.click()
    wait(lambda: not widget._session.jobs.running("load"))
    return widget.error.text()


def test_a_model_and_its_images_are_loaded_and_summed_up(widget, files, wait):
    session = widget._session
    assert widget.open_view.isHidden()
    widget.choose_files(files.model, files.data, files.project)
    assert load(widget, wait) == ""
    assert session.index == 0
    wait(lambda: session.explanation is not None)
    assert {layer.name for layer in session.viewer.layers} == {"image", "CAM", "irrelevant"}
    assert not widget.open_view.isHidden()
    text = widget.open_view.summary.text()
    for part in (
        "small-gap",
        "16x16 gray, whole image stretched; values: whole range; mean 0.5; std 0.5",
        "3: cat, dog, eel (from the model's file)",
        "features (64 filters, 4x4)",
        "train 12, val 6, test 9",
        "0 painted",
    ):
        assert part in _plain(text)
    assert widget.open_view.version.currentText().startswith("v001")
    layers = session.classifier.layers
    assert widget.open_view.layer.count() == len(layers) > 1
    assert widget.open_view.layer.currentData() == session.classifier.target_layer
    assert f"{layers[-1].shape[0]} filters" in widget.open_view.layer.itemText(len(layers) - 1)


def test_the_window_stays_alive_and_shows_progress_while_loading(widget, files, wait, monkeypatch):
    texts, release = [], threading.Event()
    real = loading.load

    def slow(source, monitor):
        held = Callbacks(lambda *said: (monitor.progress(*said), release.wait(10)), lambda: monitor.stopped)
        return real(source, held)

    monkeypatch.setattr(session_widget, "load", slow)
    widget.choose_files(files.model, files.data, files.project)
    widget.load_button.click()
    wait(lambda: widget.status.text())
    assert not widget.bar.isHidden()
    assert not widget.load_button.isEnabled()
    assert widget.cancel_button.isEnabled()
    texts.append(widget.status.text())
    release.set()
    wait(lambda: widget._session.project is not None)
    assert "PyTorch" in texts[0]
    assert widget.bar.isHidden()
    assert widget.status.isHidden()
    assert widget.load_button.isEnabled()


def test_cancel_ends_loading_and_leaves_things_as_they_were(widget, files, wait, monkeypatch):
    release = threading.Event()
    real = loading.load

    def slow(source, monitor):
        held = Callbacks(lambda *said: (monitor.progress(*said), release.wait(10)), lambda: monitor.stopped)
        return real(source, held)

    monkeypatch.setattr(session_widget, "load", slow)
    widget.choose_files(files.model, files.data, files.project)
    widget.load_button.click()
    wait(lambda: widget.status.text())
    widget.cancel_button.click()
    assert "Cancelling" in widget.status.text()
    release.set()
    wait(lambda: widget._session.jobs.phase("load").phase is Phase.IDLE)
    assert widget._session.project is None
    assert "cancelled" in widget.status.text()
    assert widget.load_button.isEnabled()
    assert not files.project.exists()


def test_closing_the_window_while_loading_waits_for_the_thread(make_napari_viewer, files, wait, monkeypatch):
    viewer = make_napari_viewer()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    session = session_of(viewer)
    session.watch(widget)
    ended = []
    real = loading.load

    def watched(source, monitor):
        try:
            return real(source, monitor)
        finally:
            ended.append(1)

    monkeypatch.setattr(session_widget, "load", watched)
    widget.choose_files(files.model, files.data, files.project)
    widget.load_button.click()
    viewer.window._qt_window.close()
    assert ended == [1]
    assert not [t for t in threading.enumerate() if t.name.startswith("cam-feedback")]


def _broken_model(files):
    files.model.write_bytes(b"this is no model")


def _missing_model(files):
    files.model.unlink()


def _missing_data(files):
    shutil.rmtree(files.data)


def _no_classes(files):
    shutil.rmtree(files.data)
    files.data.mkdir()


def _other_classes(files):
    (files.data / "train" / "dog").rename(files.data / "train" / "fox")


def _file_in_the_way(files):
    files.project.write_text("in the way")


@pytest.mark.parametrize(
    "spoil",
    [_broken_model, _missing_model, _missing_data, _no_classes, _other_classes, _file_in_the_way],
)
def test_bad_input_is_one_sentence_in_the_window(widget, files, wait, spoil):
    spoil(files)
    widget.choose_files(files.model, files.data, files.project)
    sentence = load(widget, wait)
    assert sentence
    assert not widget.error.isHidden()
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert "Unexpected" not in sentence
    assert widget._session.project is None
    # And it goes on: the same dock opens something good afterwards.
    assert widget.load_button.isEnabled()


def test_nothing_chosen_says_what_to_choose(widget, files, wait):
    widget.choice.kind.setCurrentIndex(widget.choice.kind.findData("files"))
    assert load(widget, wait) == "Choose a model file first, or write torchvision:NAME in its place."
    widget.choice.model.set_path(files.model)
    assert load(widget, wait) == "Choose the images first: a folder, or a file that lists or holds them."


def test_plain_weights_ask_for_their_architecture_and_then_open(widget, files, wait):
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.torch_loader import torch

    plain = files.model.with_name("plain.pt")
    torch.save(load_classifier(files.model, device="cpu").module.state_dict(), plain)
    widget.choose_files(plain, files.data, files.project)
    assert load(widget, wait) == (
        "plain.pt does not say its architecture; its weights fit small-gap, so name that (“Architecture”)."
    )
    # The form unfolds at the field that the sentence names.
    assert widget.choice.form.opened
    assert widget.choice.form.arch.combo.hasFocus() or not widget.isActiveWindow()
    widget.choice.form.arch.edit.setText("small-gap")
    widget.choice.form.input_size.setText("16")
    assert load(widget, wait) == ""
    assert widget._session.class_names == ("cat", "dog", "eel")


def test_a_project_is_opened_again_with_its_masks(widget, files, wait):
    session = widget._session
    widget.choose_files(files.model, files.data, files.project)
    assert load(widget, wait) == ""
    session.go_to(3)
    session.layers.get(MASK).data_setitem((np.array([2, 3]), np.array([2, 3])), 1)
    painted = session.current_mask()
    session.autosave.flush()
    wait(lambda: "1 painted" in widget.open_view.summary.text())
    # The same model and images again, and the project by its folder: both give back what was painted.
    for choose in (
        lambda: widget.choose_files(files.model, files.data, files.project),
        lambda: widget.choose_project(files.project),
    ):
        choose()
        before = session.project
        assert load(widget, wait) == ""
        assert session.project is not before
        assert session.index == 3
        assert np.array_equal(session.layers.get(MASK).data > 0, painted)


def test_a_project_folder_of_another_model_is_not_mixed_up(widget, files, wait):
    from napari_cam_feedback.models import build_classifier, load_classifier, save_classifier

    widget.choose_files(files.model, files.data, files.project)
    assert load(widget, wait) == ""
    first = load_classifier(files.model, device="cpu")
    save_classifier(build_classifier("small-gap", first.class_names, first.preprocessing, seed=5), files.model)
    assert "another model" in load(widget, wait)
    assert json.loads((files.project / "project.json").read_text())["current"] == "v001"


def test_a_folder_without_a_project_is_one_sentence(widget, files, wait, tmp_path):
    widget.choose_project(tmp_path / "nowhere")
    assert "no project" in load(widget, wait)


def test_another_target_layer_can_be_chosen_and_is_remembered(widget, files, wait):
    session = widget._session
    widget.choose_files(files.model, files.data, files.project)
    load(widget, wait)
    wait(lambda: session.explanation is not None)
    shape = session.explanation.raw.shape
    row = next(i for i, info in enumerate(session.classifier.layers) if info.shape[1:] != shape)
    widget.open_view.layer.setCurrentIndex(row)
    widget.open_view.layer.activated.emit(row)
    name = widget.open_view.layer.itemData(row)
    wait(lambda: session.classifier.target_layer == name)
    wait(lambda: session.explanation is not None)
    assert session.explanation.raw.shape != shape
    widget.choose_project(files.project)
    load(widget, wait)
    assert session.classifier.target_layer == name
    assert widget.open_view.layer.currentData() == name


def test_the_project_folder_is_suggested_shown_and_can_be_changed(widget, files, tmp_path):
    from pathlib import Path

    home = Path.home() / "napari-cam-feedback"
    widget.choose_sample("symbols")
    assert widget.choice.project.path == home / "symbols"
    widget.choice.kind.setCurrentIndex(1)
    widget.choice.model.set_path(files.model)
    widget.choice.data.set_path(files.data)
    assert widget.choice.project.path == home / "data-model"
    widget.choice.project.edit.setText(str(tmp_path / "mine"))
    widget.choice.project.edit.textEdited.emit("")
    widget.choice.data.set_path(tmp_path / "elsewhere")
    assert widget.choice.source().project == tmp_path / "mine"


def test_a_sample_opens_from_the_file_menu_with_its_model(make_napari_viewer, files, wait, monkeypatch):
    """Through napari's own Open Sample, as installed: docks, images, model and the way on."""
    _small_sample(monkeypatch, files)
    viewer = make_napari_viewer()
    viewer.open_sample("napari-cam-feedback", "tag-digits")
    session = session_of(viewer)
    widget = next(w for name, w in viewer.window.dock_widgets.items() if name.startswith("CAM feedback")).open
    wait(lambda: session.project is not None or widget.error.text(), 60)
    assert widget.error.text() == ""
    assert session.dataset.split_names == ("train", "val", "test", "test-clean")
    wait(lambda: session.explanation is not None)
    # The dark image that napari was given became the first item's.
    assert [layer.name for layer in viewer.layers] == ["image", "CAM", "irrelevant"]
    assert np.array_equal(session.layers.get(IMAGE).data, session.dataset.read(session.index))
    assert any(name.startswith("CAM feedback") for name in viewer.window.dock_widgets)
    # Once more, over what is open: the dark image does not stay on top.
    before = session.project
    viewer.open_sample("napari-cam-feedback", "tag-digits")
    wait(lambda: session.project is not before and session.explanation is not None, 60)
    assert [layer.name for layer in viewer.layers] == ["image", "CAM", "irrelevant"]
    session.close()


def test_docks_from_napari_s_menu_are_tabs(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    docks = [
        viewer.window.add_plugin_dock_widget("napari-cam-feedback", name)[0] for name in ("CAM feedback", "Filters", "Train")
    ]
    window = docks[0].parent()
    qtbot.waitUntil(lambda: all(len(window.tabifiedDockWidgets(dock)) >= 2 for dock in docks))
    session_of(viewer).close()


def _small_sample(monkeypatch, files):
    """Let the sample be small and its model untrained, since neither is what is tested here."""
    from napari_cam_feedback import sample_models
    from napari_cam_feedback.data import Preprocessing, make_sample
    from napari_cam_feedback.models import build_classifier, save_classifier

    whole = make_sample("tag-digits")

    def prepare(name, folder, **_):
        yield from ()
        assert name == "tag-digits"
        for split in whole.split_names:
            for index in whole.indices(split)[::40]:
                path = folder / "data" / whole.keys[int(index)]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(whole.read(int(index))).save(path)
        preprocessing = Preprocessing(size=(28, 28), channels=1, mean=(0.5,), std=(0.5,))
        save_classifier(build_classifier("small-gap", whole.class_names, preprocessing), files.model)
        return folder / "data", files.model

    monkeypatch.setattr(sample_models, "sample_steps", prepare)


def test_the_window_that_the_demo_ends_in_shows_the_project(make_napari_viewer, project, wait):
    from napari_cam_feedback.widgets.launch import show_project

    viewer = make_napari_viewer()
    widget = show_project(viewer, project.folder)
    session = session_of(viewer)
    wait(lambda: session.explanation is not None or widget.open.error.text())
    assert widget.open.error.text() == ""
    assert [name.split(" (")[0] for name in viewer.window.dock_widgets] == ["CAM feedback"]
    assert widget.step == "Look"
    session.close()


def test_the_buttons_open_the_other_docks(make_napari_viewer, files, project, wait):
    from napari_cam_feedback.widgets.session.session import prepare
    from napari_cam_feedback.widgets.viewer.docks import open_dock

    viewer = make_napari_viewer()
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    widget = open_dock(viewer, "CAM feedback")
    for _ in range(2):
        _button(widget.open.open_view, "Filters …").click()
        assert len(viewer.window.dock_widgets) == 2
    wait(lambda: session.explanation is not None and not session.jobs.running())
    # Opened after the project: it shows what is open all the same.
    assert widget.look.model.rowCount() == 12
    assert session.layers.get(CAM) is not None
    session.close()


def test_a_qt_that_will_end_the_program_is_told_of(make_napari_viewer, monkeypatch):
    from napari_cam_feedback.widgets.viewer import qt_check

    monkeypatch.setattr(qt_check, "loses_references", lambda: True)
    viewer = make_napari_viewer()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    assert "PySide6<6.12" in widget.qt_warning.text()
    assert not widget.qt_warning.isHidden()
    monkeypatch.setattr(qt_check, "loses_references", lambda: False)
    assert qt_check.qt_warning() is None
    session_of(viewer).close()


@pytest.mark.parametrize("quit_app", [True, False], ids=["File > Exit", "File > Close window"])
def test_closing_by_napari_menu_asks_while_something_would_be_lost_and_a_no_keeps_the_window(
    make_napari_viewer, qtbot, wait, monkeypatch, quit_app
):
    viewer = make_napari_viewer()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    session, asked, closed = session_of(viewer), [], []
    session.watch(widget)
    guard = weakref.proxy(session.guard)  # the patch outlives the viewer

    def no(parent, title, text, *_):
        asked.append(text)
        # A user who presses Ctrl+Q again while the question is on the screen is not asked twice.
        parent.close(quit_app=quit_app)
        assert not guard.may_close(parent)
        return QMessageBox.StandardButton.No

    def work(monitor):
        while not monitor.stopped:
            time.sleep(0.005)

    monkeypatch.setattr(QMessageBox, "question", no)
    window = viewer.window._qt_window
    session.jobs.start("retune", work, description="Retuning", precious=True)
    # From the event loop, as the menu and its keys do.
    QTimer.singleShot(0, lambda: closed.append(window.close(quit_app=quit_app)))
    wait(lambda: closed)
    assert len(asked) == 1
    assert "Retuning is still running" in asked[0]
    assert closed == [False]
    assert not window._quit_app
    assert session.jobs.running("retune")
    session.jobs.stop("retune")
    wait(lambda: not session.jobs.running("retune"))
    # A script that closes the window is not asked: nobody may be there.
    session.jobs.start("retune", work, description="Retuning", precious=True)
    window.close()
    assert len(asked) == 1
    assert not session.jobs.running("retune")
