"""Taking a mask out of a set without losing it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.feedback.masks.reading import read_mask_file
from napari_cam_feedback.feedback.masks.store import MaskStore
from napari_cam_feedback.files import atomic_path


def put_aside(store: MaskStore, key: str, folder: Path) -> None:
    """Move a mask into another folder, with its author and time; as it is, where it cannot be read.

    Parameters
    ----------
    store : MaskStore
        What it is taken out of.
    key : str
        The image's.
    folder : Path
        Where it is kept; made if need be.

    Raises
    ------
    StorageError
        It could not be written or removed; `store` has it still.
    """
    file = store.file(key)
    if key in store.unsaved and key in store:
        about = store.info(key)
        MaskStore(folder).put(key, store[key], author=about.get("author") or "", time=about.get("time"))
    # A link may lead to what is not a mask at all; only the link goes.
    elif file is not None and Fence(store.folder).leak(file) is None:
        copy_aside(key, file, store.info(key), folder)
    store.remove(key)


def copy_aside(key: str, file: Path, about: Mapping[str, Any], folder: Path) -> None:
    """Copy the file of a mask into a folder of masks; as it is, where it cannot be read.

    Parameters
    ----------
    key : str
        The image's.
    file : Path
        The mask's.
    about : mapping
        ``author`` and ``time``, where they are known.
    folder : Path
        Where it is kept; made if need be.

    Raises
    ------
    StorageError
        It could not be written.
    """
    aside = MaskStore(folder)
    try:
        mask = read_mask_file(file)
    except MaskError:
        with atomic_path(aside.path(key)) as copy:
            shutil.copyfile(file, copy)
    else:
        aside.put(key, mask, author=about.get("author") or "", time=about.get("time"))
