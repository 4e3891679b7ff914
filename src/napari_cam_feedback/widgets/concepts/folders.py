"""Folders that a user names as concepts: one of images, or one with a folder for each concept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import DataError, describe
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.tasks.workers import WorkStopped

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import ConceptSet


def read_folders(folders: Sequence[Path], monitor: Monitor) -> list[ConceptSet]:
    """Return the concepts of some folders.

    A folder that has images of its own is one concept; one that has only folders gives a concept for each.

    Raises
    ------
    DataError
        A folder is missing, unreadable or holds no images.
    """
    from napari_cam_feedback.explanations import read_concept, read_concepts

    found: list[ConceptSet] = []
    for folder in folders:
        if monitor.stopped:
            raise WorkStopped
        found += [read_concept(folder)] if _is_one_concept(folder) else read_concepts(folder)
    return found


def _is_one_concept(folder: Path) -> bool:
    from napari_cam_feedback.data.pixels import images

    try:
        with os.scandir(folder) as entries:
            listed = [entry for entry in entries if not entry.name.startswith(".")]
            has_images = any(Path(entry.name).suffix.lower() in images.SUFFIXES and entry.is_file() for entry in listed)
            return has_images or not any(entry.is_dir() for entry in listed)
    except (FileNotFoundError, NotADirectoryError):
        return True  # of which reading it tells
    except OSError as error:
        raise DataError(f"Could not read the folder {folder}: {describe(error)}") from error


def free_name(concept: ConceptSet, taken: Sequence[str]) -> str:
    """Return the concept's name; where another has it, with that of the folder above, else with a number."""
    source = concept.dataset.source
    names = [concept.name] if source is None else [concept.name, f"{source.resolve().parent.name} {concept.name}"]
    number = 2
    while names[0] in taken:
        names = names[1:] or [f"{concept.name} {number}"]
        number += 1
    return names[0]
