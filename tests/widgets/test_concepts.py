"""The Concepts dock: choosing concepts, testing them in the background, and what is shown and saved of the result."""

from __future__ import annotations

import csv
import json
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QColor, QDropEvent
from qtpy.QtWidgets import QFileDialog

from napari_cam_feedback.explanations import ConceptResult, ConceptRow
from napari_cam_feedback.explanations.tcav import space as concept_space
from napari_cam_feedback.explanations.tcav.activations import Grid
from napari_cam_feedback.widgets.concepts.chart import COLOURS, stars
from napari_cam_feedback.widgets.concepts.dock import ConceptsWidget
from napari_cam_feedback.widgets.concepts.model import JOB, LAYERS_JOB, READ_JOB, SAVE_JOB, new_folder
from napari_cam_feedback.widgets.concepts.result import finding, warnings
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.viewer.docks import open_dock
from napari_cam_feedback.widgets.viewer.layers import MASK
from widget_fixtures import SIZE

pytest_plugins = ["widget_fixtures"]


def write(folder: Path, count: int, first_row: int | None, seed: int) -> None:
    """Noise as the dataset's, with a bright bar of five rows; without a row, anywhere."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        image = random.integers(0, 90, (SIZE, SIZE), dtype=np.uint8)
        top = random.integers(0, SIZE - 5) if first_row is None else first_row
        image[top : top + 5] += 120
        Image.fromarray(image).save(folder / f"{number:02d}.png")


@pytest.fixture
def folders(tmp_path) -> Path:
    """Two concepts of 12 and 30 images, and 60 random images."""
    write(tmp_path / "concepts" / "above", 30, 0, 1)
    write(tmp_path / "concepts" / "below", 12, 10, 2)
    write(tmp_path / "random", 60, None, 3)
    return tmp_path


def opened(session, widget, project, wait):
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: widget.model.layers is not None and session.explanation is not None)
    yield session, widget
    session.close()


@pytest.fixture
def docked(qtbot, project, wait):
    """The dock, shown, with the tiny project open and its layers known; no canvas, so that it is quick."""
    viewer = ViewerModel()
    widget = ConceptsWidget(viewer)
    qtbot.addWidget(widget)
    widget.resize(330, 700)
    widget.show()
    yield from opened(session_of(viewer), widget, project, wait)


@pytest.fixture
def windowed(make_napari_viewer, project, wait):
    """The same in a real viewer, as napari opens it."""
    viewer = make_napari_viewer(show=True)
    widget = open_dock(viewer, "Concepts")
    yield from opened(session_of(viewer), widget, project, wait)


@pytest.fixture
def ready(docked, folders, wait):
    """The same with two concepts, random images, and few runs."""
    session, widget = docked
    widget.model.add([folders / "concepts"])
    wait(lambda: len(widget.model.sets) == 2)
    widget.setup.random.set_path(folders / "random")
    widget.setup.settings.set_values({"runs": 4, "random_runs": 12})
    return session, widget


@pytest.fixture
def tested(ready, wait):
    session, widget = ready
    widget.start_button.click()
    wait(lambda: widget.model.result is not None)
    return session, widget


def listed(widget) -> list[tuple[str, str]]:
    table = widget.setup.list.table
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount())]


def paint(session, keys) -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:8] = True
    for key in keys:
        session.put_mask(key, mask)
    session.save()


def test_without_a_project_it_says_what_to_do_first(qtbot):
    viewer = ViewerModel()
    widget = ConceptsWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.hint.text() == OPEN_FIRST
    assert not widget.start_button.isEnabled()
    assert widget.fold.isHidden()
    assert widget.view.isHidden()
    session_of(viewer).close()


# ---- choosing


def test_a_folder_of_images_is_a_concept_and_a_folder_of_folders_gives_one_for_each(docked, folders, wait, monkeypatch):
    _, widget = docked
    for name in ("random", "concepts"):
        chosen = str(folders / name)
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, chosen=chosen: chosen)
        before = len(widget.model.sets)
        widget.setup.list.add_button.click()
        wait(lambda before=before: len(widget.model.sets) > before)
    assert listed(widget) == [("random", "60"), ("above", "30"), ("below", "12")]


def test_dropped_folders_are_added_and_the_same_one_only_once(docked, folders, wait):
    _, widget = docked
    table = widget.setup.list.table
    for _ in range(2):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(folders / "concepts" / name)) for name in ("above", "below")])
        place = QPointF(QPoint(5, 5))
        copy, button, no = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        table.dropEvent(QDropEvent(place, copy, data, button, no))
        wait(lambda: not widget._session.jobs.running(READ_JOB))
    assert listed(widget) == [("above", "30"), ("below", "12")]


def test_two_folders_of_one_name_are_told_apart(docked, folders, wait):
    _, widget = docked
    write(folders / "more" / "above", 10, 0, 4)
    widget.model.add([folders / "concepts" / "above", folders / "more" / "above"])
    wait(lambda: len(widget.model.sets) == 2)
    assert listed(widget) == [("above", "30"), ("more above", "10")]


def test_a_concept_can_be_renamed_and_removed(ready):
    _, widget = ready
    table = widget.setup.list.table
    table.item(1, 0).setText("at the bottom")
    assert [each.name for each in widget.model.sets] == ["above", "at the bottom"]
    table.item(1, 0).setText("above")  # taken
    assert listed(widget)[1][0] == "at the bottom"
    table.selectRow(0)
    widget.setup.list.remove_button.click()
    assert listed(widget) == [("at the bottom", "12")]


def test_a_folder_that_cannot_be_used_is_said_in_one_sentence(docked, tmp_path, wait):
    _, widget = docked
    (tmp_path / "empty").mkdir()
    widget.model.add([tmp_path / "empty"])
    wait(lambda: widget.status.text())
    assert widget.status.text().startswith(f"{tmp_path / 'empty'} holds no images (")
    widget.model.add([tmp_path / "none"])
    wait(lambda: "none" in widget.status.text())
    assert widget.status.text() == f"{tmp_path / 'none'} does not exist; check the path."


def test_layers_come_with_their_shapes_and_the_default_is_the_one_of_the_core(docked):
    from napari_cam_feedback.explanations import default_concept_layer

    session, widget = docked
    box = widget.setup.layer
    default = default_concept_layer(session.classifier)
    shapes = {info.name: "×".join(map(str, info.shape)) for info in session.classifier.layers}
    assert box.itemText(0) == f"{default} ({shapes[default]}), automatic"
    assert box.currentData() is None
    others = {box.itemData(n): box.itemText(n) for n in range(1, box.count())}
    assert others == {name: f"{name} ({shape})" for name, shape in shapes.items()}


def test_the_concept_test_is_what_was_chosen(ready, folders):
    session, widget = ready
    setup = widget.setup
    setup.choose_classes((2,))
    setup.split.setCurrentIndex(setup.split.findData("test"))
    setup.layer.setCurrentIndex(setup.layer.findData("features.3"))
    setup.settings.set_values({"seed": 7})
    concept_test = setup.concept_test()
    assert (concept_test.classes, concept_test.split, concept_test.layer) == ((2,), "test", "features.3")
    assert (concept_test.random, concept_test.painted) == (folders / "random", "")
    assert (concept_test.config.runs, concept_test.config.random_runs, concept_test.config.seed) == (4, 12, 7)
    setup.choose_classes((0, 2))
    assert (setup.label.currentText(), setup.concept_test().classes) == ("2 chosen", (0, 2))
    session.opened.emit()
    assert setup.concept_test().classes == (0, 1, 2)


def test_what_is_painted_can_be_ticked_once_there_is_some(docked, wait):
    session, widget = docked
    assert (widget.setup.list.painted.text(), widget.setup.list.painted.isEnabled()) == ("What I painted (0), as", False)
    paint(session, session.dataset.keys[:3])
    wait(lambda: widget.setup.list.painted.text() == "What I painted (3), as")
    widget.setup.list.painted.setChecked(True)
    widget.setup.list.painted_name.setText("ruler")
    assert widget.setup.concept_test().painted == "ruler"


def test_without_a_concept_nothing_starts_and_it_says_why(docked):
    session, widget = docked
    widget.start_button.click()
    assert widget.status.text() == ("There is no concept yet; add a folder with images of it, or tick what you painted.")
    assert session.jobs.phase(JOB).phase is Phase.IDLE


# ---- testing


def test_the_result_is_that_of_the_core_as_bars_table_and_words(tested, folders):
    from napari_cam_feedback.explanations import ConceptTestConfig, concepts, read_concept, read_concepts

    session, widget = tested
    result = widget.model.result
    expected = concepts(
        session.classifier,
        session.dataset,
        read_concepts(folders / "concepts"),
        read_concept(folders / "random"),
        ConceptTestConfig(runs=4, random_runs=12),
    )
    assert result.rows == expected.rows
    view = widget.view
    assert view.isVisible()
    lines = view.chart.lines
    assert [line for line in lines if isinstance(line, str)] == ["cat", "dog", "eel"]
    assert [line for line in lines if not isinstance(line, str)] == result.rows
    assert view.table.rowCount() == 6
    for number, row in enumerate(result.rows):
        cells = [view.table.item(number, column).text() for column in range(4)]
        assert cells == [row.concept, row.class_name, f"{row.score:.2f}", f"{row.random_score:.2f}"]
    assert view.meaning.text().startswith("Significant means that the model's output for the class rises (for) or falls ")
    assert 'The concept "below" has only 12 images; with 30 or more its scores are steadier.' in view.warnings.text()
    # What was found is in sight, the settings are a click away.
    assert not widget.fold.opened
    assert widget.start_button.isEnabled()
    assert widget.bar.isHidden()
    assert widget.stop_button.isHidden()


def test_a_second_test_computes_no_activation_again(tested, wait, monkeypatch):
    _, widget = tested
    before = widget.model.result
    monkeypatch.setattr(Grid, "activations", lambda *_: pytest.fail("computed again"))
    widget.setup.settings.set_values({"seed": 1})
    # All random images fit, so another seed draws other sets of the same images.
    widget.start_button.click()
    wait(lambda: widget.model.result is not before or widget.status.text())
    assert widget.status.text() == ""
    assert widget.model.result.settings["seed"] == 1


def test_what_is_painted_is_tested_with_the_last_stroke(docked, folders, wait):
    session, widget = docked
    keys = list(session.dataset.keys[:12])
    paint(session, keys[:11])
    session.go_to(11)
    layer = session.layers.get(MASK)
    layer.data_setitem(np.nonzero(np.ones((SIZE, SIZE))), 1)
    assert keys[11] not in session.masks
    wait(lambda: widget.setup.list.painted.isEnabled())
    widget.setup.list.painted.setChecked(True)
    widget.setup.list.painted_name.setText("ruler")
    widget.setup.random.set_path(folders / "random")
    widget.setup.settings.set_values({"runs": 3, "random_runs": 8})
    widget.start_button.click()
    wait(lambda: widget.model.result is not None or widget.status.text())
    assert widget.status.text() == ""
    assert {(row.concept, row.images) for row in widget.model.result.rows} == {("ruler", 12)}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folders: (folders / "random").rename(folders / "gone"), "{0}/random does not exist; check the path."),
        (
            lambda folders: [path.unlink() for path in (folders / "concepts" / "below").glob("0[0-4].png")],
            'The concept "below" has 7 images that can be used; at least 10 are needed, better 30 to 100.',
        ),
    ],
)
def test_what_cannot_be_tested_is_said_in_one_sentence_and_another_try_is_possible(ready, folders, wait, spoil, sentence):
    session, widget = ready
    spoil(folders)
    widget.start_button.click()
    wait(lambda: session.jobs.phase(JOB).phase is Phase.FAILED)
    assert widget.status.text() == sentence.format(folders)
    assert widget.view.isHidden()
    assert widget.start_button.isEnabled()


@pytest.fixture
def held(ready, wait, monkeypatch):
    """A test that runs until it is asked to stop."""
    session, widget = ready
    going = threading.Event()
    tick = concept_space.Reader.tick

    def slow(self, steps):
        going.set()
        while not self.monitor.stopped:
            threading.Event().wait(0.005)
        tick(self, steps)

    monkeypatch.setattr(concept_space.Reader, "tick", slow)
    widget.start_button.click()
    wait(going.is_set)
    return session, widget


def test_stop_ends_the_test_without_a_result(held, wait):
    session, widget = held
    assert widget.bar.isVisible()
    assert not widget.start_button.isEnabled()
    assert not widget.setup.isEnabled()
    widget.stop_button.click()
    wait(lambda: session.jobs.phase(JOB).phase is Phase.IDLE)
    assert widget.status.text() == "Stopped; the test was not done."
    assert widget.model.result is None
    assert widget.view.isHidden()
    assert widget.start_button.isEnabled()
    assert widget.setup.isEnabled()


def test_closing_while_a_test_runs_stops_it(held):
    session, widget = held
    session.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cam-feedback")]
    assert widget.model.result is None


def test_another_version_stops_the_test_and_forgets_its_result(held, wait):
    session, widget = held
    session.set_classifier(session.classifier.with_layer("features.3"))
    wait(lambda: session.jobs.phase(JOB).phase is Phase.IDLE)
    assert widget.model.result is None
    wait(lambda: widget.model.layers is not None)


def test_a_result_is_forgotten_when_the_model_changes_and_the_concepts_stay(tested, wait):
    session, widget = tested
    session.set_classifier(session.classifier.with_layer("features.3"))
    assert widget.model.result is None
    assert widget.view.isHidden()
    assert widget.fold.opened
    assert len(widget.model.sets) == 2
    wait(lambda: not session.jobs.running(LAYERS_JOB))


# ---- what is shown and saved


def test_save_writes_table_chart_arrays_and_settings_into_the_project(tested, wait):
    session, widget = tested
    widget.view.save_button.click()
    wait(lambda: widget.view.place.isVisible())
    (folder,) = (session.project.folder / "concepts").iterdir()
    assert abs((datetime.strptime(folder.name, "%Y-%m-%d_%H-%M-%S") - datetime.now()).total_seconds()) < 60
    assert {path.name for path in folder.iterdir()} == {"concepts.csv", "concepts.json", "concepts.npz", "chart.png"}
    assert folder.name in widget.view.place.text()
    with (folder / "concepts.csv").open() as opened:
        assert len(list(csv.DictReader(opened))) == 6
    assert json.loads((folder / "concepts.json").read_text())["settings"]["runs"] == 4
    widget.view.save_button.click()
    wait(lambda: len(list((session.project.folder / "concepts").iterdir())) == 2)
    wait(lambda: not session.jobs.running(SAVE_JOB))


def test_two_results_of_one_second_get_two_folders(tmp_path):
    now = datetime(2020, 1, 2, 3, 4, 5)
    first = new_folder(tmp_path, now)
    first.mkdir()
    assert (first.name, new_folder(tmp_path, now).name) == ("2020-01-02_03-04-05", "2020-01-02_03-04-05_2")


def test_a_folder_that_cannot_be_written_is_said(tested, wait):
    session, widget = tested
    (session.project.folder / "concepts").write_text("in the way")
    widget.view.save_button.click()
    wait(lambda: widget.status.text())
    assert widget.status.text().startswith("Could not write ")
    assert widget.view.save_button.isEnabled()


def result_of(*rows: tuple[str, str, float, str, float], **more: object) -> ConceptResult:
    made = [
        ConceptRow(
            concept, name, "layer.4", score, 0.1, 0.5, 0.2, 1.0, 0.9, p, p, p, p, effect != "none", effect, 0.9, 40, 20
        )
        for concept, name, score, effect, p in rows
    ]
    empty = np.zeros((len(made), 3))
    return ConceptResult(made, empty, empty, empty, empty, {}, (), **more)


def test_the_finding_is_said_in_words():
    found = result_of(
        ("ruler", "malignant", 0.95, "for", 0.004), ("hair", "malignant", 0.1, "against", 0.03), ("a<b", "x", 0.5, "none", 1)
    )
    assert finding(found) == (
        "<b>ruler</b> speaks for <b>malignant</b>; <b>hair</b> speaks against <b>malignant</b> (layer layer.&#8203;4)."
    )
    assert finding(result_of(("ruler", "malignant", 0.5, "none", 0.4))) == (
        "<b>No concept came out significant</b> (layer layer.&#8203;4). "
        "That is not proof that none matters: try more images, or another layer."
    )


def test_warnings_name_the_images_that_were_left_out():
    said = warnings(result_of(warnings=["Few images."], skipped={str(n): f"{n}.png cannot be read." for n in range(5)}))
    assert said == [
        "Few images.",
        "5 images that cannot be read were left out: 0, 1, 2 and 2 more.",
    ]


def test_stars_say_how_small_p_is():
    assert [stars(p, True) for p in (0.0005, 0.005, 0.03, 0.08)] == ["***", "**", "*", "*"]
    assert stars(0.0005, False) == ""


def test_in_a_real_viewer_folders_become_a_result_that_fits_the_dock(windowed, folders, wait):
    session, widget = windowed
    widget.model.add([folders / "concepts"])
    wait(lambda: len(widget.model.sets) == 2)
    widget.setup.random.set_path(folders / "random")
    widget.setup.settings.set_values({"runs": 4, "random_runs": 12})
    widget.start_button.click()
    wait(lambda: widget.model.result is not None)
    assert widget.view.chart.isVisible()
    assert widget.minimumSizeHint().width() <= 330
    assert widget.area.widget().minimumSizeHint().width() <= 330 - 14  # beside the scroll bar
    dark = widget.view.chart.text_colour
    session.viewer.theme = "light"
    wait(lambda: widget.view.chart.text_colour != dark)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_bars_have_the_colour_of_what_they_say_in_both_themes(docked, theme, wait):
    session, widget = docked
    session.viewer.theme = theme
    chart = widget.view.chart
    widget.model.result = result_of(
        ("ruler", "malignant", 0.9, "for", 0.0004),
        ("hair", "malignant", 0.8, "against", 0.004),
        ("skin", "malignant", 0.9, "none", 1),
    )
    widget.model.tested.emit()
    wait(lambda: chart.isVisible() and chart.height() > 60)
    picture = chart.grab().toImage()
    ratio = picture.devicePixelRatio()
    left, right = chart._frame()
    for number, effect in ((1, "for"), (2, "against"), (3, "none")):
        # Beside the whiskers, which lie in the middle.
        place = round((left + 0.2 * (right - left)) * ratio), round((number * 20 + 6.5) * ratio)
        assert picture.pixelColor(*place).name().upper() == COLOURS[effect].upper()
    assert (QColor(chart.text_colour).lightness() > 128) == (theme == "dark")
    assert chart.line_at(25).concept == "ruler"
    assert chart.line_at(5) == "malignant"
    assert chart.line_at(500) is None
