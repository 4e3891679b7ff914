"""The Compare dock: versions of a project, their tables, the images that changed, maps side by side, and the report."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest
from qtpy.QtCore import Qt, QUrl

from napari_cam_feedback.evaluation import compare_models
from napari_cam_feedback.widgets.compare.dock import OWNER, SAVE_JOB, CompareWidget
from napari_cam_feedback.widgets.compare.tables import BETTER, WORSE
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST
from napari_cam_feedback.widgets.parts.tones import text_colour
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.viewer.identity import NAMESPACE, find_layer
from napari_cam_feedback.widgets.viewer.layers import CAM_AFTER, CAM_BEFORE

pytest_plugins = ["widget_fixtures"]


def add_version(project, parent: str) -> str:
    """Put a network that says the opposite of the first version into the project, as if it had been retuned."""
    from napari_cam_feedback.models import save_classifier
    from napari_cam_feedback.projects import Project, Version
    from napari_cam_feedback.torch_loader import torch

    other = project.classifier("v001", device="cpu")
    name = f"v{len(project.versions) + 1:03d}"
    with torch.no_grad():
        # Each again another one: the second as the first, the third its opposite.
        other.head.weight.mul_(-1.0 if name == "v003" else 0.9)
        other.head.bias.zero_()
    save_classifier(other, project.folder / "versions" / f"{name}.safetensors")
    version = Version(id=name, parent=parent, created="2020-01-01T00:00:00+00:00", origin="retuned", verdict="fixed")
    Project._change(project, lambda state: {"versions": [*state.versions, version]})
    return name


def cells(*maps):
    """Names of the layers in the grid: each map over the image."""
    return [name for map_name in maps for name in (f"image below {map_name}", map_name)]


@pytest.fixture
def project(project):
    """The tiny project with three versions."""
    add_version(project, "v001")
    add_version(project, "v002")
    project.select("v003")
    return project


@pytest.fixture
def widget(session, qtbot):
    found = CompareWidget(session.viewer)
    qtbot.addWidget(found)
    return found


@pytest.fixture
def compared(widget, wait):
    """After a comparison of the first and the last version."""
    widget.choose("v001", "v003")
    widget.compare()
    wait(lambda: widget.found is not None)
    return widget


def texts(model) -> list[list[str]]:
    return [
        [model.data(model.index(row, column)) for column in range(model.columnCount())] for row in range(model.rowCount())
    ]


def test_without_a_project_it_says_what_to_do_first(qtbot):
    from napari.components import ViewerModel

    from napari_cam_feedback.widgets.session.session import session_of

    viewer = ViewerModel()
    widget = CompareWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.hint.text() == OPEN_FIRST
    assert not widget.start_button.isEnabled()
    assert widget.result_box.isHidden()
    session_of(viewer).close()


def test_the_current_version_and_its_parent_are_offered_and_one_alone_cannot_be_compared(widget):
    assert [widget.list.item(row).text() for row in range(3)] == [
        "v001  loaded", "v002  fixed: retuned", "v003  fixed: retuned",
    ]  # fmt: skip
    assert widget.chosen == ["v002", "v003"]
    assert widget.start_button.isEnabled()
    widget.list.item(1).setCheckState(Qt.CheckState.Unchecked)
    assert not widget.start_button.isEnabled()
    assert "Tick two or more versions." in widget.hint.text()


def test_the_tables_show_what_the_core_measures(compared, project):
    models = {name: project.classifier(name, device="cpu") for name in ("v001", "v003")}
    expected = compare_models(models, project.dataset, masks=project.masks)
    found = compared.found.comparison
    assert found.to_json() == expected.to_json()
    assert [row[0] for row in compared.table.texts()] == ["test", "accuracy", "train", "accuracy", "val", "accuracy"]
    row = expected.rows[0][-1]
    assert compared.table.texts()[1][1:3] == (f"{row.before:.3f}", f"{row.after:.3f}")
    assert f"95 % intervals over the images: before {row.certainty.before}" in compared.table.item(1, 0).toolTip()
    assert f"p = {row.certainty.p_value:.3g}" in compared.table.item(1, 0).toolTip()
    # The classes of the test images, the changes against before.
    assert compared.split_box.currentText() == "test"
    after = expected.evaluations[1].splits["test"].per_class["cat"]
    cell = texts(compared.classes)[0]
    assert (cell[0], cell[2].split()[0]) == ("cat", f"{after.recall:.2f}")
    assert len(expected.flips[0]) == len(texts(compared.flips)) > 0
    assert compared.tabs.tabText(3) == f"Changed ({len(expected.flips[0])})"


def test_the_confusion_table_shows_the_images_after_and_marks_what_became_better(compared):
    before, after = (each.splits["test"].confusion for each in compared.found.comparison.evaluations)
    names = compared.found.comparison.class_names
    table = compared.confusion
    marks = set()
    for row, column in np.ndindex(after.shape):
        index, change = table.index(row, column), int(after[row, column] - before[row, column])
        text = str(after[row, column]) if not change else f"{after[row, column]} {'▲' if change > 0 else '▼'}{abs(change)}"
        assert table.data(index) == text
        assert table.data(index, Qt.ItemDataRole.ToolTipRole).startswith(f"{names[row]}, predicted {names[column]}: ")
        color = table.data(index, Qt.ItemDataRole.ForegroundRole)
        expected = None if not change else text_colour(BETTER if (change > 0) == (row == column) else WORSE)
        assert color == expected
        marks.add(color.name() if color is not None else None)
    assert len(marks) > 1
    assert [table.headerData(k, Qt.Orientation.Vertical) for k in range(len(names))] == list(names)
    assert table.headerData(0, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole) == f"Predicted class {names[0]}"
    # One choice of images for both tables of classes.
    compared.matrix_split_box.setCurrentText("train")
    assert compared.split_box.currentText() == "train"
    assert table.data(table.index(0, 0)).split()[0] == str(
        compared.found.comparison.evaluations[1].splits["train"].confusion[0, 0]
    )


def test_a_row_of_the_changed_predictions_opens_its_image(compared, session):
    flips = compared.found.comparison.flips[0]
    row = next(n for n in range(len(flips)) if flips.indices[n] != session.index)
    compared.flip_view.selectRow(row)
    assert session.index == flips.indices[row]
    first = texts(compared.flips)[row]
    names = session.class_names
    assert first[0] == flips.keys[row]
    assert first[1].startswith(f"{names[flips.before[row]]} → {names[flips.after[row]]}")
    # Other order, same image.
    compared.flips.sort(0, Qt.SortOrder.DescendingOrder)
    assert [line[0] for line in texts(compared.flips)] == sorted(flips.keys, reverse=True)
    assert compared.flips.item_of(0) == session.dataset.index_of(max(flips.keys))


def test_a_path_that_is_cut_still_shows_its_split(compared):
    view = compared.flip_view
    key = compared.found.comparison.flips[0].keys[0]
    cut = view.fontMetrics().elidedText(f"{key.split('/')[0]}/{'long-name' * 9}/0042.png", view.textElideMode(), 120)
    assert cut.startswith(key.split("/")[0][:3])
    assert cut.endswith("2.png")


def test_the_changed_predictions_can_be_narrowed_to_a_kind(compared):
    flips = compared.found.comparison.flips[0]
    for kind in range(4):
        compared.kind_box.setCurrentIndex(kind + 1)
        assert compared.flips.rowCount() == flips.count(kind)
        assert compared.kind_box.currentText().endswith(f"({flips.count(kind)})")


def test_the_maps_side_by_side_are_named_after_the_versions_and_follow_the_item(compared, session, wait):
    compared.side_button.click()
    wait(lambda: grid_of(session).owner is not None and not grid_of(session).busy)
    assert grid_of(session).owner == OWNER
    shown = [layer.name for layer in session.viewer.layers if layer.visible]
    assert shown == cells("CAM v001", "CAM v003", "v003 − v001")
    before = find_layer(session.viewer, CAM_BEFORE)
    session.step(1)
    wait(lambda: before.metadata[NAMESPACE]["key"] == session.key)
    wait(lambda: "This image" in compared.item_label.text())
    compared.side_button.click()
    assert find_layer(session.viewer, CAM_AFTER) is None
    assert not session.viewer.canvas.grid.enabled


def test_the_maps_of_a_retune_and_of_versions_take_turns(compared, session, wait):
    from napari_cam_feedback.widgets.session.side_by_side import ComparisonLayers, ExplanationPairs

    retune = ComparisonLayers(session)
    explanation_caches = list(compared.found.explanation_caches.values())
    retune.use(ExplanationPairs(explanation_caches[0], explanation_caches[1]))
    retune.show()
    wait(lambda: grid_of(session).owner is not None and not grid_of(session).busy)
    compared.layers.show()
    wait(lambda: grid_of(session).owner == OWNER)
    assert not retune.on
    shown = [layer.name for layer in session.viewer.layers if layer.visible]
    assert shown == cells("CAM v001", "CAM v003", "v003 − v001")
    retune.show()
    wait(lambda: grid_of(session).owner != OWNER)
    assert not compared.layers.on
    assert not compared.side_button.isChecked()


def test_of_three_versions_the_one_to_be_shown_is_chosen(widget, wait):
    widget.choose("v001", "v002", "v003")
    widget.compare()
    wait(lambda: widget.found is not None)
    comparison = widget.found.comparison
    assert not widget.pair_row.isHidden()
    assert widget.pair_box.currentText() == "v003"
    assert widget.flips.rowCount() == len(comparison.flips[1])
    widget.pair_box.setCurrentText("v002")
    assert widget.flips.rowCount() == len(comparison.flips[0])
    assert widget.summary.text().startswith("v002 against v001, on test: ")


def test_the_report_is_written_and_states_the_command_for_a_shell(compared, project, tmp_path, wait):
    folder = tmp_path / "my report"
    compared.save(folder)
    wait(lambda: "report is in" in compared.said.text())
    page = QUrl.fromLocalFile(str(folder / "report.html"))
    assert f'<a href="{page.toString(QUrl.ComponentFormattingOption.FullyEncoded)}" style=' in compared.said.text()
    assert compared.said.openExternalLinks()
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert f"--out '{folder}'" not in text  # as text, not as HTML
    assert f"compare v001 v003 --project {project.folder} --out '{folder}' --seed 0" in html.unescape(text)
    assert (folder / "tables.tex").is_file()


def test_a_report_that_cannot_be_written_is_told_of(compared, session, tmp_path, wait):
    file = tmp_path / "file"
    file.write_text("")
    compared.save(file)
    wait(lambda: session.jobs.phase(SAVE_JOB).phase is Phase.FAILED)
    assert re.search("Could not write .*file", compared.said.text())
    assert compared.save_button.isEnabled()


def test_stopping_leaves_nothing(widget, session, wait):
    widget.compare()
    widget.stop()
    wait(lambda: not widget._machine.busy)
    assert widget.found is None
    assert widget.said.text() == "Stopped; nothing was compared."
    assert widget.start_button.isEnabled()


def test_a_version_whose_file_is_lost_is_told_of(widget, project, wait):
    (project.folder / "versions" / "v002.safetensors").unlink()
    widget.choose("v001", "v002")
    widget.compare()
    wait(lambda: widget._machine.phase is Phase.FAILED)
    assert "v002.safetensors" in widget.said.text()


def test_another_project_clears_what_is_shown_and_a_new_version_is_offered(
    compared, session, project, files, tmp_path, wait
):
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.session import prepare

    compared.layers.show()
    wait(lambda: grid_of(session).owner is not None and not grid_of(session).busy)
    add_version(project, "v003")
    session.set_classifier(project.classifier("v003", device="cpu"))
    assert compared.found is not None
    assert compared.list.count() == 4
    other = Project.create(tmp_path / "other", project.dataset, project.classifier("v001", device="cpu"))
    session.open(prepare(other, other.classifier(device="cpu")))
    assert compared.found is None
    assert compared.result_box.isHidden()
    assert find_layer(session.viewer, CAM_AFTER) is None
    assert compared.hint.text().startswith("There is one version only.")


def test_another_project_stops_a_comparison_of_the_former_one_and_its_versions_go(widget, session, project, tmp_path, wait):
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.session import prepare

    other = Project.create(tmp_path / "other", project.dataset, project.classifier("v001", device="cpu"))
    # Of the same names, and yet others.
    add_version(other, "v001")
    add_version(other, "v002")
    opened = prepare(other, other.classifier(device="cpu"))
    widget.choose("v001", "v002")
    widget.compare()
    session.open(opened)
    assert not widget._machine.busy or widget._machine.phase is Phase.STOPPING
    wait(lambda: not widget._machine.busy)
    assert widget.found is None
    # It is nothing to the project that is open now.
    assert widget.said.text() == ""
    assert widget.chosen == ["v001", "v003"]
    assert widget.start_button.isEnabled()


def test_the_intervals_are_shown_where_there_is_room(make_napari_viewer):
    from napari_cam_feedback.evaluation import Certainty, ComparisonRow, Interval
    from napari_cam_feedback.widgets.parts.comparison_table import ComparisonTable

    # In a window, as in a dock: the window owns it and takes it away.
    table = ComparisonTable(make_napari_viewer(show=True).window._qt_window)
    sure = Certainty(change=Interval(-0.05, 0.25))
    table.show_rows([ComparisonRow("test", "accuracy", 0.5, 0.6, certainty=sure)])
    table.show()
    table.resize(330, table.height())
    assert table.texts()[1] == ("accuracy", "0.500", "0.600", "+0.100 unsure")
    table.resize(520, table.height())
    assert table.texts()[1] == ("accuracy", "0.500", "0.600", "+0.100 unsure", "-0.05…+0.25")
    assert "The interval of the change holds 0, so it may be chance." in table.item(1, 0).toolTip()
    # Without intervals, as after a retune, there is no column for them.
    table.show_rows([ComparisonRow("test", "accuracy", 0.5, 0.6)])
    assert table.texts()[1] == ("accuracy", "0.500", "0.600", "+0.100 better")
