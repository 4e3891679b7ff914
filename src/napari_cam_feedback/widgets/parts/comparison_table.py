"""The table of measures before and after, with each change and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QBrush
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_cam_feedback.widgets.parts.tones import Tone, text_colour

if TYPE_CHECKING:
    from napari_cam_feedback.evaluation import ComparisonRow

# The word says the same.
_COLOURS: dict[str, Tone] = {"better": "good", "worse": "warning"}
#: Measures that follow from others in the table, for which it has no room; the reports have them.
LEFT_OUT = ("gap", "random_flip_rate")
COLUMNS = ("Measure", "Before", "After", "Change", "95 %")
_ROW_PIXELS = 19
_ROOM_FOR_INTERVALS = 420


def change_text(row: ComparisonRow) -> str:
    """Return the change as a signed number and a word: better, worse, or unsure where it may be chance."""
    if row.change is None:
        return "–"
    if abs(row.change) < 0.0005:
        return "0.000"
    return f"{row.change:+.3f} {row.mark}".rstrip()


def interval_text(row: ComparisonRow) -> str:
    """Return the ends of the interval of the change, empty where there is none."""
    interval = None if row.certainty is None else row.certainty.change
    return "" if interval is None else f"{interval.low:+.2f}…{interval.high:+.2f}"


class ComparisonTable(QTableWidget):
    """Rows of a `Comparison`, split by split: measure, before, after, change, and its interval where there are any."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self._intervals = False
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # In a narrow dock a measure's name is cut, which the tooltip has in full, and never what became of it.
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(30)
        # It lies in a scrolling dock and is shown whole; a bar of its own would catch the wheel.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def show_rows(self, rows: Sequence[ComparisonRow]) -> None:
        """Show these rows in place of what was shown, each split under a title."""
        from napari_cam_feedback.evaluation import MEASURES, show

        self.clearSpans()
        self.setRowCount(0)
        self._intervals = any(row.certainty is not None for row in rows)
        self._fit()
        split = None
        for row in rows:
            if row.measure in LEFT_OUT:
                continue
            if row.split != split:
                split = row.split
                self._add_title(split)
            measure = MEASURES[row.measure]
            meaning = f"{measure.name}, on {row.split}: {measure.meaning}"
            shown = row.texts
            if row.measure == "worst_group_accuracy":
                # Which groups they are is long, and would leave no room for what became of them.
                meaning += f"\nBefore {shown[0]}, after {shown[1]}."
                shown = show(row.before), show(row.after)
            texts = (measure.short, *shown, change_text(row), interval_text(row))
            if measure.direction:
                meaning += f" {measure.direction.capitalize()}."
            meaning += _how_sure(row)
            number = self.rowCount()
            self.insertRow(number)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(meaning)
                if column in (1, 2):
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if column == 3 and row.mark in _COLOURS:
                    item.setData(Qt.ItemDataRole.UserRole, row.mark)
                self.setItem(number, column, item)
        self._colour()
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + _ROW_PIXELS * self.rowCount() + 16)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            # napari's theme was changed.
            self._colour()

    def _colour(self) -> None:
        for row in range(self.rowCount()):
            item = self.item(row, 3)
            mark = None if item is None else item.data(Qt.ItemDataRole.UserRole)
            if item is not None and mark in _COLOURS:
                item.setForeground(QBrush(text_colour(_COLOURS[mark])))

    def _fit(self) -> None:
        """Show the intervals where there are any, and room for them; they are in the tooltips too."""
        self.setColumnHidden(len(COLUMNS) - 1, not self._intervals or self.width() < _ROOM_FOR_INTERVALS)

    def _add_title(self, split: str) -> None:
        number = self.rowCount()
        self.insertRow(number)
        item = QTableWidgetItem(split)
        font = item.font()
        font.setBold(True)
        item.setFont(font)
        self.setItem(number, 0, item)
        self.setSpan(number, 0, 1, len(COLUMNS))

    def texts(self) -> list[tuple[str, ...]]:
        """Return what the table shows, row by row."""
        return [
            tuple("" if (item := self.item(row, column)) is None else item.text() for column in self._shown_columns())
            for row in range(self.rowCount())
        ]

    def _shown_columns(self) -> list[int]:
        return [column for column in range(len(COLUMNS)) if not self.isColumnHidden(column)]


def _how_sure(row: ComparisonRow) -> str:
    """Return intervals and p value of a row, or the number of its images, for its tooltip."""
    sure = row.certainty
    if sure is None:
        return f"\nMeasured on {row.images} images: so small a change may be chance." if row.mark == "unsure" else ""
    parts = [
        f"{name} {interval}"
        for name, interval in (("before", sure.before), ("after", sure.after), ("change", sure.change))
        if interval is not None
    ]
    said = f"\n95 % intervals over the images: {', '.join(parts)}." if parts else ""
    if sure.p_value is not None:
        said += f"\nMcNemar's exact test of the change: p = {sure.p_value:.3g}."
    if row.mark == "unsure":
        said += "\nThe interval of the change holds 0, so it may be chance."
    return said
