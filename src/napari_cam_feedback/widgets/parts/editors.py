"""Editors of single settings: magicgui makes them from a field of a pydantic model, its type, bounds and choices."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args

from magicgui.backends._qtpy.widgets import QBaseRangedWidget
from magicgui.type_map import TypeMap
from magicgui.types import Undefined
from magicgui.widgets import CheckBox, LineEdit
from magicgui.widgets.bases import RangedWidget
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_cam_feedback.widgets.parts.basics import keep_when_scrolled, tight
from napari_cam_feedback.widgets.parts.path_field import PathField

_NO_BOUND = 10**9


class _FloatBox(QDoubleSpinBox):
    """A spin box for numbers of any size: ``0.0001`` stays readable and one step is a tenth of the value."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setDecimals(12)

    def textFromValue(self, value: float) -> str:
        return f"{value:g}"

    def valueFromText(self, text: str) -> float:
        try:
            return float(text.strip().replace(",", "."))
        except ValueError:
            return self.value()

    def validate(self, text: str, position: int) -> Any:
        try:
            allowed = self.minimum() <= float(text.strip().replace(",", ".")) <= self.maximum()
        except ValueError:
            allowed = False
        return QValidator.State.Acceptable if allowed else QValidator.State.Intermediate, text, position


class _Float(RangedWidget[Any]):
    """A number; magicgui's own shows two decimals, and ends at 999 where a field has no bounds."""

    box: type[QAbstractSpinBox] = _FloatBox

    def __init__(self, value: Any = Undefined, **options: Any) -> None:
        super().__init__(value, widget_type=QBaseRangedWidget, backend_kwargs={"qwidg": self.box}, **options)
        self.native.setKeyboardTracking(False)


class _Whole(_Float):
    box = QSpinBox


class _Names(LineEdit):
    """One line for any number of names, where magicgui has a line and buttons for each."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.native.setPlaceholderText("none; several with commas between")

    def get_value(self) -> Any:
        return tuple(name for part in super().get_value().split(",") if (name := part.strip()))

    def set_value(self, value: Any) -> None:
        super().set_value(", ".join(value))


class _File(PathField):
    """A file's path, None while there is none; it is asked as magicgui's widgets are."""

    def __init__(self, files: str) -> None:
        super().__init__(files=files, hint="none")
        self.native, self.changed = self, self.edit.textChanged

    @property
    def value(self) -> str | None:
        """The path."""
        return self.text or None

    @value.setter
    def value(self, path: str | None) -> None:
        self.set_path(path or "")


class _Automatic(QWidget):
    """An editor and the box "auto": while that is ticked, the value is None and the editor hidden.

    It is asked as magicgui's widgets are; a container of magicgui's takes three times as long to make.
    """

    changed = Signal()

    def __init__(self, editor: Any, begin: float) -> None:
        super().__init__()
        self.native, self._editor = self, editor
        # A longer word leaves no room for a number in a dock as narrow as ours.
        self._auto = QCheckBox("auto")
        self._auto.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.setFocusProxy(self._auto)
        row = tight(QHBoxLayout(self))
        row.addWidget(self._auto)
        row.addWidget(editor.native, 1)
        if isinstance(editor, _Float):
            editor.value = begin
        elif isinstance(editor, CheckBox):
            # Two boxes side by side, of which only the first had a name.
            editor.text = "yes"
        self._auto.toggled.connect(lambda on: editor.native.setVisible(not on))
        self._auto.setChecked(True)
        self._auto.toggled.connect(self.changed)
        editor.changed.connect(lambda *_: self.changed.emit())

    @property
    def value(self) -> Any:
        """What the editor holds, None while the box is ticked."""
        return None if self._auto.isChecked() else self._editor.value

    @value.setter
    def value(self, value: Any) -> None:
        self._auto.setChecked(value is None)
        if value is not None:
            self._editor.value = value


#: Of our own, as the one that all plugins share may say something else of these types.
_KINDS = TypeMap(type_defs={bool: (CheckBox, {}), int: (_Whole, {}), float: (_Float, {}), tuple[str, ...]: (_Names, {})})


def extras(field: FieldInfo) -> Mapping[str, Any]:
    """Return what a field's `json_schema_extra` says; empty where it says nothing."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def make_editor(field: FieldInfo) -> Any:
    """Return the editor of a field: it has a `value`, a signal `changed` and, as `native`, a widget of Qt's.

    The field's `json_schema_extra` may say under ``begin`` with which number a user begins who unticks "auto", as the lowest
    would be of no use, and under ``file`` the filter of the files that may be chosen.

    Raises
    ------
    ValueError
        There is no editor for the field's type.
    """
    said, optional = extras(field), NoneType in get_args(field.annotation)
    if "file" in said:
        return _File(said["file"])
    kind = next(part for part in get_args(field.annotation) if part is not NoneType) if optional else field.annotation
    bounds = _bounds(field, 1 if kind is int else 1e-12) if kind in (int, float) else {}
    make, options = _KINDS.get_widget_class(annotation=kind, options=bounds)
    editor: Any = make(**options)
    if isinstance(editor.native, QAbstractSpinBox | QComboBox):
        keep_when_scrolled(editor.native)
    if isinstance(editor.native, QComboBox):
        editor.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return _Automatic(editor, said.get("begin", max(1, bounds.get("min", 1)))) if optional else editor


def _bounds(field: FieldInfo, step: float) -> dict[str, float]:
    """Return the lowest and the highest number of a field; one that is left out is `step` away from it."""
    said = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    low = said["gt"] + step if "gt" in said else said.get("ge", -_NO_BOUND)
    return {"min": low, "max": said["lt"] - step if "lt" in said else said.get("le", _NO_BOUND)}
