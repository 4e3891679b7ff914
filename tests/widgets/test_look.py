"""The Session dock says what a first look at the model with its images found."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.session.session import session_of

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def widget(make_napari_viewer_proxy, files):
    viewer = make_napari_viewer_proxy()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    yield widget
    session_of(viewer).close()


def load(widget, files, wait) -> str:
    widget.choose_files(files.model, files.data, files.project)
    widget.load_button.click()
    wait(lambda: not widget._session.jobs.running("load"))
    wait(lambda: widget.open_view.look.look is not None or widget.error.text())
    return widget.open_view.look.text()


def test_a_model_at_chance_and_coarse_maps_are_said_under_what_was_loaded(widget, files, wait):
    random = np.random.default_rng(1)
    for name in ("cat", "dog", "eel"):
        for number in range(10, 20):
            image = random.integers(0, 90, (16, 16), dtype=np.uint8)
            Image.fromarray(image).save(files.data / "train" / name / f"{number}.png")
    lines = load(widget, files, wait).splitlines()
    assert widget.error.text() == ""
    assert lines[0].startswith("The model is right on ")
    assert " of 48 labelled images" in lines[0]
    assert ", no better than chance (" in lines[0]
    # The window's words, not the shell's.
    assert lines[1:] == [
        "The maps of layer features are coarse, with 4x4 places; for finer ones choose features.3, with 8x8 "
        "(“Target layer”)."
    ]
    assert widget.open_view.look.isVisibleTo(widget)
    assert not widget.open_view.look.waiting.isVisibleTo(widget)

    # Another layer: the look stays, and the line on the layer goes.
    session, before = widget._session, widget.open_view.look.look
    row = widget.open_view.layer.findData("features.3")
    widget.open_view.layer.setCurrentIndex(row)
    widget.open_view.layer.activated.emit(row)
    wait(lambda: session.classifier.target_layer == "features.3")
    wait(lambda: widget.open_view.look.text().splitlines() == lines[:1])
    assert widget.open_view.look.look is before


def test_a_model_whose_outputs_are_no_numbers_is_not_opened(widget, files, wait):
    from napari_cam_feedback.models import load_classifier, save_classifier

    broken = load_classifier(files.model, device="cpu")
    broken.module.head.weight[0, 0] = float("nan")
    save_classifier(broken, files.model)
    load(widget, files, wait)
    assert widget.error.text() == (
        "The network's outputs are not finite numbers (NaN) for any image, since its weights are not either (head.weight); "
        "load another checkpoint, saved before the training broke down."
    )
    assert widget._session.project is None
    assert not files.project.exists()
