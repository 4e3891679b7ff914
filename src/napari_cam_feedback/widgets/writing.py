"""Writing a Labels layer as a mask: a PNG, white where anything is painted, as the program's own masks are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_mask(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer as an 8-bit PNG, 255 where a label is and 0 elsewhere; atomically.

    Parameters
    ----------
    path : str
        Of the file.
    data : array
        (H, W) integers.
    meta : dict
        Of the layer; its name goes into the sentence of an error.

    Returns
    -------
    list of str
        The file written.

    Raises
    ------
    MaskError
        The layer is a stack: a PNG holds one plane.
    StorageError
        The file cannot be written.
    """
    from PIL import Image

    from napari_cam_feedback.errors import MaskError
    from napari_cam_feedback.files import atomic_path

    labels = np.asarray(data)
    if labels.ndim != 2:
        name = meta.get("name", "The layer")
        raise MaskError(f"“{name}” has {labels.ndim} dimensions; a mask is one plane, so save it slice by slice.")
    target = Path(path)
    with atomic_path(target) as temporary:
        Image.fromarray((labels != 0).astype(np.uint8) * 255).save(temporary, format="PNG")
    return [str(target)]
