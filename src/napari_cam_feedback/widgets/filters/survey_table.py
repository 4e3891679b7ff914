"""The table of all filters over a split: activation, contribution, place in the ranking, what is under the paint, marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

from napari_cam_feedback.widgets.parts.headed_table import ROOT, HeadedTable
from napari_cam_feedback.widgets.parts.tones import Tone, text_colour

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import FilterMarks
    from napari_cam_feedback.explanations.filters.statistics import MaskActivation
    from napari_cam_feedback.explanations.filters.survey import FilterSurvey

NUMBER, ACTIVATION, CONTRIBUTION, PLACE, PAINTED, MARK = range(6)
HEADERS = ("Filter", "Mean", "Contr.", "Rank", "Paint", "Mark")
TIPS = (
    "The filter's number",
    "Mean activation over all images; “dead”: silent in every image",
    "What the filter adds to the class's score, on average over the images of that class",
    "Place by what the filter tells of the class: 1 is the best",
    "How much more active the filter is under your paint than beside it, in standard deviations",
    "Your own: ✓ relevant, ✗ irrelevant",
)
_COLOURS: dict[str, Tone] = {"relevant": "good", "irrelevant": "warning"}
_SIGNS = {"relevant": "✓", "irrelevant": "✗"}
# What sorts first when a column is clicked: the greatest numbers, but the best place.
_DESCENDING = (False, True, True, False, True, True)


class FilterSurveyTable(HeadedTable):
    """All filters, sortable by every column."""

    headers = HEADERS
    tips = TIPS

    def __init__(self) -> None:
        super().__init__()
        self._values: list[np.ndarray | None] = [None] * len(HEADERS)
        self._dead = np.zeros(0, bool)
        self._marks: dict[int, str] = {}
        self._by, self._ascending = PLACE, True
        #: (F,) int64, filters as the rows show them.
        self.order = np.zeros(0, np.int64)

    def show(self, survey: FilterSurvey | None, under: MaskActivation | None, label: int | None) -> None:
        """Show a survey, contributions being to the class `label`, or the largest to any."""
        self.beginResetModel()
        if survey is None:
            self._values, self._dead = [None] * len(HEADERS), np.zeros(0, bool)
        else:
            self._dead = survey.dead
            self._values = [
                np.arange(survey.features.filters),
                survey.activation,
                survey.contribution(label),
                None if survey.ranking is None else survey.ranking.place,
                None if under is None else under.excess,
                None,
            ]
        self._sort()
        self.endResetModel()

    def show_marks(self, marks: FilterMarks | None) -> None:
        """Show the user's marks."""
        self._marks = {} if marks is None else dict(marks.marks)
        if self.rowCount():
            self.dataChanged.emit(self.index(0, MARK), self.index(self.rowCount() - 1, MARK))

    def known(self, column: int) -> bool:
        """Whether there is anything in a column."""
        return column == MARK or self._values[column] is not None

    def row_of(self, number: int | None) -> int:
        """Return the row of a filter, -1 where there is none."""
        if number is None:
            return -1
        found = np.flatnonzero(self.order == number)
        return int(found[0]) if len(found) else -1

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; the first click brings what one looks for first to the top."""
        ascending = order == Qt.SortOrder.AscendingOrder
        self.layoutAboutToBeChanged.emit()
        self._by, self._ascending = column, ascending != _DESCENDING[column]
        self._sort()
        self.layoutChanged.emit()

    def _sort(self) -> None:
        numbers = self._values[NUMBER]
        if numbers is None:
            self.order = np.zeros(0, np.int64)
            return
        values = self._values[self._by]
        if self._by == MARK:
            weight = {"relevant": 2, "irrelevant": 1}
            values = np.array([weight.get(self._marks.get(number, ""), 0) for number in range(len(numbers))])
        elif values is None:
            values = self._values[ACTIVATION]
            assert values is not None
            values = -values
        # What is not a number is last either way.
        keys = np.nan_to_num(values if self._ascending else -values.astype(np.float64), nan=np.inf)
        self.order = np.argsort(keys, kind="stable").astype(np.int64)

    def rowCount(self, parent: Any = ROOT) -> int:
        return 0 if parent.isValid() else len(self.order)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        number, column = int(self.order[index.row()]), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(number, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignHCenter if column == MARK else Qt.AlignmentFlag.AlignRight
            return side | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ForegroundRole and column == MARK and number in self._marks:
            return text_colour(_COLOURS[self._marks[number]])
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._marks.get(number, TIPS[column]) if column == MARK else TIPS[column]
        return None

    def _text(self, number: int, column: int) -> str:
        if column == MARK:
            return _SIGNS.get(self._marks.get(number, ""), "")
        values = self._values[column]
        if values is None or not np.isfinite(values[number]):
            return ""
        if column in (NUMBER, PLACE):
            return str(int(values[number]))
        if column == ACTIVATION:
            return "dead" if self._dead[number] else f"{values[number]:.3g}"
        return f"{values[number]:+.2g}"
