"""The table of items: sorts and filters a million rows with numpy, for which Qt's proxy is too slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Qt

from napari_cam_feedback.widgets.parts.basics import plain
from napari_cam_feedback.widgets.parts.headed_table import ROOT, HeadedTable
from napari_cam_feedback.widgets.parts.tones import text_colour

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset

KEY, SPLIT, LABEL, PREDICTION, PROBABILITY, PAINTED = range(6)
HEADERS = ("item", "split", "label", "pred.", "p(true)", "mask")
TOOLTIPS = (
    "The image's path in the dataset",
    "The split that it belongs to",
    "Its true class",
    "The class that the model gives it; orange where it is wrong",
    "The probability that the model gives the true class",
    "Whether a mask has been painted on it",
)


class ItemTable(HeadedTable):
    """Rows are items of a dataset in the present order and filter.

    Attributes
    ----------
    shown : ndarray of int64
        Item indices, one a row.
    predicted : ndarray of int32, shape (N,)
        Predicted classes, -1 where not known yet.
    p_true : ndarray of float32, shape (N,)
        Probabilities of the true classes, NaN where not known.
    painted : ndarray of bool, shape (N,)
        Which items have a mask.
    """

    headers = HEADERS
    tips = TOOLTIPS

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._dataset: Dataset | None = None
        self._sort = (-1, False)
        self._words: tuple[str, ...] = ()
        self._split: str | None = None
        self._wrong = self._only_painted = False
        self._reset_arrays(0)
        self._show(np.zeros(0, np.int64))

    def _reset_arrays(self, n: int) -> None:
        self.predicted = np.full(n, -1, np.int32)
        self.p_true = np.full(n, np.nan, np.float32)
        self.painted = np.zeros(n, bool)
        self._hits: dict[str, np.ndarray] = {}

    def _show(self, indices: np.ndarray) -> None:
        """Let the rows be these items, and note where each item is, so that no step must search for it."""
        self.shown = indices
        self._rows = np.full(len(self.painted), -1, np.int32)
        self._rows[indices] = np.arange(len(indices), dtype=np.int32)

    # Content --------------------------------------------------------------------------------------

    def set_dataset(self, dataset: Dataset | None, painted: Iterable[str] = ()) -> None:
        """Show another dataset; `painted` are the keys of the items that have a mask."""
        self.beginResetModel()
        self._dataset = dataset
        self._reset_arrays(0 if dataset is None else len(dataset))
        if dataset is not None:
            for key in painted:
                if key in dataset.keys:
                    self.painted[dataset.index_of(key)] = True
        self._show(self._select())
        self.endResetModel()

    def set_predictions(self, indices: np.ndarray, probabilities: np.ndarray) -> None:
        """Take over predictions.

        Parameters
        ----------
        indices : ndarray of int64, shape (M,)
            Which items.
        probabilities : ndarray of float32, shape (M, K)
            What the model gives each class.
        """
        if self._dataset is None or not len(indices):
            return
        labels = self._dataset.labels[indices]
        self.predicted[indices] = probabilities.argmax(1)
        known = labels >= 0
        self.p_true[indices[known]] = probabilities[known, labels[known]]
        self._changed(PREDICTION, PROBABILITY, self._rows[indices])

    def forget_predictions(self) -> None:
        """Empty the columns that a model fills."""
        self.predicted[:] = -1
        self.p_true[:] = np.nan
        self._changed(PREDICTION, PROBABILITY, self._rows)

    def set_painted(self, index: int, painted: bool) -> None:
        """Note that an item has, or no longer has, a mask."""
        if self.painted[index] != painted:
            self.painted[index] = painted
            self._changed(PAINTED, PAINTED, self._rows[index : index + 1])

    def wrong(self) -> np.ndarray:
        """Return which items are known to be predicted wrongly, bool (N,)."""
        if self._dataset is None:
            return np.zeros(0, bool)
        labels = self._dataset.labels
        return (self.predicted >= 0) & (labels >= 0) & (self.predicted != labels)

    # Order and filter -----------------------------------------------------------------------------

    def set_filter(self, *, text: str, split: str | None, wrong: bool, painted: bool) -> None:
        """Show only some items.

        Parameters
        ----------
        text : str
            Words that must all occur in the key, the label or the prediction.
        split : str or None
            Only this split.
        wrong, painted : bool
            Only wrongly predicted items, only items with a mask.
        """
        self._words = tuple(text.lower().split())
        self._hits = {word: hits for word, hits in self._hits.items() if word in self._words}
        self._split, self._wrong, self._only_painted = split, wrong, painted
        self.refresh()

    def refresh(self) -> None:
        """Filter and sort again, after predictions or masks have come in."""
        self.layoutAboutToBeChanged.emit()
        self._show(self._select())
        self.layoutChanged.emit()

    @property
    def depends_on_predictions(self) -> bool:
        """Whether new predictions change the order or the filter."""
        by_class = any(self._classes_called(word) for word in self._words)
        return self._wrong or by_class or self._sort[0] in (PREDICTION, PROBABILITY)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 for the dataset's own order."""
        self._sort = (column, order == Qt.SortOrder.DescendingOrder)
        self.refresh()

    def _select(self) -> np.ndarray:
        dataset = self._dataset
        if dataset is None:
            return np.zeros(0, np.int64)
        keep = np.ones(len(dataset), bool)
        if self._split is not None:
            keep &= dataset.splits == self._split
        if self._wrong:
            keep &= self.wrong()
        if self._only_painted:
            keep &= self.painted
        for word in self._words:
            keep &= self._matches(word)
        found = np.flatnonzero(keep).astype(np.int64)
        column, descending = self._sort
        if column < 0 or not len(found):
            return found
        values = self._values(column, found)
        if descending and values.dtype.kind == "f":
            # Unknown values (NaN) stay at the end either way.
            return found[np.argsort(-values, kind="stable")]
        order = np.argsort(values, kind="stable")
        return found[order[::-1] if descending else order]

    def _matches(self, word: str) -> np.ndarray:
        assert self._dataset is not None
        if word not in self._hits:
            # Kept, since the filter is applied again whenever predictions come in.
            self._hits[word] = self._dataset.keys.containing(word)
        classes = self._classes_called(word)
        if not classes:
            return self._hits[word]
        return self._hits[word] | np.isin(self._dataset.labels, classes) | np.isin(self.predicted, classes)

    def _classes_called(self, word: str) -> list[int]:
        names = () if self._dataset is None else self._dataset.class_names
        return [i for i, name in enumerate(names) if word == name.lower()]

    def _values(self, column: int, found: np.ndarray) -> np.ndarray:
        assert self._dataset is not None
        dataset = self._dataset
        if column == KEY:
            return dataset.keys.ranks[found]
        if column == SPLIT:
            names = dataset.splits[found]
            return np.select([names == name for name in dataset.split_names], range(len(dataset.split_names)))
        if column == LABEL:
            return dataset.labels[found]
        if column == PREDICTION:
            return self.predicted[found]
        return self.p_true[found] if column == PROBABILITY else self.painted[found]

    def row_of(self, index: int | None) -> int:
        """Return the row of an item, -1 where it is filtered out."""
        return int(self._rows[index]) if index is not None and 0 <= index < len(self._rows) else -1

    def _changed(self, first: int, last: int, rows: np.ndarray) -> None:
        """Tell Qt that columns `first` to `last` are others in these rows, of which -1 are none."""
        rows = rows[rows >= 0]
        if len(rows):
            self.dataChanged.emit(self.index(int(rows.min()), first), self.index(int(rows.max()), last))

    # Qt's questions -------------------------------------------------------------------------------

    def rowCount(self, parent: Any = ROOT) -> int:
        """Return the number of items that pass the filter."""
        return 0 if parent.isValid() else len(self.shown)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if self._dataset is None or not index.isValid() or index.row() >= len(self.shown):
            return None
        item, column = int(self.shown[index.row()]), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(item, column)
        if role == Qt.ItemDataRole.ToolTipRole and column == KEY:
            return plain(self._dataset.keys[item])
        if role == Qt.ItemDataRole.ForegroundRole and column in (PREDICTION, PROBABILITY):
            label, predicted = int(self._dataset.labels[item]), int(self.predicted[item])
            return text_colour("warning") if label >= 0 and predicted >= 0 and label != predicted else None
        if role == Qt.ItemDataRole.TextAlignmentRole and column >= LABEL:
            return int(Qt.AlignmentFlag.AlignCenter)
        return None

    def _text(self, item: int, column: int) -> str:
        assert self._dataset is not None
        dataset = self._dataset
        if column == KEY:
            return dataset.keys[item]
        if column == SPLIT:
            return str(dataset.splits[item])
        if column == LABEL:
            label = int(dataset.labels[item])
            return dataset.class_names[label] if label >= 0 else ""
        if column == PREDICTION:
            predicted = int(self.predicted[item])
            return dataset.class_names[predicted] if predicted >= 0 else ""
        if column == PROBABILITY:
            value = float(self.p_true[item])
            return "" if np.isnan(value) else f"{value:.2f}"
        return "✓" if self.painted[item] else ""
