"""A model without maps in the window: predictions, painting and filters, and one sentence in place of heatmaps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_cam_feedback.widgets.browse.dock import BrowseWidget
from napari_cam_feedback.widgets.filters.dock import FiltersWidget
from napari_cam_feedback.widgets.filters.model import JOB
from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.session.session import session_of
from napari_cam_feedback.widgets.viewer.identity import find_layer
from napari_cam_feedback.widgets.viewer.layers import CAM

pytest_plugins = ["widget_fixtures"]

MLP = """
from torch import nn


def mlp(num_classes):
    body = [nn.Flatten(), nn.Linear(256, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(12, num_classes))


def flat_cnn(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 8), nn.ReLU(), nn.Linear(8, num_classes)
    )
"""


@pytest.fixture
def windows(make_napari_viewer, files):
    """The docks Session, Browse and Filters in a viewer, and a file of networks beside the data."""
    (files.data.parent / "nets.py").write_text(MLP)
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    docks = [SessionWidget(viewer), BrowseWidget(viewer), FiltersWidget(viewer)]
    for widget, name in zip(docks, ("Session", "Browse", "Filters"), strict=True):
        viewer.window.add_dock_widget(widget, name=name, tabify=True)
    yield docks
    session.close()


def save(files, factory: str) -> Path:
    from napari_cam_feedback.data import Preprocessing
    from napari_cam_feedback.models import build_classifier, save_classifier

    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))
    arch = f"{files.data.parent / 'nets.py'}:{factory}"
    path = files.data.parent / f"{factory}.safetensors"
    save_classifier(build_classifier(arch, ("cat", "dog", "eel"), preprocessing, trust=True), path)
    return path


def load(session_widget, files, model, wait, monkeypatch):
    from qtpy.QtWidgets import QMessageBox

    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    session_widget.choose_files(model, files.data, files.project)
    session_widget.load_button.click()
    session = session_widget._session
    wait(lambda: session.explanation is not None or session_widget.error.text())
    assert session_widget.error.text() == ""
    return session


def shot(session, name):
    if os.environ.get("SHOTS"):
        session.viewer.screenshot(str(Path(os.environ["SHOTS"]) / name), canvas_only=False, flash=False)


def test_a_perceptron_is_browsed_with_one_sentence_in_place_of_heatmaps(windows, files, wait, monkeypatch):
    session_widget, browse, _ = windows
    told = []
    session_of(session_widget._session.viewer).message.connect(lambda text, level: told.append((text, level)))
    session = load(session_widget, files, save(files, "mlp"), wait, monkeypatch)
    assert session.classifier.target_layer == "4"
    assert "4 (12 features without places, so no heatmaps)" in session_widget.open_view.layer.currentText()
    shot(session, "session.png")
    for _ in range(3):
        session.step(1)
        wait(lambda: session.explanation is not None)
        assert browse.item.evidence.text() == (
            "Layer '4' has no places (12 features per image), so it gives no heatmap; look at its filters or concepts, "
            "or use a convolutional model."
        )
        assert not find_layer(session.viewer, CAM).data.any()
    assert "predicted:" in browse.item.item_label.text()
    browse.show()
    browse.parent().raise_()
    wait(lambda: not session.jobs.running())
    shot(session, "browse.png")
    # Side by side there is nothing to see either, and the same is said there.
    browse.item.classes.button.click()
    wait(lambda: "has no places" in browse.item.classes.status.text())
    browse.item.classes.button.click()
    # It is said where one looks, and is no error at every image.
    assert [text for text, level in told if level != "info"] == []


def test_filters_of_a_perceptron_are_looked_at_and_give_no_masks(windows, files, wait, monkeypatch):
    session_widget, _, filters = windows
    session = load(session_widget, files, save(files, "mlp"), wait, monkeypatch)
    filters.parent().raise_()
    filters.show()
    wait(lambda: filters.image.ranking is not None)
    assert filters.image.hint.text().endswith("They have no places: over the image, each is one tint, its activation.")
    assert filters.image.table.rowCount() == 12
    shot(session, "filters.png")
    overview = filters.overview
    filters.tabs.setCurrentWidget(overview)
    overview.look.split.setCurrentText("train")
    overview.look.button.click()
    wait(lambda: not session.jobs.running(JOB) and filters.model.found is not None)
    overview.view.selectRow(0)
    wait(lambda: overview.detail.panel.tiles and not session.jobs.running())
    assert all(tile.mask.all() for tile in overview.detail.panel.tiles)
    overview.detail.masking.paint()
    wait(lambda: not session.jobs.running())
    shot(session, "overview.png")
    assert "so it gives no masks" in overview.detail.masking.said.text()
    assert session.painted() == set()


def test_a_hidden_layer_of_a_network_with_maps_is_chosen_and_left_again(windows, files, wait, monkeypatch):
    session_widget, browse, _ = windows
    session = load(session_widget, files, save(files, "flat_cnn"), wait, monkeypatch)
    assert session.classifier.target_layer == "1"
    assert browse.item.evidence.isHidden() or "places" not in browse.item.evidence.text()
    combo = session_widget.open_view.layer

    def choose(name):
        row = combo.findData(name)
        combo.setCurrentIndex(row)
        combo.activated.emit(row)
        wait(lambda: session.classifier.target_layer == name and session.explanation is not None)

    choose("4")
    assert browse.item.evidence.text().endswith("choose a layer with maps, such as '1'.")
    assert not find_layer(session.viewer, CAM).data.any()
    choose("1")
    assert "places" not in browse.item.evidence.text()
