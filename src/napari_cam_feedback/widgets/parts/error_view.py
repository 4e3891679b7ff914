"""What went wrong, in one sentence; and, where weights do not fit their architecture, a table of them."""

from __future__ import annotations

from html import escape

from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.errors import Mismatch, WeightsMismatch, describe
from napari_cam_feedback.widgets.parts.basics import breakable, fill, push_button, rich_label, tight, wrapped_label
from napari_cam_feedback.widgets.parts.model_form import MODEL_FIELDS

_MAX_ROWS = 10
_LONG_NAME = 18


class ErrorView(QWidget):
    """A sentence, a table where there is one, and a button that copies both; hidden while all is well."""

    def __init__(self) -> None:
        super().__init__()
        self._copy_text = ""
        column = tight(QVBoxLayout(self), 4)
        self.sentence = wrapped_label(tone="warning")
        self.sentence.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.table = rich_label()
        self.table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.copy_button = push_button("Copy the whole table", self.copy)
        row = QHBoxLayout()
        row.addWidget(self.copy_button)
        row.addStretch(1)
        fill(column, self.sentence, self.table, row)
        self.show_error(None)

    def text(self) -> str:
        """Return the sentence that is shown, empty where there is none."""
        return self.sentence.text()

    def show_error(self, error: BaseException | str | None) -> None:
        """Show an error or a sentence; None for nothing."""
        sentence = error if isinstance(error, str) else "" if error is None else describe(error, MODEL_FIELDS)
        rows = error.rows if isinstance(error, WeightsMismatch) else ()
        self.sentence.setText(sentence)
        self.table.setText(mismatch_table(rows))
        lines = ["name\tin the file\tin the architecture", *(f"{r.name}\t{r.found}\t{r.expected}" for r in rows)]
        self._copy_text = "\n".join([sentence, "", *lines])
        for widget in (self.table, self.copy_button):
            widget.setVisible(bool(rows))
        self.setVisible(bool(sentence))

    def copy(self) -> None:
        """Put the sentence and the whole table, separated by tabs, into the clipboard."""
        QGuiApplication.clipboard().setText(self._copy_text)


def mismatch_table(rows: tuple[Mismatch, ...]) -> str:
    """Return an HTML table of the first rows that says how many more there are."""
    if not rows:
        return ""
    shown = rows[:_MAX_ROWS]
    # Beside the shapes a long name would take five lines; above them it takes one or two.
    stacked = any(len(row.name) > _LONG_NAME for row in shown)
    first = "" if stacked else "<th align='left' width='46%'>name</th>"
    head = f"{first}<th align='left'>in the file</th><th align='left'>in the architecture</th>"
    body = "".join(_row(row, stacked) for row in shown)
    left = len(rows) - _MAX_ROWS
    more = f"<tr><td colspan='3'><i>and {left} more</i></td></tr>" if left > 0 else ""
    return f"<table width='100%' cellpadding='1'><tr>{head}</tr>{body}{more}</table>"


def _row(row: Mismatch, stacked: bool) -> str:
    name = breakable(escape(row.name))
    shapes = f"<td>{_shape(row.found)}</td><td>{_shape(row.expected)}</td></tr>"
    if stacked:
        return f"<tr><td colspan='2'><b>{name}</b></td></tr><tr>{shapes}"
    return f"<tr><td>{name}</td>{shapes}"


def _shape(text: str) -> str:
    # What is not there is the likeliest reason that it does not fit; a dash says it better than nothing.
    return escape(text) or "–"
