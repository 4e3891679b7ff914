"""One line on the images that cannot be read, and on request the list of them with the reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, plain, tight, wrapped_label

_LIST_LINES = 6
# A list of more lines tells a user nothing; the whole dataset is at a wrong place then.
_MAX_LISTED = 1000


class BrokenImages(QWidget):
    """Tells once of all images that cannot be read; hidden while there are none.

    Signals
    -------
    chosen : str
        The key of an image that the user picked from the list.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.sentences: dict[str, str] = {}
        column = tight(QVBoxLayout(self), 2)
        self.line = wrapped_label(tone="warning")
        self.button = QPushButton("Which?")
        self.button.setCheckable(True)
        self.button.setToolTip("List them, each with the reason")
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setSpacing(2)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFixedHeight(_LIST_LINES * self.fontMetrics().lineSpacing() + 8)
        self.list.itemClicked.connect(lambda item: self.chosen.emit(item.data(Qt.ItemDataRole.UserRole)))
        self.button.toggled.connect(self._show)
        row = QHBoxLayout()
        row.addWidget(self.line, 1)
        row.addWidget(self.button)
        fill(column, row, self.list)
        self._show()

    def add(self, sentences: Mapping[str, str]) -> None:
        """Add images, by key, each with the sentence that says why it cannot be read."""
        if not sentences.items() <= self.sentences.items():
            self.sentences.update(sentences)
            self._show()

    def remove(self, keys: Iterable[str]) -> None:
        """Forget images that can be read again."""
        found = [key for key in keys if key in self.sentences]
        for key in found:
            del self.sentences[key]
        if found:
            self._show()

    def clear(self) -> None:
        """Forget all of them, as when another dataset is opened."""
        self.sentences.clear()
        self.button.setChecked(False)
        self._show()

    def _show(self) -> None:
        count = len(self.sentences)
        self.setVisible(count > 0)
        self.line.setText("1 image cannot be read." if count == 1 else f"{count} images cannot be read.")
        self.list.setVisible(self.button.isChecked())
        self.list.clear()
        if not self.button.isChecked():
            return
        for number, (key, sentence) in enumerate(self.sentences.items()):
            if number == _MAX_LISTED:
                self.list.addItem(f"and {count - number} more")
                break
            item = QListWidgetItem(_shorten(key, sentence))
            item.setData(Qt.ItemDataRole.UserRole, key)
            item.setToolTip(plain(sentence))
            self.list.addItem(item)


def _shorten(key: str, sentence: str) -> str:
    """Return the sentence with the file called by its key: of a whole path the end is what tells."""
    short = re.sub(r"[^'\"“”]*" + re.escape(key), lambda _: key, sentence)
    return short if key in short else f"{key}: {sentence}"
