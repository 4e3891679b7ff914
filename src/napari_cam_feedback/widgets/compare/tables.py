"""The tables of the *Compare* dock: classes, what is taken for what, and images of which the prediction changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, Qt

from napari_cam_feedback.widgets.parts.basics import plain
from napari_cam_feedback.widgets.parts.headed_table import ROOT, HeadedTable
from napari_cam_feedback.widgets.parts.tones import Tone, text_colour

if TYPE_CHECKING:
    from napari_cam_feedback.evaluation import ClassResult, Flips

# An arrow or a word says the same.
BETTER: Tone = "good"
WORSE: Tone = "warning"
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_FLIP_HEADERS = ("Image", "Predicted", "p(true)", "")
_FLIP_TIPS = (
    "The image's path in the dataset; a click on a row shows it",
    "What the first version predicts, and what the other one does; in brackets the true class, where neither is right",
    "Probability of the true class, before and after",
    "What became of it",
)
_SHORT_KINDS = ("lost", "won", "moved", "")


class FlipTable(HeadedTable):
    """A row for each image of which the prediction changed.

    Attributes
    ----------
    rows : ndarray of int64
        Positions in the `Flips`, one a row.
    """

    headers = _FLIP_HEADERS
    tips = _FLIP_TIPS

    def __init__(self) -> None:
        super().__init__()
        self._flips: Flips | None = None
        self._names: tuple[str, ...] = ()
        self.rows = np.zeros(0, np.int64)

    def show(self, flips: Flips | None, class_names: Sequence[str] = (), kind: int | None = None) -> None:
        """Show other flips: all, or those of one kind."""
        self.beginResetModel()
        self._flips, self._names = flips, tuple(class_names)
        if flips is None:
            self.rows = np.zeros(0, np.int64)
        else:
            self.rows = np.flatnonzero(np.ones(len(flips), bool) if kind is None else flips.kinds == kind).astype(np.int64)
        self.endResetModel()

    def item_of(self, row: int) -> int | None:
        """Return the dataset's item that a row is of."""
        if self._flips is None or not 0 <= row < len(self.rows):
            return None
        return int(self._flips.indices[self.rows[row]])

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 for the order in which they were found."""
        if self._flips is None:
            return
        self.layoutAboutToBeChanged.emit()
        rows = np.sort(self.rows)
        if column >= 0:
            values = self._values(column)[rows]
            rows = rows[np.argsort(values, kind="stable")]
            if order == Qt.SortOrder.DescendingOrder:
                rows = rows[::-1]
        self.rows = rows
        self.layoutChanged.emit()

    def _values(self, column: int) -> np.ndarray:
        flips = self._flips
        assert flips is not None
        change = flips.p_true_after - flips.p_true_before
        return (np.array(flips.keys), flips.after, change, flips.kinds)[column]

    def rowCount(self, parent: Any = ROOT) -> int:
        """Return how many there are."""
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if self._flips is None or not index.isValid() or index.row() >= len(self.rows):
            return None
        flips, n, column = self._flips, int(self.rows[index.row()]), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(flips, n, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            from napari_cam_feedback.evaluation import KINDS

            shares = f"{flips.p_before[n]:.2f}", f"{flips.p_after[n]:.2f}"
            predicted = " → ".join(
                f"{self._names[k]} ({p})" for k, p in zip((flips.before[n], flips.after[n]), shares, strict=True)
            )
            return plain(f"{flips.keys[n]} ({flips.splits[n]}): {KINDS[flips.kinds[n]]}, predicted {predicted}")
        if role == Qt.ItemDataRole.ForegroundRole and column == 3:
            name = {0: WORSE, 1: BETTER}.get(int(flips.kinds[n]))
            return None if name is None else text_colour(name)
        return None

    def _text(self, flips: Flips, n: int, column: int) -> str:
        label = int(flips.labels[n])
        if column == 0:
            return flips.keys[n]
        if column == 1:
            truth = f" ({self._names[label]})" if label >= 0 and label not in (flips.before[n], flips.after[n]) else ""
            return f"{self._names[flips.before[n]]} → {self._names[flips.after[n]]}{truth}"
        if column == 2:
            return f"{flips.p_true_before[n]:.2f} → {flips.p_true_after[n]:.2f}" if label >= 0 else ""
        return _SHORT_KINDS[flips.kinds[n]]


_CLASS_HEADERS = ("Class", "Precision", "Recall", "F1")
_MEASURED = ("precision", "recall", "f1")


class ClassTable(HeadedTable):
    """A row for each class: precision, recall and F1 after, with the change from before."""

    headers = _CLASS_HEADERS

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[str, ClassResult, ClassResult]] = []

    def show(self, before: dict[str, ClassResult], after: dict[str, ClassResult]) -> None:
        """Show the classes of a split as two versions see them."""
        self.beginResetModel()
        self._rows = [(name, found, after[name]) for name, found in before.items() if name in after]
        self.endResetModel()

    def rowCount(self, parent: Any = ROOT) -> int:
        """Return the number of classes."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        name, before, after = self._rows[index.row()]
        column = index.column()
        if column == 0:
            told = {
                Qt.ItemDataRole.DisplayRole: name,
                Qt.ItemDataRole.ToolTipRole: plain(f"{name}: {before.support} images"),
            }
            return told.get(role)  # type: ignore[call-overload]
        old, new = (float(getattr(each, _MEASURED[column - 1])) for each in (before, after))
        change = new - old
        if role == Qt.ItemDataRole.DisplayRole:
            # The arrow is the sign: the dock is narrow.
            return f"{new:.2f}" if abs(change) < 0.005 else f"{new:.2f} {'▲' if change > 0 else '▼'}{abs(change):.2f}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain(f"{_CLASS_HEADERS[column]} of {name}: {old:.3f} before, {new:.3f} after")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT
        if role == Qt.ItemDataRole.ForegroundRole and abs(change) >= 0.005:
            return text_colour(BETTER if change > 0 else WORSE)
        return None


