"""Code of a model's runs only when the user says yes, and they are asked once for each code."""

from __future__ import annotations

import os

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.session.consents import code_file, subject_of
from napari_cam_feedback.widgets.session.session import session_of

pytest_plugins = ["widget_fixtures"]

CODE = """
import pathlib
import torch

pathlib.Path(__file__).with_suffix(".ran").touch()

def make(num_classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, num_classes),
    )
"""


@pytest.fixture
def factory(files):
    """A Python file that makes a network, and a file of its weights, beside the images."""
    from napari_cam_feedback.torch_loader import torch

    code = files.model.with_name("net.py")
    code.write_text(CODE)
    names: dict = {"__file__": str(code)}
    exec(CODE, names)
    torch.manual_seed(0)
    weights = files.model.with_name("weights.pt")
    torch.save(names["make"](3).state_dict(), weights)
    code.with_suffix(".ran").unlink()
    return code, weights


@pytest.fixture
def widget(make_napari_viewer_proxy, files):
    """The Session widget in a viewer."""
    viewer = make_napari_viewer_proxy()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    yield widget
    session_of(viewer).close()


@pytest.fixture
def asked(monkeypatch):
    """The questions that were asked; the answers are taken from `asked.answers`, by default no."""

    class Asked(list):
        answers = ()

    found = Asked()

    def question(parent, title, text, buttons, default):
        assert default == QMessageBox.StandardButton.No
        found.append((title, text))
        return found.answers.pop(0) if found.answers else default

    monkeypatch.setattr(QMessageBox, "question", staticmethod(question))
    return found


def choose(widget, files, factory):
    code, weights = factory
    widget.choose_files(weights, files.data, files.project)
    widget.choice.form.arch.edit.setText(f"{code}:make")
    widget.choice.form.input_size.setText("16")
    widget.choice.form.channels.setCurrentIndex(1)


def load(widget, wait, until):
    widget.load_button.click()
    wait(lambda: until() and not widget._session.jobs.running("load"))


def test_without_a_yes_the_code_does_not_run_and_the_window_says_so(widget, files, factory, asked, wait):
    choose(widget, files, factory)
    load(widget, wait, lambda: widget.error.text())
    assert len(asked) == 1
    assert asked[0][0] == "Run the model's own code?"
    assert str(factory[0]) in asked[0][1]
    assert asked[0][1].endswith("?")
    assert not factory[0].with_suffix(".ran").exists()
    assert widget._session.project is None
    assert widget.error.text() == ("The model was not loaded, because its code may not run; press Load to be asked again.")


def test_a_yes_holds_in_this_window_until_the_code_is_another(widget, files, factory, asked, wait):
    session = widget._session
    choose(widget, files, factory)
    asked.answers = [QMessageBox.StandardButton.Yes]
    load(widget, wait, lambda: session.project is not None or widget.error.text())
    assert widget.error.text() == ""
    assert len(asked) == 1
    assert factory[0].with_suffix(".ran").exists()
    # The same again, and as a project.
    for choice in (lambda: choose(widget, files, factory), lambda: widget.choose_project(files.project)):
        before = session.project
        choice()
        load(widget, wait, lambda before=before: session.project is not before or widget.error.text())
        assert widget.error.text() == ""
    assert len(asked) == 1
    # Another content is another question.
    factory[0].write_text(CODE + "\n")
    os.utime(factory[0], (1, 1))
    load(widget, wait, lambda: widget.error.text())
    assert len(asked) == 2


def test_another_version_of_the_model_is_chosen_without_being_asked_again(widget, files, factory, asked, wait):
    from napari_cam_feedback.retuning import RetuneConfig, retune, run_to_end

    session = widget._session
    choose(widget, files, factory)
    asked.answers = [QMessageBox.StandardButton.Yes]
    load(widget, wait, lambda: session.project is not None or widget.error.text())
    key = session.dataset.keys[0]
    session.project.masks.put(key, np.ones((16, 16), bool))
    config = RetuneConfig(method="pas", iterations=1)
    session.project.keep(run_to_end(retune(session.classifier, session.dataset, session.project.masks, config)))
    widget.open_view.refresh()
    assert widget.open_view.version.currentData() == "v002"
    widget.open_view.version.setCurrentIndex(0)
    widget.open_view.version.activated.emit(0)
    wait(lambda: session.project.current.id == "v001" or widget.error.text())
    assert widget.error.text() == ""
    assert len(asked) == 1


def test_a_project_with_code_asks_in_a_new_window(widget, make_napari_viewer, files, factory, asked, wait):
    session = widget._session
    choose(widget, files, factory)
    asked.answers = [QMessageBox.StandardButton.Yes]
    load(widget, wait, lambda: session.project is not None or widget.error.text())
    other = SessionWidget(make_napari_viewer())
    other.choose_project(files.project)
    load(other, wait, lambda: other.error.text())
    assert len(asked) == 2
    assert "may not run" in other.error.text()
    other._session.close()


def test_a_saved_program_asks_too(widget, files, asked, wait):
    from napari_cam_feedback.models import load_classifier
    from napari_cam_feedback.torch_loader import torch

    program = files.model.with_name("program.pt2")
    module = load_classifier(files.model, device="cpu").module
    batch = {"x": {0: torch.export.Dim("batch")}}
    torch.export.save(torch.export.export(module, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=batch), program)
    widget.choose_files(program, files.data, files.project)
    asked.answers = [QMessageBox.StandardButton.Yes]
    load(widget, wait, lambda: widget._session.project is not None or widget.error.text())
    assert widget.error.text() == ""
    assert len(asked) == 1


def test_what_a_consent_is_about_is_the_file_whose_code_runs(tmp_path):
    weights, code = tmp_path / "w.safetensors", tmp_path / "net.py"
    for path in (weights, code):
        path.write_text("x")
    assert code_file(f"{code}:make", weights) == code
    # Moved together with the weights.
    assert code_file("/elsewhere/net.py:make", weights) == code
    assert code_file("export:/elsewhere/net.py", weights) == code
    assert code_file("torchvision:resnet18", weights) is None
    assert code_file("small-gap", weights) is None
    assert subject_of(weights, f"{code}:make") == subject_of(code, None)
    assert subject_of("torchvision:resnet18", None) == ("torchvision:resnet18", 0, 0)
