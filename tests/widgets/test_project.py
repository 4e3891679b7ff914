"""Projects in the window: the tree of versions, recent ones, copies, where one stopped, and merging somebody's masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_cam_feedback.feedback import MaskStore
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.projects import Project
from napari_cam_feedback.projects.manifest import Version, now
from napari_cam_feedback.recent import note_project, recent_projects
from napari_cam_feedback.widgets.open.dock import SessionWidget
from napari_cam_feedback.widgets.open.merge_model import SIDES
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.viewer.identity import find_layer, find_layers
from napari_cam_feedback.widgets.viewer.layers import CAM, CONTOUR, MASK

pytest_plugins = ["widget_fixtures"]


@pytest.fixture
def widget(make_napari_viewer_proxy, files):
    viewer = make_napari_viewer_proxy()
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    yield widget
    session_of(viewer).close()


@pytest.fixture
def grown(project: Project) -> Project:
    """The project with two branches, one of which was given up; nobody had to retune for them."""
    more = []
    for name, parent, verdict in (("v002", "v001", "fixed"), ("v003", "v002", "harmed"), ("v004", "v001", "improved")):
        (project.folder / f"versions/{name}.safetensors").write_bytes(project.weights("v001").read_bytes())
        more.append(
            Version(
                id=name,
                parent=parent,
                created=now(),
                origin=f"retuned from {parent}",
                method="auto",
                iterations=40,
                masks=7,
                verdict=verdict,
                settings={"strength": 2.0},
            )
        )
    project._change(lambda state: {"versions": [*state.versions, *more], "current": "v002"}, current="v002")
    return project


@pytest.fixture
def opened(widget, grown, wait):
    """The Session dock with that project open."""
    session = widget._session
    session.open(prepare(grown, grown.classifier(device="cpu")))
    wait(lambda: session.explanation is not None and not session.jobs.running())
    return widget


@pytest.fixture
def low_window(make_napari_viewer, grown, wait):
    """The Session dock in a window too low for it, and what tells whether a part of it is in view."""
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1100, 720)
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Session")
    session = widget._session
    session.open(prepare(grown, grown.classifier(device="cpu")))
    wait(lambda: session.explanation is not None and not session.jobs.running())
    port = widget._area.viewport()

    def seen(part) -> bool:
        top = part.mapTo(port, QPoint(0, 0)).y()
        return part.isVisible() and top >= 0 and top + part.height() <= port.height()

    yield widget, seen
    session.close()


def rows(tree) -> list[tuple[str, ...]]:
    """The tree's rows with their depth."""
    found = []
    for item in tree._items():
        depth, above = 0, item.parent()
        while above is not None:
            depth, above = depth + 1, above.parent()
        found.append((depth, *(item.text(n) for n in range(3))))
    return sorted(found, key=lambda row: row[1])


# Versions ----------------------------------------------------------------------------------------------


def test_the_tree_shows_what_came_from_what_and_how(opened):
    tree = opened.open_view.versions
    assert rows(tree) == [
        (0, "v001", "loaded", ""),
        (1, "v002 ●", "auto", "fixed"),
        (2, "v003", "auto", "harmed"),
        (1, "v004", "auto", "improved"),
    ]
    assert tree.selected == "v002"
    for part in ("auto, 40 iterations, 7 masks", "v001", "fixed", "strength 2.0"):
        assert part in tree.details.text()
    assert not tree.look_button.isEnabled()
    assert not tree.delete_button.isEnabled()
    tree.select("v003")
    assert tree.look_button.isEnabled()
    assert tree.delete_button.isEnabled()


def test_another_version_is_used_from_the_tree(opened, wait):
    session, tree = opened._session, opened.open_view.versions
    tree.select("v004")
    tree.look_button.click()
    wait(lambda: session.project.current.id == "v004" and not session.jobs.running())
    assert opened.open_view.version.currentData() == "v004"
    assert {row[1] for row in rows(tree)} == {"v001", "v002", "v003", "v004 ●"}


