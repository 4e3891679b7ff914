"""New folders for what is written: never one that holds something already."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_feedback.files import is_free, unused


def ask_new_folder(parent: QWidget, title: str, start: Path, name: str) -> Path | None:
    """Ask for a folder to write into, and return an empty or new one; None if the user wants none.

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
