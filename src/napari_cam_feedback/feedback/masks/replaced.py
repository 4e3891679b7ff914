"""Keeping the masks of other holders that give way to newer ones."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.feedback.masks.holders import Replaced
from napari_cam_feedback.feedback.masks.index import Entry
from napari_cam_feedback.files import make_unused_folder


class ReplacedMasks:
    """``<folder>-replaced`` beside a folder of masks: a folder of masks for each time that one gave way.

    Parameters
    ----------
    folder : Path
        Of the masks that are in use.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = folder.with_name(f"{folder.name}-replaced")

    def of(self, key: str, entry: Entry, folder: str) -> Replaced:
        """Return the mask that gave way, by its entry in the index and its folder's name, which anybody may have written."""
        author = entry.get("author")
        return Replaced(key, author if isinstance(author, str) else None, self._kept / Path(folder).name)

    def keep(self, key: str, file: Path, entry: Entry) -> Replaced:
        """Copy a mask's file into a folder of its own; raises StorageError."""
        from napari_cam_feedback.feedback.masks.aside import copy_aside

        try:
            folder = make_unused_folder(self._kept / datetime.now().strftime("%Y%m%d-%H%M%S"))
        except OSError as error:
            raise StorageError(f"Could not write {self._kept}: {describe(error)}") from error
        copy_aside(key, file, entry, folder)
        return self.of(key, entry, folder.name)