def test_a_version_is_deleted_after_a_question_and_stays_in_the_tree(opened, wait, monkeypatch):
    session, tree = opened._session, opened.open_view.versions
    asked, answers = [], [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2]) or answers.pop(0))
    tree.select("v003")
    tree.delete_button.click()
    session.save()
    assert "The weights of v003 (retuned from v002) cannot be brought back." in asked[0]
    assert [v.id for v in session.project.available] == ["v001", "v002", "v003", "v004"]
    tree.delete_button.click()
    wait(lambda: {row[1]: row[2] for row in rows(tree)}["v003"] == "deleted")
    assert [v.id for v in session.project.available] == ["v001", "v002", "v004"]
    assert opened.status.text() == "v003 was deleted."
    tree.select("v003")
    assert not any(b.isEnabled() for b in (tree.look_button, tree.export_button, tree.delete_button))
    combo = opened.open_view.version
    assert [combo.itemData(n) for n in range(combo.count())] == ["v001", "v002", "v004"]


def test_a_version_is_exported_in_the_background(opened, wait, tmp_path):
    session, tree = opened._session, opened.open_view.versions
    tree.export("v001", tmp_path / "m.safetensors")
    wait(lambda: not session.jobs.running("export"))
    wait(lambda: "was written to" in opened.status.text())
    first = session.project.classifier("v001", device="cpu")
    assert load_classifier(tmp_path / "m.safetensors", device="cpu").fingerprint() == first.fingerprint()
    tree.export("v001", tmp_path / "m.h5")
    wait(lambda: opened.error.text())
    assert opened.error.text().startswith("A model cannot be written as m.h5; let its name end in one of")


# Recent ones, copies, where one stopped ----------------------------------------------------------------


def test_projects_opened_before_are_offered_and_gone_ones_cannot_be_chosen(widget, grown, wait, tmp_path):
    note_project(tmp_path / "elsewhere")
    note_project(grown.folder)
    recent = widget.choice.recent
    recent.refresh()
    wait(lambda: recent.count() == 3)
    assert not recent.isHidden()
    assert [recent.itemText(n) for n in (1, 2)] == ["project", "elsewhere (gone)"]
    assert recent.itemData(1, Qt.ItemDataRole.ToolTipRole) == str(grown.folder)
    assert not recent.model().item(2).isEnabled()
    recent.setCurrentIndex(1)
    recent.activated.emit(1)
    assert widget.choice.kind.currentData() == "project"
    assert widget.choice.project.path == grown.folder
    widget.load_button.click()
    wait(lambda: widget._session.project is not None and not widget._session.jobs.running())
    # The one that is open is not offered to be opened again.
    assert [recent.itemText(n) for n in range(recent.count())][1:] == ["elsewhere (gone)"]


def test_opening_a_project_puts_it_on_the_user_s_list(opened, grown, files):
    assert [each.folder for each in recent_projects()] == [grown.folder]
    assert Path.home() == files.project.parent / "home"


def test_without_any_the_list_is_not_shown(widget, wait):
    widget.choice.recent.refresh()
    wait(lambda: not widget._session.jobs.running())
    assert widget.choice.recent.isHidden()


def test_a_project_is_saved_as_another_and_the_work_goes_on_there(opened, wait, tmp_path):
    session, first = opened._session, opened._session.project
    session.layers.get(MASK).data_setitem((np.array([2, 3]), np.array([2, 3])), 1)
    opened.open_view.save_as(tmp_path / "copy")
    wait(lambda: session.project is not first and not session.jobs.running())
    assert session.project.folder == tmp_path / "copy"
    # The stroke of a moment ago is in both.
    assert len(first.masks) == len(session.project.masks) == 1
    assert opened.status.text() == f"You are working on the copy now: {tmp_path / 'copy'}"
    opened.open_view.save_as(first.folder)
    wait(lambda: opened.error.text())
    assert "is not empty; choose a new folder for the copy." in opened.error.text()
    assert session.project.folder == tmp_path / "copy"


def test_what_was_done_is_seen_also_from_below(low_window, wait, tmp_path):
    widget, seen = low_window
    session, view, bar = widget._session, widget.open_view, widget._area.verticalScrollBar()
    view.versions_fold.set_opened(True)
    for act, said in (
        (lambda: view.export_button.export(tmp_path / "m.npz", "npz"), "0 masks were written to"),
        (lambda: view.versions.delete("v003"), "v003 was deleted."),
        (lambda: view.versions.export("v001", tmp_path / "m.safetensors"), "v001 was written to"),
        (lambda: view.save_as(tmp_path / "copy"), "You are working on the copy now"),
    ):
        wait(lambda: bar.maximum() > 0)
        bar.setValue(bar.maximum())
        assert not seen(widget.status)
        act()
        wait(lambda said=said: widget.status.text().startswith(said) and seen(widget.status))
    # Load would open what is open, not what it was copied from.
    assert widget.choice.source().project == session.project.folder == tmp_path / "copy"
    assert widget.choice.source().kind == "project"