class ConfusionTable(QAbstractTableModel):
    """A row for each true class and a column for each predicted one: images after, with the change from before."""

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self._before = self._after = np.zeros((0, 0), np.int64)

    def show(self, class_names: Sequence[str], before: np.ndarray, after: np.ndarray) -> None:
        """Show the confusion matrices (K, K) of a split as two versions see it."""
        self.beginResetModel()
        self._names, self._before, self._after = tuple(class_names), before, after
        self.endResetModel()

    def rowCount(self, parent: Any = ROOT) -> int:
        """Return the number of classes."""
        return 0 if parent.isValid() else len(self._after)

    def columnCount(self, parent: Any = ROOT) -> int:
        """Return the number of classes."""
        return 0 if parent.isValid() else len(self._after)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a class's name, and on which side it stands."""
        if not 0 <= section < len(self._names):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._names[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            side = "Predicted" if orientation == Qt.Orientation.Horizontal else "True"
            return plain(f"{side} class {self._names[section]}")
        return None

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if not index.isValid() or index.row() >= len(self._after):
            return None
        place = index.row(), index.column()
        old, new = int(self._before[place]), int(self._after[place])
        if role == Qt.ItemDataRole.DisplayRole:
            return str(new) if new == old else f"{new} {'▲' if new > old else '▼'}{abs(new - old)}"
        if role == Qt.ItemDataRole.ToolTipRole:
            truth, found = (self._names[k] for k in place)
            return plain(f"{truth}, predicted {found}: {old} images before, {new} after")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT
        if role == Qt.ItemDataRole.ForegroundRole and new != old:
            # On the diagonal more is better, elsewhere worse.
            return text_colour(BETTER if (new > old) == (place[0] == place[1]) else WORSE)
        return None
