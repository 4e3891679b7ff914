"""A form built from a pydantic model: one labelled editor a field, bounds and tooltips taken from the model."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.widgets.parts.basics import tight
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.path_field import PathField

_NO_BOUND = 10**9


class _NoStrayWheel:
    """A wheel turn over an unfocused editor scrolls the dock instead of changing a setting unseen."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():  # type: ignore[attr-defined]
            super().wheelEvent(event)  # type: ignore[misc]
        else:
            event.ignore()


class _IntBox(_NoStrayWheel, QSpinBox):
    pass


class ChoiceBox(_NoStrayWheel, QComboBox):
    """A combo box that keeps its choice when the dock is scrolled over it."""


class _FloatBox(_NoStrayWheel, QDoubleSpinBox):
    """A spin box for numbers of any size: ``0.0001`` stays readable and one step is a tenth of the value."""

    def textFromValue(self, value: float) -> str:
        return f"{value:g}"

    def valueFromText(self, text: str) -> float:
        try:
            return float(text.strip().replace(",", "."))
        except ValueError:
            return self.value()

    def validate(self, text: str, position: int) -> Any:
        from qtpy.QtGui import QValidator

        state = QValidator.State.Intermediate
        try:
            value = float(text.strip().replace(",", "."))
        except ValueError:
            return state, text, position
        if self.minimum() <= value <= self.maximum():
            state = QValidator.State.Acceptable
        return state, text, position


class _Editor:
    """One field's widget with the functions that read and set its value."""

    def __init__(self, widget: QWidget, get: Callable[[], Any], put: Callable[[Any], None], changed: Any):
        self.widget, self.get, self.put, self.changed = widget, get, put, changed