def test_a_copy_goes_into_a_new_folder_where_the_chosen_one_is_not_empty(opened, wait, tmp_path, monkeypatch):
    session, view = opened._session, opened.open_view
    (tmp_path / "full" / "project-copy").mkdir(parents=True)
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for chosen, made in (("full", "full/project-copy"), ("empty", "empty")):
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, name=chosen: str(tmp_path / name))
        view.save_button.click()
        wait(lambda made=made: session.project.folder == tmp_path / made and not session.jobs.running())
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    view.save_button.click()
    assert not session.jobs.running()


def test_a_project_opens_where_it_was_left_with_the_same_layers_shown(opened, wait, make_napari_viewer):
    session = opened._session
    session.go_to(4)
    session.set_view(target="true", method="gradcam")
    session.layers.get(CAM).visible = False
    session.save()
    folder = session.project.folder
    assert Project.open(folder).remembered["hidden_layers"] == [CAM]
    viewer = make_napari_viewer()
    again = session_of(viewer)
    project = Project.open(folder)
    again.open(prepare(project, project.classifier(device="cpu")))
    assert (again.index, again.target, again.method) == (4, "true", "gradcam")
    assert {layer.name: layer.visible for layer in viewer.layers} == {"image": True, "CAM": False, "irrelevant": True}
    # Moving on keeps it, and showing it again is kept too.
    again.go_to(5)
    assert not again.layers.get(CAM).visible
    again.layers.get(CAM).visible = True
    again.close()
    assert Project.open(folder).remembered["hidden_layers"] == []


def test_what_is_hidden_in_one_project_is_not_in_the_next(opened, grown, wait, tmp_path):
    session = opened._session
    session.layers.get(CAM).visible = False
    other = Project.create(tmp_path / "other", grown.dataset, load_classifier(grown.weights("v001"), device="cpu"))
    # v002, which is selected in the tree, is not in this one.
    session.open(prepare(other, other.classifier(device="cpu")))
    assert session.layers.get(CAM).visible
    assert [row[1].split()[0] for row in rows(opened.open_view.versions)] == ["v001"]
    session.save()
    assert "hidden_layers" not in Project.open(other.folder).remembered
    assert Project.open(grown.folder).remembered["hidden_layers"] == [CAM]


def test_where_a_project_s_images_are_now_is_asked_and_it_opens(widget, grown, files, wait, tmp_path, monkeypatch):
    moved = files.data.rename(tmp_path / "moved")
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda _, title, text, *rest: asked.append(text) or answers.pop(0))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(moved))
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    widget.choose_project(grown.folder)
    widget.load()
    wait(lambda: widget.error.text())
    assert asked == [f"The images of this project are no longer in {files.data}. Do you want to show where they are now?"]
    assert f"are no longer in {files.data}; put them back, or say where they are now" in widget.error.text()
    widget.load()
    wait(lambda: widget._session.project is not None, 60)
    assert widget._session.dataset.source == moved


def test_the_first_version_may_be_gone_and_the_model_still_opens_its_project(widget, files, grown, wait):
    grown.delete("v001")
    project = Project.open(grown.folder)
    assert project.version("v001").fingerprint is not None
    widget.choose_files(files.model, files.data, grown.folder)
    widget.load_button.click()
    wait(lambda: not widget._session.jobs.running("load"))
    assert widget.error.text() == ""
    assert widget._session.project.current.id == "v002"


# Merging ---------------------------------------------------------------------------------------------


def square(top: int, left: int) -> np.ndarray:
    mask = np.zeros((16, 16), bool)
    mask[top : top + 6, left : left + 6] = True
    return mask


BOTH, THEIRS, BEFORE = "train/cat/01.png", "train/dog/00.png", "train/eel/00.png"


