"""A line for a path, with buttons that open file dialogs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QWidget

from napari_cam_feedback.widgets.parts.basics import small_button, tight


class PathField(QWidget):
    """A line for a path, with buttons that open file dialogs; a file dropped on it is taken too.

    Parameters
    ----------
    folder : bool
        Whether a folder may be chosen.
    files : str
        Qt filter of the files that may be chosen; empty for none.
    hint : str
        Shown while nothing is chosen.
    name : str
        What a screen reader calls it; needed where no label of a form is beside it.
    """

    def __init__(self, *, folder: bool = False, files: str = "", hint: str = "", name: str = "") -> None:
        super().__init__()
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(hint)
        self.edit.setAccessibleName(name)
        row = tight(QHBoxLayout(self), 3)
        row.addWidget(self.edit, 1)
        self._files = files
        if files:
            row.addWidget(small_button("File…", self._choose_file))
        if folder:
            button = small_button("Folder…", self._choose_folder)
            button.setAccessibleName(f"{name}: choose a folder" if name else "")
            row.addWidget(button)

    @property
    def text(self) -> str:
        """What was typed, dropped or chosen, as plain text."""
        text = self.edit.text().strip()
        if text.startswith("file:"):  # dropped from a file manager
            return QUrl(text.split()[0]).toLocalFile()
        # Windows copies paths in quotes.
        return text.strip('"')

    @property
    def path(self) -> Path | None:
        """The same as a path, None where there is nothing."""
        return Path(self.text).expanduser() if self.text else None

    def set_path(self, path: Path | str) -> None:
        """Show a path."""
        self.edit.setText(str(path))

    def _start(self) -> str:
        return str(self.path or Path.home())

    def _choose_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a file", self._start(), self._files)
        if name:
            self.edit.setText(name)

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder", self._start())
        if name:
            self.edit.setText(name)
