"""Forms made from a pydantic model, in which nothing is written for a single setting."""

from __future__ import annotations

from typing import Literal

import pytest
from napari._qt.qt_resources import get_current_stylesheet
from pydantic import BaseModel, Field
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QAccessible, QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QCheckBox, QComboBox, QLabel, QSpinBox

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.explanations import ConceptTestConfig
from napari_cam_feedback.retuning import RetuneConfig
from napari_cam_feedback.training import TrainConfig
from napari_cam_feedback.widgets.parts.basics import ChoiceBox
from napari_cam_feedback.widgets.parts.config_form import ConfigForm
from napari_cam_feedback.widgets.retune.settings import COMMON_SETTINGS


class Settings(BaseModel):
    """A setting of each kind, which no form was written for."""

    whole: int = Field(3, title="Whole", description="A whole number.")
    above: int = Field(1, gt=0, lt=10)
    real: float = Field(0.5, gt=0, lt=1)
    late: int | None = Field(None, ge=10)
    share: float | None = None
    kind: Literal["a", "b c"] = "b c"
    level: Literal[1, 3] = 3
    on: bool = True
    maybe: bool | None = None
    name: str = "x"
    names: tuple[str, ...] = ("p", "q")


def test_a_setting_of_each_kind_has_an_editor_with_its_title_tip_bounds_and_default(qtbot):
    form = ConfigForm(Settings)
    qtbot.addWidget(form)
    assert form.config() == Settings()
    whole, above, real = (form.editor(name) for name in ("whole", "above", "real"))
    assert whole.toolTip() == "A whole number."
    assert (whole.minimum(), whole.maximum()) == (-(10**9), 10**9)
    assert (above.minimum(), above.maximum()) == (1, 9)
    assert 0 < real.minimum() < 1e-9
    assert 1 - 1e-9 < real.maximum() < 1
    assert [form.editor("level").itemData(n) for n in range(2)] == [1, 3]
    values = {"whole": 123_456, "real": 1e-5, "share": 5e6, "late": 77, "kind": "a", "level": 1, "on": False, "maybe": True}
    values |= {"name": " y", "names": ("r",), "above": 9}
    form.set_values(values)
    assert form.values() == values
    assert form.config() == Settings(**values)


@pytest.mark.parametrize("model", [Settings, RetuneConfig, TrainConfig, ConceptTestConfig])
def test_each_editor_is_called_by_its_title_and_tells_of_a_change(qtbot, model):
    form = ConfigForm(model)
    qtbot.addWidget(form)
    for name, field in model.model_fields.items():
        title = field.title or name.capitalize()
        labels = [label for label in form.findChildren(QLabel) if label.buddy() is form.editor(name)]
        assert [label.text() for label in labels] == [title]
        assert labels[0].toolTip() == form.editor(name).toolTip() == (field.description or "")
        if isinstance(form.editor(name), QAbstractSpinBox | QCheckBox):
            assert QAccessible.queryAccessibleInterface(form.editor(name)).text(QAccessible.Text.Name) == title
        for box in form.editor(name).findChildren(QCheckBox):
            assert box.text()
            with qtbot.waitSignal(form.changed, timeout=1000):
                box.toggle()


def test_a_number_without_auto_begins_within_its_bounds(qtbot):
    form = ConfigForm(Settings)
    qtbot.addWidget(form)
    for name in ("late", "share"):
        form.editor(name).findChild(QCheckBox).setChecked(False)
    assert (form.config().late, form.config().share) == (10, 1)


def test_who_scrolls_over_a_form_changes_no_setting_and_what_the_form_lies_in_scrolls(qtbot):
    form = ConfigForm(Settings)
    qtbot.addWidget(form)
    other = ChoiceBox()
    other.addItems(["a", "b", "c"])
    form.layout().addWidget(other)
    form.show()
    qtbot.waitExposed(form)
    before = form.values(), other.currentIndex()
    editors = [*form.findChildren(QComboBox), *form.findChildren(QAbstractSpinBox)]
    assert {*editors} >= {other, form.editor("kind"), form.editor("whole"), form.editor("real")}
    for editor in editors:
        assert not turned(editor).isAccepted()
        assert editor.focusPolicy() == Qt.FocusPolicy.StrongFocus
    assert (form.values(), other.currentIndex()) == before
    form.activateWindow()
    form.editor("whole").setFocus()
    qtbot.waitUntil(form.editor("whole").hasFocus)
    assert turned(form.editor("whole")).isAccepted()
    assert form.config().whole < Settings().whole


