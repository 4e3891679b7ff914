"""The method of a retune, and its settings as far as they matter to that method."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError, describe
from napari_cam_feedback.widgets.parts.basics import ChoiceBox, tight, wrapped_label
from napari_cam_feedback.widgets.parts.config_form import ConfigForm
from napari_cam_feedback.widgets.parts.editors import extras
from napari_cam_feedback.widgets.parts.tones import set_tone

COMMON_SETTINGS = ("iterations", "learning_rate", "painted_per_step", "strength")


class RetuneSettings(QWidget):
    """A box of methods, to be chosen from or typed into, and under it a form of settings.

    Attributes
    ----------
    method_box : ChoiceBox
        Names of methods; several are joined by ``+``.
    method_label : QLabel
        A sentence on the method, or on why it is none.
    form : ConfigForm or None
        The settings; None until `build`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows = layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        row = tight(QFormLayout())
        self.method_box = ChoiceBox()
        self.method_box.setEditable(True)
        self.method_box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.method_box.setMaxVisibleItems(24)
        self.method_box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.method_box.setToolTip("Choose a method, or type several joined by +, as actdiff+transplant")
        row.addRow("Method", self.method_box)
        layout.addLayout(row)
        self.method_label = wrapped_label()
        layout.addWidget(self.method_label)
        self.form: ConfigForm | None = None
        self._fields: Mapping[str, FieldInfo] = {}
        self._parts: Collection[str] = ()
        self.method_box.currentTextChanged.connect(self._method_chosen)

    def build(self) -> None:
        """Make the settings, which only torch's own modules can tell; torch is loaded when a project is open."""
        if self.form is not None:
            return
        from napari_cam_feedback.retuning import RetuneConfig, describe_method, method_names

        self.form = ConfigForm(RetuneConfig, common=COMMON_SETTINGS, skip=("method",))
        self._fields = RetuneConfig.model_fields
        self._rows.addWidget(self.form)
        names = method_names()
        box = self.method_box
        for name in names:
            # The recommended one first, single methods, then what is joined.
            if name != names[0] and (box.count() == 1 or "+" in name):
                box.insertSeparator(box.count())
            box.addItem(name)
            box.setItemData(box.count() - 1, describe_method(name), Qt.ItemDataRole.ToolTipRole)
        self.form.changed.connect(self._show_what_matters)
        self._show_what_matters()

    def config(self) -> Any:
        """Return the settings; those that are not shown are as by default.

        Returns
        -------
        RetuneConfig

        Raises
        ------
        ConfigError
            There is no such method, or a value cannot be used.
        """
        from napari_cam_feedback.retuning import describe_method

        assert self.form is not None
        method = self.method_box.currentText().strip()
        describe_method(method)
        hidden = {name: self.form.default(name) for name, shown in self._matter().items() if not shown}
        return self.form.config(method=method, **hidden)

    def reveal(self, names: Sequence[str]) -> None:
        """Put the cursor into the first of these settings that has a field."""
        if self.form is not None:
            self.form.reveal(names)

    def _method_chosen(self, name: str) -> None:
        from napari_cam_feedback.retuning.methods import describe_method, method_parts

        try:
            text, self._parts, wrong = describe_method(name.strip()), method_parts(name.strip()), False
        except ConfigError as error:
            text, wrong = describe(error), True
        self.method_label.setText(text)
        set_tone(self.method_label, "warning" if wrong else None)
        self._show_what_matters()

    def _matter(self) -> dict[str, bool]:
        """Return, for each setting, whether the method makes use of it."""
        assert self.form is not None
        found: dict[str, bool] = {}
        values = self.form.values()
        for name in self.form.names:
            found[name] = matters(self._fields[name], self._parts, values)
            if not found[name]:
                values[name] = self.form.default(name)
        return found

    def _show_what_matters(self) -> None:
        if self.form is not None:
            for name, shown in self._matter().items():
                self.form.set_row_visible(name, shown)


def matters(field: FieldInfo, methods: Collection[str], values: Mapping[str, Any]) -> bool:
    """Tell whether any of these methods makes use of a setting.

    Parameters
    ----------
    field : FieldInfo
        Its ``json_schema_extra`` may name ``methods`` that use it, and other settings ``with`` whose values it is used by
        any method; one that says neither always is.
    methods : collection of str
        Names of single methods.
    values : mapping
        All settings.
    """
    said = extras(field)
    if "methods" not in said:
        return True
    used = any(method in said["methods"] for method in methods)
    return used or any(values.get(name) == value for name, value in said["with"].items())
