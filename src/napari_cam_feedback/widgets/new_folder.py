"""New folders for what is written: never one that holds something already."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget


def ask_new_folder(parent: QWidget, title: str, start: Path, name: str) -> Path | None:
    """Ask for a folder to write into, and return an empty or new one; None if the person wants none.

    Parameters
    ----------
    parent : QWidget
        Whose window asks.
    title : str
        Of the dialog.
    start : Path
        Where the dialog begins.
    name : str
        What a folder in the chosen one is called, where that holds something already.
    """
    chosen = QFileDialog.getExistingDirectory(parent, title, str(start))
    if not chosen:
        return None
    folder = Path(chosen)
    return folder if is_free(folder) else unused(folder / name)


def is_free(folder: Path) -> bool:
    """Tell whether there is nothing in a folder, or no such folder."""
    return not folder.exists() or (folder.is_dir() and next(folder.iterdir(), None) is None)


def unused(folder: Path) -> Path:
    """Return the folder, with a number behind its name if there is something in one of that name already."""
    number, found = 1, folder
    while not is_free(found):
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found