def _bounds(field: FieldInfo) -> tuple[float | None, float | None, bool, bool]:
    """Return (low, high, low is excluded, high is excluded) of a numeric field."""
    low = high = None
    low_open = high_open = False
    for rule in field.metadata:
        for name in ("ge", "gt"):
            if (value := getattr(rule, name, None)) is not None:
                low, low_open = value, name == "gt"
        for name in ("le", "lt"):
            if (value := getattr(rule, name, None)) is not None:
                high, high_open = value, name == "lt"
    return low, high, low_open, high_open


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return (the type without None, whether None is allowed)."""
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        optional = len(parts) < len(get_args(annotation))
        # int | float is edited as a float.
        return (float if set(parts) == {int, float} else parts[0]), optional
    return annotation, False


def _choice_editor(choices: Sequence[Any]) -> _Editor:
    box = ChoiceBox()
    for choice in choices:
        box.addItem(str(getattr(choice, "value", choice)), choice)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return _Editor(box, box.currentData, lambda value: box.setCurrentIndex(box.findData(value)), box.currentIndexChanged)


def _number_editor(kind: type, field: FieldInfo) -> _Editor:
    low, high, low_open, high_open = _bounds(field)
    box: QSpinBox | QDoubleSpinBox
    if kind is int:
        box = _IntBox()
        box.setRange(
            -_NO_BOUND if low is None else int(low) + low_open, _NO_BOUND if high is None else int(high) - high_open
        )
    else:
        box = _FloatBox()
        box.setDecimals(12)
        tiny = 1e-12
        box.setRange(
            -1e15 if low is None else float(low) + tiny * low_open, 1e15 if high is None else float(high) - tiny * high_open
        )
    box.setStepType(QSpinBox.StepType.AdaptiveDecimalStepType)
    box.setKeyboardTracking(False)
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return _Editor(box, box.value, box.setValue, box.valueChanged)


def _text_editor() -> _Editor:
    line = QLineEdit()
    return _Editor(line, line.text, lambda value: line.setText(str(value)), line.textChanged)


def _names_editor() -> _Editor:
    """One line for any number of names."""
    line = QLineEdit()
    line.setPlaceholderText("none; several with commas between")

    def get() -> tuple[str, ...]:
        return tuple(name for part in line.text().split(",") if (name := part.strip()))

    return _Editor(line, get, lambda names: line.setText(", ".join(names)), line.textChanged)


def _file_editor(files: str) -> _Editor:
    """A path; None while there is none."""
    field = PathField(files=files, hint="none")
    return _Editor(field, lambda: field.text or None, lambda path: field.set_path(path or ""), field.edit.textChanged)


def extras(field: FieldInfo) -> Mapping[str, Any]:
    """Return what a field's `json_schema_extra` says; empty where it says nothing."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _plain_editor(annotation: Any, field: FieldInfo) -> _Editor | None:
    """Return the editor of one type; None for a type that a form cannot edit (its default holds)."""
    if get_origin(annotation) is Literal:
        return _choice_editor(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choice_editor(list(annotation))
    if annotation is bool:
        box = QCheckBox()
        return _Editor(box, box.isChecked, lambda value: box.setChecked(bool(value)), box.toggled)
    if get_origin(annotation) is tuple and get_args(annotation) == (str, ...):
        return _names_editor()
    if annotation in (int, float):
        return _number_editor(annotation, field)
    return _text_editor() if annotation is str else None


def _optional_editor(inner: _Editor, field: FieldInfo) -> _Editor:
    """Wrap an editor: while the box "auto" is ticked, the value is None and the editor hidden.

    Where the user unticks it, the editor begins with what the field's `json_schema_extra` says under ``begin``, 1 where it
    says nothing.
    """
    holder = QWidget()
    row = tight(QHBoxLayout(holder))
    # A longer word leaves no room for a number in a dock as narrow as ours.
    automatic = QCheckBox("auto")
    automatic.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
    row.addWidget(automatic)
    row.addWidget(inner.widget, 1)
    if isinstance(inner.widget, (QSpinBox, QDoubleSpinBox)):
        # The lowest allowed value would be of no use.
        inner.put(extras(field).get("begin", 1))
    if isinstance(inner.widget, QCheckBox):
        # Two boxes side by side, of which only the first had a name.
        inner.widget.setText("yes")
    inner.widget.hide()
    automatic.toggled.connect(lambda on: inner.widget.setVisible(not on))
    automatic.setChecked(True)

    def put(value: Any) -> None:
        automatic.setChecked(value is None)
        if value is not None:
            inner.put(value)

    def get() -> Any:
        return None if automatic.isChecked() else inner.get()

    return _Editor(holder, get, put, (automatic.toggled, inner.changed))


class ConfigForm(QWidget):
    """Editors for the fields of a pydantic model.

    Parameters
    ----------
    model : type of pydantic.BaseModel
        Its titles become labels, its descriptions tooltips, its bounds and choices those of the editors.
    common : sequence of str
        Fields shown at once; the others lie under a folded "More settings".
    skip : sequence of str
        Fields that have no editor here (their defaults, or what :meth:`config` is given, hold).
    """

    changed = Signal()

    def __init__(
        self, model: type[BaseModel], common: Sequence[str] = (), skip: Sequence[str] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model = model
        self._editors: dict[str, _Editor] = {}
        self._labels: dict[str, QWidget] = {}
        layout = tight(QVBoxLayout(self), 2)
        first, rest = self._form(), self._form()
        for name, field in model.model_fields.items():
            if name in skip:
                continue
            target = first if name in common or not common else rest
            self._add_row(target, name, field)
        layout.addLayout(first)
        holder = QWidget()
        holder.setLayout(rest)
        self.more = Fold("More settings", holder)
        self.more.setVisible(rest.rowCount() > 0)
        layout.addWidget(self.more)
        self.reset()

    @staticmethod
    def _form() -> QFormLayout:
        form = tight(QFormLayout())
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        return form

    def _add_row(self, form: QFormLayout, name: str, field: FieldInfo) -> None:
        annotation, optional = _without_none(field.annotation)
        files = extras(field).get("file")
        editor = _file_editor(files) if files else _plain_editor(annotation, field)
        if editor is None:
            return
        if optional and not files:
            editor = _optional_editor(editor, field)
        editor.widget.setMinimumWidth(60)
        editor.widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        editor.widget.setToolTip(field.description or "")
        editor.widget.setObjectName(name)
        signals = editor.changed if isinstance(editor.changed, tuple) else (editor.changed,)
        for signal in signals:
            signal.connect(self._on_changed)
        self._editors[name] = editor
        title = field.title or name.replace("_", " ").capitalize()
        form.addRow(title, editor.widget)
        label = form.labelForField(editor.widget)
        label.setToolTip(field.description or "")
        self._labels[name] = label

    def _on_changed(self, *_: Any) -> None:
        self.changed.emit()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields that have an editor."""
        return tuple(self._editors)

    def editor(self, name: str) -> QWidget:
        """Return the widget that edits one field."""
        return self._editors[name].widget

    def reveal(self, names: Sequence[str]) -> None:
        """Put the cursor into the first of these settings that has an editor, unfolding where it is; nothing without."""
        editor = next((self._editors[name].widget for name in names if name in self._editors), None)
        if editor is not None:
            if self.more.content.isAncestorOf(editor):
                self.more.set_opened(True)
            editor.setFocus(Qt.FocusReason.OtherFocusReason)

    def set_row_visible(self, name: str, visible: bool) -> None:
        """Show or hide one field, label included."""
        self._editors[name].widget.setVisible(visible)
        self._labels[name].setVisible(visible)

    def default(self, name: str) -> Any:
        """Return a field's default."""
        return self._model.model_fields[name].get_default(call_default_factory=True)

    def values(self) -> dict[str, Any]:
        """Return what the editors hold now."""
        return {name: editor.get() for name, editor in self._editors.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Put values into the editors; names without an editor are ignored."""
        for name, value in values.items():
            if name in self._editors:
                self._editors[name].put(value)

    def reset(self) -> None:
        """Put the model's defaults into the editors."""
        for name, field in self._model.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if name in self._editors and default is not PydanticUndefined:
                self._editors[name].put(default)

    def config(self, **fixed: Any) -> Any:
        """Return the model made of the editors' values.

        Parameters
        ----------
        **fixed
            Values of fields that have no editor here.

        Raises
        ------
        ConfigError
            The model refuses a value; the sentence names the field.
        """
        try:
            return self._model(**{**self.values(), **fixed})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "The settings"
            field = self._model.model_fields.get(name)
            title = (field.title if field else None) or name
            raise ConfigError(f"{title}: {first['msg']}; change that setting.", field=name) from error