@pytest.fixture
def merging(opened, wait, tmp_path):
    """The panel, after comparing with the masks of Ben."""
    session = opened._session
    store = MaskStore(tmp_path / "ben")
    store.put(BOTH, square(3, 3), author="Ben", time="2030-01-01T10:00:00+00:00")
    store.put(THEIRS, square(0, 0), author="Ben")
    session.project.masks.put(BOTH, square(0, 0), author="Ana", time="2026-01-01T10:00:00+00:00")
    session.project.masks.put(BEFORE, square(5, 5), author="Ana")
    session.autosave.open(session.masks, [BOTH, BEFORE])
    session.go_to(session.dataset.index_of(BEFORE))
    opened.open_view.merge_button.click()
    panel = opened.open_view.merging
    assert not panel.isHidden()
    panel.path.set_path(tmp_path / "ben")
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None and not session.jobs.running())
    return panel


def test_conflicts_are_listed_and_both_masks_are_shown_over_their_image(merging, wait):
    session, panel = merging._session, merging
    assert "only mine 1, only theirs 1, the same 0, different 1" in panel.said.text()
    item = panel.conflicts.topLevelItem(0)
    # 9 pixels of 63 in common.
    assert (item.text(0), item.text(1), item.text(2)) == (BOTH, "0.14", "decide …")
    assert panel.merge_button.text() == "Merge, 1 undecided stays mine"
    panel.select(BOTH)
    wait(lambda: panel.model.shown)
    assert session.key == BOTH
    mine, theirs = (find_layer(session.viewer, role) for role in SIDES)
    assert np.array_equal(mine.data > 0, square(0, 0))
    assert np.array_equal(theirs.data > 0, square(3, 3))
    assert [layer.editable for layer in (mine, theirs)] == [False, False]
    # Yellow over the heatmap could not be told from it.
    assert [session.layers.get(role).visible for role in (MASK, CAM)] == [False, False]
    assert panel.sides.text().splitlines() == [
        "mine: 36 pixels, Ana, 2026-01-01 10:00",
        "theirs: 36 pixels, Ben, 2030-01-01 10:00",
    ]
    before = theirs.data
    panel.model.look(BOTH)
    wait(lambda: theirs.data is not before)
    assert [layer.editable for layer in (mine, theirs)] == [False, False]
    # That the mask is hidden meanwhile is not what the user wants the next time.
    session.save()
    assert session.project.remembered.get("hidden_layers", []) == []
    # Another image has other masks.
    session.go_to(0)
    assert not panel.model.shown
    assert [session.layers.get(role).visible for role in (MASK, CAM)] == [True, True]


def test_what_the_user_had_hidden_stays_hidden_after_looking_at_two_masks(merging, wait):
    session, panel = merging._session, merging
    session.layers.get(CAM).visible = False
    panel.select(BOTH)
    wait(lambda: panel.model.shown)
    session.save()
    assert session.project.remembered["hidden_layers"] == [CAM]
    session.layers.set_look(replace(session.layers.look, contour=50))
    session.go_to(0)
    shown = [session.layers.get(role).visible for role in (MASK, CAM, CONTOUR)]
    assert shown == [True, False, False]


def test_masks_that_do_not_fit_are_listed_and_never_written(opened, wait, tmp_path):
    session, panel = opened._session, opened.open_view.merging
    there = session.project.masks
    there.put(BOTH, square(0, 0))
    session.autosave.open(session.masks, [BOTH])
    store = MaskStore(tmp_path / "ben")
    for key in (BOTH, THEIRS):
        store.put(key, np.ones((8, 8), bool), author="Ben")
    store.put("train/horse/00.png", square(0, 0))
    panel.show()
    panel.path.set_path(tmp_path / "ben")
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None)
    lines = panel.said.text().splitlines()
    assert lines[0] == "No masks were found there that fit the project's images; choose another folder or file."
    assert lines[1] == "train/horse/00.png fits no image of the dataset: no image is called so."
    for line, key in zip(lines[2:], (BOTH, THEIRS), strict=True):
        why = "it is 8x8 pixels and its image 16x16; make it the same size, or ask for it to be resized."
        assert line == f"{key} cannot be used: {why}"
    assert "--" not in panel.said.text()
    assert not panel.merge_button.isEnabled()
    panel.model.merge()
    wait(lambda: panel.model.now is None)
    assert {key: there.size(key) for key in there} == {BOTH: (16, 16)}
    panel.resize_box.setChecked(True)
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None)
    assert "only theirs 1, the same 0, different 1." in panel.said.text()
    assert panel.merge_button.isEnabled()
    panel.merge_button.click()
    wait(lambda: panel.model.now is None)
    assert there[THEIRS].all()
    assert there[THEIRS].shape == (16, 16)
    assert there.info(THEIRS)["author"] == "Ben"


