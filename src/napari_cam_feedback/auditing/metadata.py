"""What the file of an image says of it: its kind, how it was compressed, and when and with what it was taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PIL import Image

from napari_cam_feedback.data.pixels.images import open_image

# Tags of EXIF: of the image itself, and of the part about the exposure.
_MAKE, _MODEL, _SOFTWARE, _DATE, _EXPOSURE, _TAKEN = 271, 272, 305, 306, 0x8769, 36867
_BITS = {"1": 1, "I;16": 16, "I": 32, "F": 32}
#: Texts that are compared as they stand.
TEXTS = ("kind", "mode", "make", "model", "software", "month")


def file_facts(path: Path) -> dict[str, float | str]:
    """Return what a file of an image says of it, without decoding it.

    Parameters
    ----------
    path : Path
        An image; what cannot be read is left out.

    Returns
    -------
    dict
        ``bytes``, ``channels``, ``bits`` and ``quality`` (mean of JPEG's quantisation table) are numbers; ``kind``,
        ``mode``, ``make``, ``model``, ``software`` and ``month`` (as ``2024-05``) are texts.
    """
    found: dict[str, float | str] = {}
    try:
        found["bytes"] = float(path.stat().st_size)
        with open_image(path) as image:
            found["kind"], found["mode"] = str(image.format), image.mode
            found["channels"], found["bits"] = float(len(image.getbands())), float(_BITS.get(image.mode, 8))
            found |= _quality(image) | _exif(image)
    except (OSError, ValueError, SyntaxError, TypeError):
        # Formats that only TIFF's own reader knows, and damaged tags; reading the pixels tells of damaged images.
        found["kind"] = path.suffix.lower().lstrip(".")
    return found


def _quality(image: Image.Image) -> dict[str, float | str]:
    tables: Any = getattr(image, "quantization", None)
    if not isinstance(tables, dict) or not tables:
        return {}
    table = next(iter(tables.values()))
    return {"quality": float(sum(table)) / max(1, len(table))}


def _exif(image: Image.Image) -> dict[str, float | str]:
    exif = image.getexif()
    found: dict[str, float | str] = {}
    for name, tag in (("make", _MAKE), ("model", _MODEL), ("software", _SOFTWARE)):
        if exif.get(tag):
            found[name] = str(exif[tag]).strip("\0 ")[:100]
    taken = exif.get_ifd(_EXPOSURE).get(_TAKEN) or exif.get(_DATE)
    date = re.match(r"(\d{4})[:\-](\d{2})", str(taken or ""))
    if date:
        found["month"] = "-".join(date.groups())
    return found