def turned(editor):
    """A turn of the wheel over an editor, as it leaves it."""
    middle = editor.rect().center()
    turn = QWheelEvent(
        QPointF(middle),
        QPointF(editor.mapToGlobal(middle)),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(editor, turn)
    return turn


def test_the_setting_that_an_error_names_is_unfolded_and_has_the_cursor(qtbot):
    form = ConfigForm(Settings, common=("whole",))
    qtbot.addWidget(form)
    form.show()
    qtbot.waitExposed(form)
    for name in ("late", "kind", "names"):
        form.more.set_opened(False)
        form.reveal([name])
        assert form.more.opened
        field = form.editor(name).focusProxy() or form.editor(name)
        assert form.focusWidget() is field
        assert field.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_what_the_model_refuses_names_the_setting(qtbot):
    class Even(Settings):
        whole: Literal[2] = Field(2, title="Even")

    form = ConfigForm(Even)
    qtbot.addWidget(form)
    with pytest.raises(ConfigError, match=r"Even: .*; change that setting") as caught:
        form.config(whole=3)
    assert caught.value.fields == ("whole",)


def test_the_form_offers_every_setting_with_its_title_bounds_and_default(qtbot):
    form = ConfigForm(RetuneConfig, common=("iterations", "seed"), skip=("method",))
    qtbot.addWidget(form)
    assert set(form.names) == set(RetuneConfig.model_fields) - {"method"}
    assert form.config() == RetuneConfig()
    # One that may be left to the program, and one that may not.
    iterations, seed = form.editor("iterations"), form.editor("seed")
    spin = iterations.findChild(QSpinBox)
    assert (spin.minimum(), spin.maximum()) == (1, 100_000)
    assert isinstance(seed, QSpinBox)
    assert (seed.minimum(), seed.maximum()) == (0, 2**31 - 1)
    assert seed.toolTip() == RetuneConfig.model_fields["seed"].description
    assert not form.more.isAncestorOf(iterations)
    assert form.more.isAncestorOf(form.editor("learning_rate"))
    assert not form.more.opened


def test_who_unticks_auto_begins_with_a_number_of_use_and_sees_it_whole_in_a_narrow_dock(qtbot):
    form = ConfigForm(RetuneConfig, common=COMMON_SETTINGS, skip=("method",))
    qtbot.addWidget(form)
    form.setStyleSheet(get_current_stylesheet())
    form.more.set_opened(True)
    form.resize(316, 600)
    form.show()
    begun = {}
    for name in (
        "iterations",
        "learning_rate",
        "batch_size",
        "painted_per_step",
        "check_every",
        "patience",
        "strength",
    ):
        editor = form.editor(name)
        box, spin = editor.findChild(QCheckBox), editor.findChild(QAbstractSpinBox)
        box.setChecked(False)
        begun[name] = spin.value()
        editor.layout().activate()
        assert box.width() >= box.sizeHint().width()
        assert spin.geometry().right() < editor.width()
        assert editor.geometry().right() < form.width()
        assert spin.width() >= 80
    assert begun.pop("learning_rate") == pytest.approx(1e-4)
    assert begun.pop("patience") == 2
    assert begun == {"iterations": 100, "batch_size": 32, "painted_per_step": 8, "check_every": 15, "strength": 1}


def test_the_form_gives_back_what_is_put_in(qtbot):
    form = ConfigForm(RetuneConfig, skip=("method",))
    qtbot.addWidget(form)
    values = {"iterations": 7, "learning_rate": 2.5e-4, "strength": 3.0, "freeze_batch_norm": False, "fill": "noise"}
    form.set_values(values)
    config = form.config(method="pasa")
    assert {name: getattr(config, name) for name in values} == pytest.approx(values)
    assert config.method == "pasa"
    form.set_values({"strength": None})
    assert form.config().strength is None
    assert "0.00025" in form.editor("learning_rate").findChild(QAbstractSpinBox).text()


def test_what_is_yes_no_or_auto_has_three_states(qtbot):
    form = ConfigForm(RetuneConfig, skip=("method",))
    qtbot.addWidget(form)
    automatic, on = form.editor("distillation").findChildren(QCheckBox)
    assert (automatic.text(), automatic.isChecked(), on.isHidden()) == ("auto", True, True)
    assert form.config().distillation is None
    automatic.setChecked(False)
    assert (on.text(), on.isHidden()) == ("yes", False)
    assert form.config().distillation is False
    on.setChecked(True)
    assert form.config().distillation is True


def test_the_form_edits_names_and_a_file(qtbot):
    form = ConfigForm(RetuneConfig, skip=("method",))
    qtbot.addWidget(form)
    assert form.config().freeze == ()
    form.editor("freeze").setText(" features.0, layer1 ,")
    form.editor("inpainter").edit.setText("/somewhere/filler.pt2")
    config = form.config()
    assert config.freeze == ("features.0", "layer1")
    assert config.inpainter == "/somewhere/filler.pt2"
    form.set_values({"freeze": ("a", "b.c"), "inpainter": None})
    assert form.editor("freeze").text() == "a, b.c"
    assert form.config().inpainter is None
