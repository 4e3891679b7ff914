"""Browsing: the table, moving, the map of a chosen class, and saying what cannot be shown."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt

from napari_cam_feedback.widgets.browse import item_table, predict_bar
from napari_cam_feedback.widgets.browse.dock import BrowseWidget
from napari_cam_feedback.widgets.browse.item_table import ItemTable
from napari_cam_feedback.widgets.browse.unreadable import BrokenImages
from napari_cam_feedback.widgets.session.item_order import ItemOrder
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.identity import find_layers, role_of
from napari_cam_feedback.widgets.viewer.layers import CAM, IMAGE, MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def browse(make_napari_viewer_proxy, project, wait):
    """The Browse widget in a viewer, as napari hands it over: through a proxy; everything predicted."""
    viewer = make_napari_viewer_proxy()
    widget = BrowseWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Browse")
    session = session_of(viewer)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None and not session.jobs.running())
    yield widget
    session.close()


def shown_keys(widget):
    return [widget.model.index(row, 0).data() for row in range(widget.model.rowCount())]


def column(widget, number):
    return [widget.model.index(row, number).data() for row in range(widget.model.rowCount())]


def show_all(widget):
    widget.filter.split_box.setCurrentIndex(widget.filter.split_box.findText("all (27)"))


def test_the_table_is_filled_with_predictions_in_the_background(browse, project, wait):
    assert browse.filter.split == "train"
    assert shown_keys(browse) == [key for key in project.dataset.keys if key.startswith("train/")]
    assert all(column(browse, item_table.PREDICTION))
    show_all(browse)
    wait(lambda: all(column(browse, item_table.PREDICTION)))
    from napari_cam_feedback.evaluation import predict

    expected = predict(project.classifier(device="cpu"), project.dataset)
    assert np.array_equal(browse.model.predicted, expected.predicted)
    labels = project.dataset.labels
    assert np.allclose(browse.model.p_true, expected.probabilities[np.arange(27), labels], atol=1e-6)


def test_moving_follows_the_order_and_the_filter_of_the_table(browse, wait):
    session = session_of(browse._session.viewer)
    show_all(browse)
    wait(lambda: not session.jobs.running())
    browse.table.sortByColumn(item_table.PROBABILITY, Qt.SortOrder.AscendingOrder)
    browse.filter.text.setText("DOG")
    browse.filter.apply()
    keys = shown_keys(browse)
    assert len(keys) > 5
    values = [float(browse.model.p_true[session.dataset.index_of(key)]) for key in keys]
    assert values == sorted(values)
    session.go_to(session.dataset.index_of(keys[2]))
    browse.item.next.click()
    assert session.key == keys[3]
    browse.item.previous.click()
    browse.item.previous.click()
    assert session.key == keys[1]
    assert browse.table.currentIndex().row() == 1
    session.step(-5)
    assert session.key == keys[0]
    browse.item.previous.click()
    assert session.key == keys[0]


def test_the_next_item_is_the_one_that_moved_up_when_the_current_one_drops_out(browse):
    session = browse._session
    session.go_to(3)
    session.set_order([0, 1, 2, 4, 5])
    session.step(1)
    assert session.index == 4
    session.go_to(2)
    session.set_order([0, 1, 4, 5])
    session.step(-1)
    assert session.index == 1


def test_wrong_only_shows_what_the_model_gets_wrong(browse, project, wait):
    show_all(browse)
    wait(lambda: not browse._session.jobs.running())
    wrong = np.flatnonzero(browse.model.predicted != project.dataset.labels)
    assert 0 < len(wrong) < 27
    browse.filter.wrong.setChecked(True)
    assert shown_keys(browse) == [project.dataset.keys[i] for i in wrong]
    assert browse.filter.count.text() == f"{len(wrong)} of 27"


def test_a_chosen_row_is_shown_and_a_chosen_split_starts_at_its_first_item(browse, project):
    browse.table.selectRow(5)
    assert browse._session.key == shown_keys(browse)[5]
    browse.filter.split_box.setCurrentIndex(browse.filter.split_box.findData("test"))
    assert browse._session.key == "test/cat/00.png"


def test_painted_items_are_marked_and_found(browse, wait):
    session = browse._session
    session.step(1)
    key = session.key
    session.layers.get(MASK).data_setitem((np.array([3]), np.array([3])), 1)
    wait(lambda: "✓" in column(browse, item_table.PAINTED), 10)
    assert browse.mask_row.status.text() == "Mask saved."
    browse.filter.painted.setChecked(True)
    assert shown_keys(browse) == [key]
    browse.clear.click()
    wait(lambda: shown_keys(browse) == [], 3)
    # The table is empty, the item still shown: nothing to step to, nothing breaks.
    browse.item.next.click()
    assert session.key == key


def test_the_same_three_layers_are_used_for_every_item(browse, wait):
    session = browse._session
    layers = list(session.viewer.layers)
    assert [role_of(layer) for layer in layers] == [IMAGE, CAM, MASK]
    assert [layer.name for layer in layers] == ["image", "CAM", "irrelevant"]
    layers[1].opacity = 0.2
    for _ in range(3):
        session.step(1)
        wait(lambda: session.explanation is not None)
        assert list(session.viewer.layers) == layers
        assert {layer.metadata["napari_cam_feedback"]["key"] for layer in layers} == {session.key}
        assert np.array_equal(layers[0].data, session.dataset.read(session.index))
        peak = np.unravel_index(session.explanation.shown.argmax(), session.explanation.map.shape)
        assert layers[1].data[peak] == (1 if session.explanation.evidence else 0)
    assert layers[1].opacity == 0.2


def test_neighbours_are_computed_ahead_and_shown_at_once(browse, wait):
    session = browse._session
    session.go_to(int(session.order[5]))
    neighbours = session.order[3:8]
    wait(lambda: all(session.explanation_cache.peek(int(i), "predicted", session.method) for i in neighbours))
    told = []
    session.explained.connect(told.append)
    session.step(1)
    # Without another turn of the event loop.
    assert [explanation.index for explanation in told] == [session.index]
    assert session.layers.get(CAM).data.any() == session.explanation.evidence


def test_an_item_that_was_not_computed_ahead_shows_its_image_at_once_and_its_map_later(browse, wait):
    session = browse._session
    last = int(session.order[-1])
    assert session.explanation_cache.peek(last, "predicted", session.method) is None
    session.go_to(last)
    assert np.array_equal(session.layers.get(IMAGE).data, session.dataset.read(last))
    assert not session.layers.get(CAM).data.any()
    assert "predicting" in browse.item.item_label.text()
    wait(lambda: session.explanation is not None)
    assert "predicted:" in browse.item.item_label.text()


def test_moving_on_before_the_map_has_come_shows_the_right_one(browse, wait):
    session = browse._session
    for _ in range(8):
        session.step(1)
    wait(lambda: session.explanation is not None)
    assert session.explanation.key == session.key
    assert session.layers.get(CAM).metadata["napari_cam_feedback"]["key"] == session.key


def test_the_class_of_the_map_can_be_chosen_and_shows_probabilities(browse, wait):
    session = browse._session
    p = session.explanation.probabilities
    names = session.class_names
    texts = [browse.item.target.itemText(i) for i in range(browse.item.target.count())]
    label = session.explanation.label
    assert texts[0] == f"predicted: {names[p.argmax()]} ({p.max():.2f})"
    assert texts[1] == f"true: {names[label]} ({p[label]:.2f})"
    assert texts[2:] == [f"{name} ({value:.2f})" for name, value in zip(names, p, strict=True)]
    browse.item.target.setCurrentIndex(4)
    browse.item.target.activated.emit(4)
    assert session.target == 2
    wait(lambda: session.explanation is not None and session.explanation.target == 2)
    session.step(1)
    wait(lambda: session.explanation is not None)
    assert session.explanation.target == 2
    assert browse.item.target.currentData() == 2


@pytest.mark.parametrize(
    "method", ["cam", "gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "scorecam", "ablationcam"]
)
def test_every_method_can_be_chosen_and_shows_its_map(browse, wait, method):
    from napari_cam_feedback.explanations import METHODS, cam_display, explain_item

    session, combo = browse._session, browse.item.method
    assert [combo.itemData(i) for i in range(combo.count())] == list(METHODS)
    assert all(combo.itemData(i, Qt.ItemDataRole.ToolTipRole) for i in range(combo.count()))
    combo.setCurrentIndex(combo.findData(method))
    combo.activated.emit(combo.currentIndex())
    wait(lambda: session.explanation is not None and session.explanation.method == method)
    expected = explain_item(session.classifier, session.dataset, session.index, target="predicted", method=method)
    assert np.allclose(session.layers.get("cam").data, cam_display(expected.shown), atol=1e-5)


def test_a_slow_method_is_broken_off_when_the_user_moves_on(browse, wait, monkeypatch):
    from napari_cam_feedback.explanations.maps.perturbations import ScoreCam

    session, asked, finished = browse._session, [], []

    def weigh(self, classifier, image, activations, logits):
        asked.append(float(image.sum()))
        # As slow as a large network: until somebody asks to stop, at the next layer.
        while session._loader._wanted and len(asked) == 1:
            classifier.logits(image)
        finished.append(asked[-1])
        return activations.mean((0, 2, 3))[:, None].expand(-1, 3)

    monkeypatch.setattr(ScoreCam, "weigh", weigh)
    session.set_view(method="scorecam")
    assert browse.item.evidence.text() == (
        "Computing the map; this method runs the network for every filter, which takes a while …"
    )
    wait(lambda: asked)
    session.step(1)
    wait(lambda: session.explanation is not None and session.explanation.method == "scorecam")
    assert len(asked) == 2  # the image left and the image shown, and no neighbour
    assert len(finished) == 1


def test_no_positive_evidence_is_said_in_words(browse, project, wait):
    session = browse._session
    assert browse.item.evidence.isHidden()
    classifier = project.classifier(device="cpu")
    # Activations are not negative, so a class with negative weights only has nothing that speaks for it.
    classifier.head.weight[2] = -classifier.head.weight[2].abs()
    session.set_classifier(classifier)
    session.set_view(target=2)
    wait(lambda: session.explanation is not None and not session.explanation.evidence)
    assert browse.item.evidence.text() == "No positive evidence: nothing in this image speaks for “eel”."
    assert not browse.item.evidence.isHidden()
    assert not session.layers.get(CAM).data.any()
    session.set_view(target=session.explanation.predicted)
    wait(lambda: session.explanation is not None)
    assert browse.item.evidence.isHidden() == session.explanation.evidence


def test_a_broken_image_is_one_sentence_and_browsing_goes_on(browse, project, wait, forget_explanations):
    session = browse._session
    key = "train/cat/02.png"
    (project.dataset.source / key).write_bytes(b"no image")
    told = []
    session.message.connect(lambda text, level: told.append((level, text)))
    forget_explanations(session)
    session.go_to(project.dataset.index_of(key))
    assert len(told) == 1
    assert told[0][0] == "error"
    assert "02.png" in told[0][1]
    assert "\n" not in told[0][1]
    assert browse.notice.text() == told[0][1]
    assert not browse.notice.isHidden()
    assert not browse.paint.isEnabled()
    # What is painted now belongs to no item.
    session.layers.get(MASK).data_setitem((np.array([1]), np.array([1])), 1)
    session.autosave.flush()
    assert not session.painted()
    session.step(1)
    wait(lambda: session.explanation is not None)
    assert browse.paint.isEnabled()
    assert browse.notice.isHidden()
    assert not session.layers.get(MASK).data.any()


def test_gray_and_colour_images_of_any_size_follow_each_other(browse, project, wait, forget_explanations):
    session = browse._session
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    for name in ("00", "02"):
        Image.fromarray(colours).save(project.dataset.source / "train" / "dog" / f"{name}.png")
    forget_explanations(session)
    for key in ("train/dog/00.png", "train/dog/01.png", "train/dog/02.png"):
        session.go_to(project.dataset.index_of(key))
        wait(lambda: session.explanation is not None or session.item_error is not None)
        image = session.layers.get(IMAGE)
        assert np.array_equal(image.data, project.dataset.read(session.index))
        assert image.rgb == (key != "train/dog/01.png")
        assert session.layers.get(MASK).data.shape == image.data.shape[:2] == session.layers.get(CAM).data.shape
        assert [role_of(layer) for layer in session.viewer.layers] == [IMAGE, CAM, MASK]
        assert len(find_layers(session.viewer, IMAGE)) == 1


def test_a_small_image_fills_the_canvas(browse):
    camera = browse._session.viewer.scene.camera
    canvas = browse._session.viewer.canvas.size
    assert camera.zoom * 16 > 0.8 * min(canvas)


def test_the_paint_button_takes_the_brush(browse):
    session = browse._session
    session.viewer.layers.selection.active = session.layers.get(IMAGE)
    browse.paint.click()
    layer = session.layers.get(MASK)
    assert session.viewer.layers.selection.active == layer
    assert layer.mode == "paint"
    assert layer.selected_label == 1
    assert 1 <= layer.brush_size <= 4


def test_the_last_item_class_and_method_are_remembered(browse, project, wait):
    from napari_cam_feedback.projects import Project

    session = browse._session
    session.go_to(project.dataset.index_of("val/dog/01.png"))
    session.set_view(target=1, method="gradcam")
    wait(lambda: Project.open(project.folder).remembered.get("target") == 1, 5)
    again = Project.open(project.folder)
    session.open(prepare(again, again.classifier(device="cpu")))
    assert session.key == "val/dog/01.png"
    assert (session.target, session.method) == (1, "gradcam")
    assert browse.filter.split == "val"


def test_a_new_version_is_predicted_afresh(browse, project, wait):
    from napari_cam_feedback.models import build_classifier

    session = browse._session
    before = browse.model.p_true.copy()
    old = project.classifier(device="cpu")
    other = build_classifier("small-gap", old.class_names, old.preprocessing, seed=7)
    session.set_classifier(other)
    wait(lambda: not session.jobs.running("predict") and session.explanation is not None)
    rows = session.order
    assert not np.allclose(browse.model.p_true[rows], before[rows])
    assert session.explanation_cache.classifier is other
    assert browse.model.p_true[session.index] == pytest.approx(
        session.explanation.probabilities[session.explanation.label], abs=1e-6
    )


def test_stopping_the_predictions_keeps_those_that_are_there(browse, project, wait, monkeypatch):
    monkeypatch.setattr(predict_bar, "_CHUNK", 1)
    real = predict_bar.predict_in_chunks

    def slow(*args):
        for found in real(*args):
            time.sleep(0.02)
            yield found

    monkeypatch.setattr(predict_bar, "predict_in_chunks", slow)
    browse.model.forget_predictions()
    browse.predicting.button.click()
    wait(lambda: (browse.model.predicted >= 0).sum() >= 2)
    browse.predicting.stop_button.click()
    wait(lambda: not browse._session.jobs.running())
    assert 2 <= (browse.model.predicted >= 0).sum() < 12
    assert browse.predicting.button.isEnabled()


def test_a_failure_while_predicting_is_shown(browse, wait, monkeypatch):
    def fail(*args):
        yield from ()
        raise RuntimeError("CUDA error: out of cheese")

    monkeypatch.setattr(predict_bar, "predict_in_chunks", fail)
    browse.model.forget_predictions()
    browse.predicting.button.click()
    wait(lambda: not browse.notice.isHidden())
    assert "out of cheese" in browse.notice.text()
    assert browse.predicting.button.isEnabled()


def test_images_that_cannot_be_read_are_listed_once_and_nobody_is_interrupted(browse, project, wait, monkeypatch):
    from napari.utils import notifications

    notified = []
    monkeypatch.setattr(notifications, "show_warning", notified.append)
    broken = [key for key in project.dataset.keys if key.startswith("test/dog/")]
    for key in broken[:2]:
        (project.dataset.source / key).write_bytes(b"no image")
    (project.dataset.source / broken[2]).unlink()
    monkeypatch.setattr(predict_bar, "_CHUNK", 1)
    session, view = browse._session, browse.predicting.broken
    assert view.isHidden()
    show_all(browse)
    wait(lambda: not session.jobs.running())
    assert notified == []
    assert view.line.text() == "3 images cannot be read."
    assert not view.isHidden()
    assert view.list.isHidden()
    assert browse.notice.isHidden()
    view.button.click()
    rows = [view.list.item(i).text() for i in range(view.list.count())]
    assert [key in row for key, row in zip(broken, rows, strict=True)] == [True] * 3
    assert "is broken or not an image" in rows[0]
    assert "is missing" in rows[2]
    # The whole path is no help in a narrow dock.
    assert not any(str(project.dataset.source) in row for row in rows)
    # Predicting again tells of none of them twice; one that is mended leaves the list.
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(project.dataset.source / broken[0])
    browse.predicting.button.click()
    wait(lambda: not session.jobs.running())
    assert view.line.text() == "2 images cannot be read."
    # A row leads to the image, whose sentence is shown as that of any image that cannot be read.
    view.list.itemClicked.emit(view.list.item(0))
    assert session.key == broken[1]
    assert broken[1] in browse.notice.text()
    assert not browse.paint.isEnabled()


def test_one_broken_image_is_one(qtbot):
    view = BrokenImages()
    qtbot.addWidget(view)
    view.add({"a.png": "/data/set/a.png is empty (0 bytes); restore or remove it."})
    assert view.line.text() == "1 image cannot be read."
    view.button.click()
    assert view.list.item(0).text() == "a.png is empty (0 bytes); restore or remove it."
    view.clear()
    assert view.isHidden()
    view.add({f"{i}.png": "The drive is gone; plug it in." for i in range(1500)})
    view.button.click()
    assert view.list.count() == 1001
    assert view.list.item(1000).text() == "and 500 more"
    assert view.list.item(0).text() == "0.png: The drive is gone; plug it in."


def test_a_dock_that_is_opened_late_tells_of_the_item_that_is_shown(session, qtbot):
    assert session.explanation is not None
    browse = BrowseWidget(session.viewer)
    qtbot.addWidget(browse)
    assert "true class" in browse.item.item_label.text()
    assert "predicted: " in browse.item.item_label.text()
    assert browse.item.target.itemText(0).startswith("predicted: ")


def test_a_step_takes_no_longer_with_a_million_items():
    """What a step asks of the order is one look into a table, made once for each order."""
    n = 1_000_000
    indices = np.random.default_rng(0).permutation(n)
    order = ItemOrder(indices, n)
    order.move_to(5)
    assert order.indices[order.position] == 5
    index, table = 5, order._places
    for _ in range(1000):
        index = order.step(index, 1)
        order.move_to(index)
        assert len(list(order.neighbours(2, 1))) >= 2
    assert order._places is table
    assert index == indices[min(int(np.flatnonzero(indices == 5)[0]) + 1000, n - 1)]
    # Filtered out, it keeps its place, and the next one is the one that moved up.
    after = order.step(index, 1)
    order.set(indices[indices != index])
    assert order.place_of(index) == -1
    assert order.step(index, 1) == after


def test_nothing_open_says_what_to_do(make_napari_viewer):
    viewer = make_napari_viewer()
    widget = BrowseWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Browse")
    assert widget._content.isHidden()
    assert not widget._empty.isHidden()
    session_of(viewer).close()


class Many:
    """A dataset of many items, without images."""

    def __init__(self, n: int) -> None:
        from napari_cam_feedback.data.keys import Keys

        self.class_names = ("a", "b")
        self.keys = Keys(f"test/{i % 7}/{i:07d}.png" for i in range(n))
        self.labels = np.arange(n) % 2
        self.splits = np.full(n, "test")
        self.split_names = ("test",)

    def __len__(self) -> int:
        return len(self.keys)

    def index_of(self, key: str) -> int:
        return self.keys.find(key)


def test_the_table_sorts_and_filters_many_items(qtbot):
    n = 20_000
    table = ItemTable()
    table.set_dataset(Many(n), ["test/3/0000003.png"])
    random = np.random.default_rng(0)
    p = random.dirichlet((1, 1), n).astype(np.float32)
    table.set_predictions(np.arange(n), p)
    table.sort(item_table.PROBABILITY, Qt.SortOrder.DescendingOrder)
    values = table.p_true[table.shown]
    assert np.all(np.diff(values) <= 0)
    table.set_filter(text="/3/ b", split="test", wrong=True, painted=False)
    expected = {i for i in range(n) if i % 7 == 3 and (i % 2 == 1 or p[i].argmax() == 1) and p[i].argmax() != i % 2}
    assert set(table.shown.tolist()) == expected
    table.set_filter(text="", split=None, wrong=False, painted=True)
    assert table.shown.tolist() == [3]
    table.set_filter(text="", split=None, wrong=False, painted=False)
    table.sort(-1)
    assert table.shown.tolist() == list(range(n))


def test_unknown_probabilities_sort_to_the_end_either_way(qtbot):
    table = ItemTable()
    table.set_dataset(Many(4))
    table.set_predictions(np.array([1, 2]), np.array([[0.4, 0.6], [0.9, 0.1]], np.float32))
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        table.sort(item_table.PROBABILITY, order)
        assert set(table.shown[2:].tolist()) == {0, 3}


def test_large_images_are_read_in_the_background(browse, project, wait, forget_explanations, monkeypatch):
    from napari_cam_feedback.widgets.session import item_display

    monkeypatch.setattr(item_display, "_READ_AT_ONCE_PIXELS", 10)
    session = browse._session
    forget_explanations(session)
    first, last = session.key, int(session.order[-1])
    session.layers.get(MASK).data_setitem((np.array([4]), np.array([4])), 1)
    session.go_to(last)
    # Strokes between two images belong to neither.
    session.layers.get(MASK).data_setitem((np.array([9]), np.array([9])), 1)
    wait(lambda: session.explanation is not None)
    wait(lambda: np.array_equal(session.layers.get(IMAGE).data, project.dataset.read(last)))
    assert session.layers.get(MASK).metadata["napari_cam_feedback"]["key"] == session.key
    assert not session.layers.get(MASK).data.any()
    assert session.layers.get(CAM).data.any() == session.explanation.evidence
    session.save()
    assert session.painted() == {first}
    assert project.masks[first].sum() == 1


@pytest.mark.parametrize("yes", [True, False])
def test_closing_asks_while_a_precious_job_runs(browse, wait, monkeypatch, yes):
    from qtpy.QtWidgets import QMessageBox

    session, asked = browse._session, []
    answer = QMessageBox.StandardButton.Yes if yes else QMessageBox.StandardButton.No

    def question(parent, title, text, *rest):
        asked.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    assert session.guard.may_close(browse)
    assert asked == []

    def work(monitor):
        while not monitor.stopped:
            time.sleep(0.005)

    session.jobs.start("retune", work, description="A retune", precious=True)
    assert session.guard.may_close(browse) is yes
    assert "A retune is still running" in asked[0]
    session.jobs.stop("retune")
    wait(lambda: not session.jobs.running())
