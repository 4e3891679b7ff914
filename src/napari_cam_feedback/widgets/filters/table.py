"""The filters of one image in the order of a score, and the table that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.widgets.parts.headed_table import ROOT, HeadedTable

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation

#: Marks the layers of the grid and the one over the image apart.
GRID, OVER = "grid", "over"
ORDERS = (
    ("contribution", "contribution to the class"),
    ("activation", "mean activation"),
    ("mask", "mean activation under the mask"),
)
COLUMNS = ("Filter", "Paint", "Mean", "Contr.")
TIPS = (
    "The filter's number",
    "Mean activation under your paint",
    "Mean activation in this image",
    "What the filter adds to the score of the class shown",
)
#: The column that there is only where filters are ranked by what is painted.
UNDER_PAINT = 1


@dataclass(frozen=True)
class Ranking:
    """The filters of one image in order, and the maps that are to be shown.

    Attributes
    ----------
    explanation : Explanation
        Whose filters they are.
    order : ndarray
        (F,) int64, filter numbers from the highest score to the lowest.
    scores, activations, contributions : ndarray
        (F,) float32, by filter number.
    maps : dict
        Filter number to (H, W) float32, in image pixels.
    limits : dict
        ``grid`` and ``over``: contrast limits common to the filters of the grid, and to all filters of the image.
    by : str
        What the scores are.
    note : str
        A sentence for the user, or nothing.
    """

    explanation: Explanation
    order: np.ndarray
    scores: np.ndarray
    activations: np.ndarray
    contributions: np.ndarray
    maps: dict[int, np.ndarray]
    limits: dict[str, tuple[float, float]]
    by: str
    note: str = ""


def rank(explanation: Explanation, by: str, mask: np.ndarray | None, count: int, chosen: int | None) -> Ranking:
    """Rank the filters of an image and make the maps of the first `count` (and of the chosen one); for a worker.

    Without a mask, a ranking by mask falls back to contributions and says so.
    """
    note = ""
    try:
        scores = explanation.filter_scores(by, mask)  # type: ignore[arg-type]
    except FeedbackError as error:
        note, by = f"{describe(error)} Meanwhile they are ranked by contribution.", "contribution"
        scores = explanation.contributions
    order = np.argsort(-scores, kind="stable")
    wanted = [int(number) for number in order[:count]]
    maps = {number: explanation.filter_map(number) for number in wanted}
    limits = {GRID: _limits([maps[number] for number in wanted]), OVER: _limits([explanation.activations])}
    if chosen is not None and chosen < len(scores):
        maps[chosen] = explanation.filter_map(chosen)
    means = explanation.activations.mean((1, 2))
    return Ranking(explanation, order, scores, means, explanation.contributions, maps, limits, by, note)


def _limits(maps: list[np.ndarray]) -> tuple[float, float]:
    low = min([0.0, *(float(values.min()) for values in maps)])
    high = max([low, *(float(values.max()) for values in maps)])
    return low, high if high > low else low + 1.0


class FilterTable(HeadedTable):
    """All filters in the ranking's order; those of the grid in bold."""

    headers = COLUMNS
    tips = TIPS

    def __init__(self) -> None:
        super().__init__()
        self._ranking: Ranking | None = None
        self._count = 0
        self._bold = QFont()
        self._bold.setBold(True)

    def show(self, ranking: Ranking | None, count: int) -> None:
        """Show another ranking, of which the first `count` are in the grid."""
        self.beginResetModel()
        self._ranking, self._count = ranking, count
        self.endResetModel()

    def number(self, row: int) -> int:
        """Return the filter number in a row."""
        assert self._ranking is not None
        return int(self._ranking.order[row])

    def row_of(self, number: int) -> int | None:
        """Return the row of a filter number, None where there is no such filter."""
        if self._ranking is None:
            return None
        found = np.flatnonzero(self._ranking.order == number)
        return int(found[0]) if found.size else None

    def rowCount(self, parent: Any = ROOT) -> int:
        return 0 if self._ranking is None or parent.isValid() else len(self._ranking.order)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self._ranking is None or not index.isValid():
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.FontRole:
            return self._bold if index.row() < self._count else None
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        number = self.number(index.row())
        values = (
            number,
            f"{self._ranking.scores[number] + 0.0:.3g}",  # and no minus before a zero
            f"{self._ranking.activations[number] + 0.0:.3g}",
            f"{self._ranking.contributions[number] + 0.0:+.3g}",
        )
        return str(values[index.column()])

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Vertical and role == Qt.ItemDataRole.DisplayRole:
            return str(section + 1)  # its rank
        return super().headerData(section, orientation, role)
