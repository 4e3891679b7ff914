"""The log of a run: what it said on the way, iteration by iteration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qtpy.QtWidgets import QPlainTextEdit

from napari_cam_feedback.widgets.parts.fold import Fold

#: Lines of text that are seen at once.
_LINES = 6


class RunLog(Fold):
    """Folded lines of a run, each an iteration and a message; hidden while there is none.

    Attributes
    ----------
    text : QPlainTextEdit
        The lines; read-only, to be scrolled by keyboard and copied.
    """

    def __init__(self) -> None:
        self.text = QPlainTextEdit()
        super().__init__("The run's log", self.text)
        self.text.setReadOnly(True)
        # Tab goes on to the next control instead of into the text.
        self.text.setTabChangesFocus(True)
        self.text.setFixedHeight(self.text.fontMetrics().lineSpacing() * _LINES + 12)
        self.button.setToolTip("What the run said on the way; it is kept in the run's history.csv too")
        self.clear()

    @property
    def lines(self) -> list[str]:
        """The lines, oldest first."""
        return self.text.toPlainText().splitlines()

    def clear(self) -> None:
        """Forget the last run."""
        self.text.clear()
        self._count()

    def add(self, iteration: int, message: str) -> None:
        """Take a message."""
        self.text.appendPlainText(f"{iteration}: {' '.join(message.split())}")
        self._count()

    def replay(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Take the messages of a run's history."""
        for row in history:
            if row.get("message"):
                self.add(row["iteration"], row["message"])

    def _count(self) -> None:
        count = len(self.lines)
        self.button.setText(f"The run's log ({count})")
        self.setVisible(count > 0)
