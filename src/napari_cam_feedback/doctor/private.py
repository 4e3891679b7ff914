"""Taking the names of a user and a machine out of a text that is going to be shown to strangers."""

from __future__ import annotations

import getpass
import platform
import re
import tempfile
from contextlib import suppress
from pathlib import Path


def without_names(text: str) -> str:
    """Return a text with the home folder as ``~``, the temporary folder as ``<temporary>``, and neither user nor host.

    Parameters
    ----------
    text : str
        A sentence, or a path, in the way of writing of any system.
    """
    for folder, name in _folders():
        # Not where another folder's name merely begins alike: /home/ann in /home/anna.
        text = re.sub(re.escape(folder) + r"(?![\w-])", name, text, flags=re.IGNORECASE)
    for word, name in _words():
        text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", name, text, flags=re.IGNORECASE)
    return text


def _folders() -> list[tuple[str, str]]:
    """Return what folders are called, the longest first, since one may lie in another."""
    found: dict[str, str] = {}
    for folder, name in ((Path(tempfile.gettempdir()), "<temporary>"), (Path.home(), "~")):
        for each in (folder, folder.resolve()):
            if each != Path(each.anchor):  # a home that is the whole disk
                found |= {str(each): name, each.as_posix(): name, str(each).replace("\\", "\\\\"): name}
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


def _words() -> list[tuple[str, str]]:
    found = []
    with suppress(Exception):  # a user without a name, as in some containers
        found.append((getpass.getuser(), "<user>"))
    host = platform.node()
    found += [(name, "<host>") for name in (host, host.split(".")[0]) if name not in ("", "localhost")]
    # A single letter would be found everywhere.
    return [(word, name) for word, name in found if len(word) > 1]
