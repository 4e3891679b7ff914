"""The leading dock: it always says where one is and what is sensible next, and every step can be reached."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_cam_feedback.retuning import ValidationMetrics
from napari_cam_feedback.retuning.images.masked_set import MIN_IMAGES_TO_HOLD_OUT
from napari_cam_feedback.widgets.session.session import prepare, session_of
from napari_cam_feedback.widgets.steps.standing import ENOUGH, Act, Standing, next_step, titles
from napari_cam_feedback.widgets.viewer import shortcuts
from napari_cam_feedback.widgets.viewer.docks import COMPARE, LEADING, LOOK, OPEN, PAINT, RETUNE, STEPS, open_dock
from napari_cam_feedback.widgets.viewer.layers import CAM, MASK

pytest_plugins = ["widget_fixtures"]


def acts(now: Standing) -> list[Act]:
    return [act for _, act in next_step(now).buttons]


def test_what_is_sensible_next_follows_from_where_the_user_stands():
    assert acts(Standing()) == [Act.LOAD]
    # Where something is missing, any page says so, with the button that mends it.
    for step in (LOOK, PAINT, RETUNE, COMPARE):
        assert acts(Standing(step=step)) == [Act.OPEN]
        assert "Nothing is open" in next_step(Standing(step=step)).sentence
    assert acts(Standing(OPEN, opened=True)) == [Act.LOOK]
    assert acts(Standing(LOOK, opened=True, looked=True)) == [Act.SUGGEST]
    assert acts(Standing(RETUNE, opened=True)) == [Act.SUGGEST]
    assert acts(Standing(LOOK, opened=True, looked=True, best="a.png")) == [Act.PAINT_BEST]
    assert "a.png" in next_step(Standing(LOOK, opened=True, looked=True, best="a.png")).sentence
    assert acts(Standing(PAINT, opened=True, painted=3, best="a.png")) == [Act.PAINT_BEST, Act.PROPOSE]
    assert acts(Standing(PAINT, opened=True, painted=3, proposals=9))[0] is Act.ANSWER
    assert acts(Standing(RETUNE, opened=True, painted=1, best="a.png"))[0] is Act.RETUNE
    assert acts(Standing(PAINT, opened=True, painted=ENOUGH))[0] is Act.RETUNE
    assert acts(Standing(LOOK, opened=True, painted=ENOUGH, retuning="")) == [Act.WATCH]
    assert acts(Standing(LOOK, opened=True, painted=ENOUGH, result="fixed")) == [Act.RESULT]
    decided = Standing(COMPARE, opened=True, painted=ENOUGH, decided="Kept as v002.", versions=2)
    assert acts(decided) == [Act.SUGGEST]
    assert "Kept as v002." in next_step(decided).sentence


def test_test_images_are_not_counted_and_it_is_said():
    now = Standing(PAINT, opened=True, painted=2, unused=1)
    assert titles(now)[PAINT] == f"Paint 2/{ENOUGH}"
    assert "1 more will not be learnt from" in next_step(now).sentence


def test_enough_is_from_where_on_images_are_held_out():
    assert ENOUGH == MIN_IMAGES_TO_HOLD_OUT


@pytest.fixture
def leading(make_napari_viewer, project, wait):
    """The leading dock in a window, with a project open."""
    viewer = make_napari_viewer(show=True)
    session = session_of(viewer)
    widget = open_dock(viewer, LEADING)
    session.open(prepare(project, project.classifier(device="cpu")))
    wait(lambda: session.explanation is not None and not session.jobs.running())
    yield widget
    session.close()


def put_masks(session, count):
    for index in session.dataset.learnable()[:count]:
        session.put_mask(session.dataset.keys[int(index)], np.eye(16, dtype=bool))


def test_every_step_is_a_click_or_a_key_away(leading, qtbot):
    for step in STEPS:
        leading.strip.buttons[step].click()
        assert leading.step == step
        assert leading.pages[step].isVisible()
        assert leading.strip.buttons[step].isChecked()
    leading.activateWindow()
    for number, step in enumerate(STEPS):
        qtbot.keyClick(leading, str(number + 1), Qt.KeyboardModifier.AltModifier)
        assert leading.step == step


def test_every_shortcut_is_shown_and_bound_in_the_canvas(leading):
    session = leading._session
    viewer = session.viewer
    for shortcut in (*shortcuts.SHORTCUTS, *shortcuts.NAPARIS):
        assert f"<b>{shortcut.key}</b>" in shortcuts.table()
        assert shortcut.text in shortcuts.table()
    keymap = {str(key): function for key, function in viewer.keymap.items()}
    first = session.key
    keymap["."](viewer)
    assert session.key != first
    keymap[","](viewer)
    assert session.key == first
    keymap["H"](viewer)
    assert not session.layers.get(CAM).visible
    keymap["T"](viewer)
    assert session.target == "true"
    keymap["P"](viewer)
    assert session.layers.get(MASK).mode == "paint"
    keymap["Alt+4"](viewer)
    assert leading.step == RETUNE


def test_one_button_after_the_other_leads_from_nothing_painted_to_a_decision(leading, wait, monkeypatch):
    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))
    session = leading._session
    leading.next_line.press()
    assert leading.step == LOOK
    leading.next_line.press()
    # The best image, ready to paint.
    wait(lambda: leading.paint.suggest.model.found is not None and not session.jobs.running())
    assert leading.step == PAINT
    assert session.key == leading.paint.suggest.model.found.suggestions.items[0].key
    assert session.layers.get(MASK).mode == "paint"
    put_masks(session, 3)
    wait(lambda: leading.strip.buttons[PAINT].text() == "Paint 3/10")
    put_masks(session, ENOUGH)
    wait(lambda: leading.next_line.buttons[0].text() == "Start retune")
    leading.retune.choice.build()
    leading.retune.choice.form.set_values({"iterations": 4, "check_every": 2, "learning_rate": 1e-3})
    leading.next_line.press()
    assert leading.step == RETUNE
    # What came of it is shown by itself, with the decision.
    wait(lambda: leading.step == COMPARE, 120)
    assert leading.retune.keep_button.isVisible()
    wait(lambda: leading.strip.buttons[COMPARE].text() == "Compare !")
    wait(lambda: not session.jobs.running(), 60)
    leading.retune.keep_button.click()
    wait(lambda: "Kept as v002" in leading.next_line.sentence.text())


def test_painting_a_test_image_says_that_it_will_not_be_learnt_from(leading):
    session = leading._session
    session.go_to(int(session.dataset.indices("test")[0]))
    leading.show_step(PAINT)
    assert "It will not be learnt from" in leading.paint.mask_row.status.text()
    session.go_to(int(session.dataset.indices("train")[0]))
    assert "learnt from" not in leading.paint.mask_row.status.text()


def test_a_coarse_map_is_drawn_as_its_cells_and_a_finer_layer_is_one_click_away(leading, wait):
    session = leading._session
    leading.show_step(LOOK)
    cam = session.layers.get(CAM)
    # 4x4 places of 4x4 pixels, each flat.
    assert session.explanation.raw.shape == (4, 4)
    assert cam.interpolation2d == "nearest"
    blocks = cam.data.reshape(4, 4, 4, 4)
    inner = blocks[:, 1:3, :, 1:3]
    assert np.allclose(inner, inner[:, :1, :, :1], atol=1e-5)
    assert leading.look.item.finer_button.text() == "4x4 places; finer: features.3"
    leading.look.item.finer_button.click()
    wait(lambda: session.classifier.target_layer == "features.3" and session.explanation is not None)
    wait(lambda: not leading.look.item.finer_button.isVisible())
    assert session.layers.get(CAM).interpolation2d == "linear"


def test_a_wrong_preprocessing_is_mended_by_a_button_in_the_same_project(make_napari_viewer, tmp_path, wait, monkeypatch):
    from dataclasses import replace

    from napari_cam_feedback.data import Preprocessing
    from napari_cam_feedback.models import load_classifier, save_classifier
    from napari_cam_feedback.sample_models import sample_steps
    from napari_cam_feedback.steps import run_to_end

    monkeypatch.setenv("NAPARI_CAM_FEEDBACK_STATE", str(tmp_path / "state"))
    data, model = run_to_end(sample_steps("tag-digits", tmp_path / "sample"))
    right = load_classifier(model, device="cpu")
    values = {**right.preprocessing.model_dump(), "mean": (0.9,), "std": (0.1,)}
    save_classifier(replace(right, preprocessing=Preprocessing(**values)), model)
    viewer = make_napari_viewer(show=True)
    session, widget = session_of(viewer), open_dock(viewer, LEADING)
    widget.open.choose_files(model, data, tmp_path / "project")
    widget.open.load()
    look = widget.open.open_view.look
    wait(lambda: look.look is not None, 120)
    assert look.look.doubt is not None
    button = look.buttons.itemAt(0).widget()
    assert button.text().startswith("Use mean ")
    project = session.project
    button.click()
    wait(lambda: session.project.current.id == "v002" and look.look is not None and look.look.doubt is None, 120)
    assert session.project is project
    assert project.current.origin.startswith("v001 with mean ")
    # What was read is said at a glance.
    text = widget.open.open_view.summary.read.text()
    assert "train 1000" in text
    assert "labelled images that were looked at are right" in text
    session.close()


@pytest.mark.lengthy
def test_six_keys_lead_from_an_empty_window_to_a_verdict(make_napari_viewer, tmp_path, wait, monkeypatch, qtbot):
    """On a sample, without the mouse: the first heatmap after one press, the verdict after six; each is a click, too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("NAPARI_CAM_FEEDBACK_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(ValidationMetrics, "score", property(lambda check: float(check.iteration)))
    viewer = make_napari_viewer(show=True)
    session, leading = session_of(viewer), open_dock(viewer, LEADING)
    alt, shift = Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ShiftModifier

    def press(key, modifier=alt):
        leading.refresh()
        qtbot.keyClick(leading.pages[leading.step], key, modifier)

    def idle():
        return not session.jobs.running()

    press("n")
    wait(lambda: session.explanation is not None, 120)
    wait(idle)
    press("n")
    assert leading.step == LOOK
    wait(idle)
    press("n")
    wait(lambda: leading.paint.suggest.model.found is not None and session.explanation is not None and idle(), 120)
    assert leading.step == PAINT
    # The hot region of the heatmap is the code in the corner.
    qtbot.keyClick(leading.paint.tools, Qt.Key.Key_G, shift)
    wait(lambda: leading._painted[0] == 1)
    assert session.dataset.known_mask(session.index)[session.current_mask()].any()
    press("4")
    assert leading.step == RETUNE
    # A run as short as a test should be; the settings are those of the page.
    leading.retune.choice.build()
    leading.retune.choice.form.set_values({"iterations": 4, "check_every": 2, "learning_rate": 1e-3})
    press("n")
    wait(lambda: leading.step == COMPARE and leading.retune.pending, 240)
    assert leading.retune.verdict_label.text()
    session.close()


def test_a_sample_that_is_not_loaded_leaves_no_dark_layer(leading, wait, monkeypatch):
    from napari_cam_feedback.widgets.open import dock

    session = leading._session
    monkeypatch.setattr(dock, "losses_of_leaving", lambda _: ["A retune is still running."])
    monkeypatch.setattr(dock, "may_leave", lambda *_: False)
    before = list(session.viewer.layers)
    session.viewer.open_sample("napari-cam-feedback", "tag-digits")
    wait(lambda: list(session.viewer.layers) == before)