def test_an_empty_folder_has_nothing_to_merge(opened, wait, tmp_path):
    panel = opened.open_view.merging
    (tmp_path / "nothing").mkdir()
    panel.show()
    panel.path.set_path(tmp_path / "nothing")
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None)
    assert panel.said.text().startswith("No masks were found there that fit")
    assert not panel.merge_button.isEnabled()


def test_a_mask_of_mine_of_another_size_can_be_replaced_but_not_joined_and_is_not_drawn(merging, wait):
    session, panel = merging._session, merging
    session.project.masks.put(BOTH, np.ones((8, 8), bool))
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None and panel.model.now.found.conflicts[BOTH].iou is None)
    panel.select(BOTH)
    wait(lambda: panel.model.shown)
    assert [bool(find_layers(session.viewer, role)) for role in SIDES] == [False, True]
    assert "mine: 64 pixels" in panel.sides.text()
    assert "not shown, since it is of another size than its image" in panel.sides.text()
    model = panel.take.model()
    assert [model.item(n).isEnabled() for n in range(6)] == [True, True, True, False, False, True]
    for choice in ("union", "intersection"):
        panel.model.choose(BOTH, choice)
        panel.model.choose_all(choice)
    assert panel.model.now.choices == {}
    panel.model.choose(BOTH, "theirs")
    panel.model.merge()
    wait(lambda: panel.model.now is None and not session.jobs.running())
    assert np.array_equal(session.project.masks[BOTH], square(3, 3))


def test_the_list_of_conflicts_is_scrolled_into_view_and_leaves_room_for_names(low_window, wait, tmp_path, qtbot):
    widget, seen = low_window
    session, store = widget._session, MaskStore(tmp_path / "ben")
    names = [f"train/{name}/0{n}.png" for name in ("cat", "dog", "eel") for n in range(4)]
    for key in names:
        store.put(key, square(3, 3))
        session.masks.put(key, square(0, 0))
    panel = widget.open_view.merging
    panel.show()
    # With all that is folded above it, it lies below what is seen.
    for fold in widget.open_view.findChildren(Fold):
        fold.set_opened(True)
    qtbot.wait(50)
    assert not seen(panel.compare_button)
    panel.path.set_path(tmp_path / "ben")
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None and not session.jobs.running())
    wait(lambda: seen(panel.conflicts))
    panel.model.choose_all("intersection")
    panel._show_choices()
    qtbot.wait(50)
    tree = panel.conflicts
    assert tree.topLevelItem(0).toolTip(2) == "what both have"
    assert tree.columnWidth(0) > tree.fontMetrics().horizontalAdvance(names[0])


@pytest.mark.parametrize(
    ("choice", "expected"), [("theirs", square(3, 3)), ("intersection", square(0, 0) & square(3, 3)), (None, square(0, 0))]
)
def test_their_masks_come_in_and_what_they_replace_is_kept(merging, wait, choice, expected):
    session, panel = merging._session, merging
    panel.select(BOTH)
    wait(lambda: panel.model.shown)
    changed = choice is not None
    if changed:
        panel.take.setCurrentIndex(panel.take.findData(choice))
        panel.take.activated.emit(panel.take.currentIndex())
        assert panel.merge_button.text() == "Merge"
    panel.merge_button.click()
    wait(lambda: panel.model.now is None and not session.jobs.running())
    assert panel.said.text().startswith("2 masks were brought in." if changed else "1 mask was brought in.")
    again = MaskStore(session.project.folder / "masks")
    assert sorted(again) == sorted([BOTH, THEIRS, BEFORE])
    assert np.array_equal(again[BOTH], expected)
    assert again.info(THEIRS)["author"] == "Ben"
    kept = list((session.project.folder / "masks-replaced").glob("*"))
    assert len(kept) == changed
    if changed:
        assert np.array_equal(MaskStore(kept[0])[BOTH], square(0, 0))
        assert "What they replaced is kept in" in panel.said.text()
    # The window shows what is on disk now, and painting goes on from there.
    assert session.painted() == {BOTH, THEIRS, BEFORE}
    layer = session.layers.get(MASK)
    assert layer.visible
    assert layer.editable
    assert np.array_equal(layer.data > 0, expected)
    assert not panel.model.shown
    layer.data_setitem((np.array([15]), np.array([15])), 1)
    session.save()
    assert MaskStore(session.project.folder / "masks")[BOTH][15, 15]


