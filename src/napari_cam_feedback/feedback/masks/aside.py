"""Taking a mask out of a set without losing it."""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_cam_feedback.data.links import Fence
from napari_cam_feedback.errors import MaskError
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
    aside, file = MaskStore(folder), store.file(key)
    try:
        mask = store[key]
    except MaskError:
        # A link may lead to what is not a mask at all; only the link goes.
        if file is not None and Fence(store.folder).leak(file) is None:
            with atomic_path(aside.path(key)) as copy:
                shutil.copyfile(file, copy)
    else:
        info = store.info(key)
        aside.put(key, mask, author=info.get("author") or "", time=info.get("time"))
    store.remove(key)
