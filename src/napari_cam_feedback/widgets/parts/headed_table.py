"""A table whose columns have names and explanations."""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

ROOT = QModelIndex()


class HeadedTable(QAbstractTableModel):
    """The columns of a table; a subclass has its rows.

    Attributes
    ----------
    headers, tips : tuple of str
        Name and explanation of each column; explanations may be left out.
    """

    headers: ClassVar[tuple[str, ...]]
    tips: ClassVar[tuple[str, ...]] = ()

    def columnCount(self, parent: Any = ROOT) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.headers)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a column's name or explanation."""
        texts = self.tips if role == Qt.ItemDataRole.ToolTipRole else ()
        texts = self.headers if role == Qt.ItemDataRole.DisplayRole else texts
        return texts[section] if orientation == Qt.Orientation.Horizontal and 0 <= section < len(texts) else None
