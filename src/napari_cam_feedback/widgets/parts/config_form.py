"""A form built from a pydantic model: one labelled editor a field, bounds and tooltips taken from the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.widgets.parts.basics import fill, form_layout, show_row, tight
from napari_cam_feedback.widgets.parts.editors import make_editor
from napari_cam_feedback.widgets.parts.fold import Fold


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

    Attributes
    ----------
    names : tuple of str
        The fields that have an editor.
    more : Fold
        The folded ones.
    """

    changed = Signal()

    def __init__(
        self, model: type[BaseModel], common: Sequence[str] = (), skip: Sequence[str] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model = model
        self.names = tuple(name for name in model.model_fields if name not in skip)
        self._editors: dict[str, Any] = {}
        layout = tight(QVBoxLayout(self), 2)
        self._first, self._rest = tight(form_layout()), tight(form_layout())
        for form in (self._first, self._rest):
            form.setVerticalSpacing(3)
        for name in self.names:
            self._add_row(self._first if name in common or not common else self._rest, name)
        holder = QWidget()
        holder.setLayout(self._rest)
        self.more = Fold("More settings", holder)
        self.more.setVisible(self._rest.rowCount() > 0)
        fill(layout, self._first, self.more)

    def _add_row(self, form: QFormLayout, name: str) -> None:
        field = self._model.model_fields[name]
        editor = self._editors[name] = make_editor(field)
        editor.value = self.default(name)
        widget = editor.native
        widget.setMinimumWidth(60)
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        widget.setObjectName(name)
        editor.changed.connect(lambda *_: self.changed.emit())
        form.addRow(field.title or name.replace("_", " ").capitalize(), widget)
        for part in (widget, form.labelForField(widget)):
            part.setToolTip(field.description or "")

    def editor(self, name: str) -> QWidget:
        """Return the widget that edits one field."""
        return self._editors[name].native

    def reveal(self, names: Sequence[str]) -> None:
        """Put the cursor into the first of these settings that has an editor, unfolding where it is; nothing without."""
        editor = next((self.editor(name) for name in names if name in self.names), None)
        if editor is not None:
            if self.more.content.isAncestorOf(editor):
                self.more.set_opened(True)
            editor.setFocus(Qt.FocusReason.OtherFocusReason)

    def set_row_visible(self, name: str, visible: bool) -> None:
        """Show or hide one field, label included."""
        editor = self.editor(name)
        show_row(self._first if self._first.labelForField(editor) else self._rest, editor, visible)

    def default(self, name: str) -> Any:
        """Return a field's default."""
        return self._model.model_fields[name].get_default(call_default_factory=True)

    def values(self) -> dict[str, Any]:
        """Return what the editors hold now."""
        return {name: editor.value for name, editor in self._editors.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Put values into the editors; names without an editor are ignored."""
        for name, value in values.items():
            if name in self._editors:
                self._editors[name].value = value

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