def test_one_choice_for_all(merging):
    panel = merging
    panel.take.setCurrentIndex(panel.take.findData("theirs"))
    panel.all_button.click()
    assert panel.model.now.choices == {BOTH: "theirs"}
    assert panel.conflicts.topLevelItem(0).text(2) == "theirs"


def test_masks_of_another_program_are_brought_in_too(opened, wait, tmp_path):
    session, panel = opened._session, opened.open_view.merging
    np.savez(tmp_path / "m.npz", **{THEIRS: square(0, 0), "horse.png": square(0, 0)})
    panel.show()
    panel.path.set_path(tmp_path / "m.npz")
    panel.compare_button.click()
    wait(lambda: panel.model.now is not None)
    assert "horse.png fits no image of the dataset: no image is called so." in panel.said.text()
    assert panel.conflicts.isHidden()
    panel.merge_button.click()
    wait(lambda: THEIRS in session.painted())
    assert session.project.masks.info(THEIRS)["author"] is None


def test_what_cannot_be_compared_is_one_sentence_in_the_panel(opened, wait, tmp_path):
    panel = opened.open_view.merging
    panel.show()
    panel.compare_button.click()
    assert panel.error.text() == "Choose their masks first: a project, a folder of masks, or a file."
    panel.path.set_path(tmp_path / "nowhere")
    panel.compare_button.click()
    wait(lambda: "There is no file or folder" in panel.error.text())
    assert panel.compare_button.isEnabled()
    assert panel.merge_button.isHidden()


def test_masks_are_written_for_other_programs_in_the_background(opened, wait, tmp_path):
    session, button = opened._session, opened.open_view.export_button
    session.layers.get(MASK).data_setitem((np.array([2, 3]), np.array([2, 3])), 1)
    button.export(tmp_path / "m.npz", "npz")
    wait(lambda: opened.status.text())
    # With the stroke of a moment ago.
    assert opened.status.text() == f"1 mask was written to {tmp_path / 'm.npz'}."
    with np.load(tmp_path / "m.npz") as file:
        assert file[session.key].sum() == 2
    button.export(tmp_path / "m", "png")
    wait(lambda: (tmp_path / "m").is_dir() and not session.jobs.running())
    button.export(tmp_path / "m", "png")
    wait(lambda: "m is not empty; choose a new folder for the masks." in opened.error.text())
    assert button.text() == "Export masks…"


def test_masks_are_exported_into_the_chosen_folder_or_a_new_one_in_it(opened, wait, tmp_path, monkeypatch):
    session, button = opened._session, opened.open_view.export_button
    session.masks.put(BOTH, square(0, 0))
    folder, file = tmp_path / "chosen", tmp_path / "v1.2"
    folder.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    coco, npz, png, tiff = button.kinds.actions()

    def written(path) -> None:
        wait(lambda: opened.status.text() == f"1 mask was written to {path}." and not session.jobs.running())

    png.trigger()
    written(folder)
    assert (folder / f"{BOTH}.png").is_file()
    tiff.trigger()
    written(folder / "project-masks")
    png.trigger()
    written(folder / "project-masks-2")
    coco.trigger()
    written(tmp_path / "v1.2.json")
    npz.trigger()
    written(tmp_path / "v1.2.npz")
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2]) or QMessageBox.StandardButton.No)
    npz.trigger()
    assert "v1.2.npz is there already." in asked[0]
    assert not session.jobs.running()
    folder = session.masks.folder
    png.trigger()
    wait(lambda: "lies among the masks themselves; choose a place outside of" in opened.error.text())
    assert list(MaskStore(folder)) == [BOTH]


def test_closing_the_panel_puts_everything_away(merging, wait):
    session, panel = merging._session, merging
    panel.select(BOTH)
    wait(lambda: panel.model.shown)
    panel.close_button.click()
    assert panel.isHidden()
    assert panel.model.now is None
    assert [layer.name for layer in session.viewer.layers] == ["image", "CAM", "irrelevant"]
    assert session.layers.get(MASK).visible
    assert np.array_equal(session.project.masks[BOTH], square(0, 0))
