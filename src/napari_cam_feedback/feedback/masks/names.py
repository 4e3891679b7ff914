"""Names of mask files: one for each key, which every system can write, and of which no two are the same anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath

from PIL.PngImagePlugin import PngInfo

from napari_cam_feedback.data.pixels.images import open_image
from napari_cam_feedback.errors import MaskError
from napari_cam_feedback.files import folded

#: Folder of the masks whose key is no file name on some system; each file says its key.
NAMED = "_named"
#: Under which a file in it says its key, as a text of the PNG.
KEY_TEXT = "key"
_DESCRIPTION = 270
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy"))
#: How files begin that are no masks: our own temporary ones, and what macOS puts beside files on foreign disks.
SCRATCH = (".tmp-", "._")
# What Windows allows in no name, what ends one there unnoticed, and names of devices, also with an ending.
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in range(10))))
# Linux allows 255 bytes a name, Windows about 260 characters for a whole path, of which the project's folder has some.
_MAX_NAME_BYTES = 200
_MAX_LENGTH = 160
# Of the key, in the name of a file in the folder above.
_MAX_SHOWN = 40


class FileNames:
    """Chooses the files of keys in one folder, so that two that differ only in case or Unicode form get two files."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def note(self, name: str, key: str) -> None:
        """Note that a file, relative to the folder, is a key's."""
        self._taken.setdefault(folded(name), key)

    def forget(self, name: str) -> None:
        """Note that there is no such file any more."""
        self._taken.pop(folded(name), None)

    def choose(self, key: str) -> str:
        """Return the file for a key, relative to the folder; raises MaskError where there is none.

        It is ``<key>.png``, or one in the folder ``_named`` where some system could not write that.
        """
        check_key(key)
        plain = f"{key}.png"
        if _is_plain(plain) and self._taken.get(folded(plain), key) == key:
            return plain
        return named(key)


def named(key: str) -> str:
    """Return the file of a key in the folder of those whose key is no file name; the same key always gets the same."""
    shown = re.sub(r"[^A-Za-z0-9.-]+", "-", key)[-_MAX_SHOWN:].strip(".-")
    return f"{NAMED}/{shown}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.png"


def check_key(key: str) -> None:
    """Raise MaskError unless a key is a path inside a dataset."""
    place = PurePosixPath(key)
    parts = re.split(r"[/\\]", key)
    inside = place.parts and not place.is_absolute() and str(place) == key and ".." not in parts and "\0" not in key
    if not inside or place.name.startswith(SCRATCH):
        raise MaskError(f"{key!r} cannot be the key of an image; use a path inside the dataset.")


def without_ending(key: str) -> str | None:
    """Return an image's key without its ending, as a folder of known masks has it; None where it stands for no other.

    What is left of ``0.png.jpg`` is the name of another image, whose mask this is.
    """
    stem, suffix = os.path.splitext(key)  # noqa: PTH122 - keys are POSIX paths, not paths of this system
    return stem if suffix.lower() in IMAGE_SUFFIXES and not has_ending(stem) else None


def has_ending(key: str) -> bool:
    """Tell whether a key ends like an image's file."""
    return os.path.splitext(key)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - as above


def key_in(path: Path) -> str | None:
    """Return the key that a file in the folder ``_named`` says; None where it says none."""
    try:
        with open_image(path) as image:
            texts = image.info if image.format == "PNG" else json.loads(image.tag_v2[_DESCRIPTION])  # type: ignore[attr-defined]
            key = texts[KEY_TEXT]
        check_key(str(key))
    except Exception:  # Pillow and its readers raise errors of many kinds for broken files
        return None
    return str(key)


def text_of(name: str, key: str) -> PngInfo:
    """Return the texts of a key's PNG of that name: the key, where the name does not say it."""
    text = PngInfo()
    if name == named(key):
        text.add_itxt(KEY_TEXT, key)
    return text


def _is_plain(name: str) -> bool:
    """Whether every system can write a path, and will find it again as it is."""
    *folders, _ = parts = name.split("/")
    return (
        len(name) <= _MAX_LENGTH
        and parts[0] != NAMED
        and not _FORBIDDEN.search(name)
        and all(len(part.encode()) <= _MAX_NAME_BYTES and part[-1] not in ". " for part in parts)
        and all(part.partition(".")[0].rstrip(" ").upper() not in _DEVICES for part in parts)
        # A folder of that name would be in the way of a mask.
        and not any(part.lower().endswith(".png") for part in folders)
    )
