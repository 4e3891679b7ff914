"""Keeping to a folder: what symbolic links in it lead out of it is neither read nor written."""

from __future__ import annotations

import os
from pathlib import Path


class Fence:
    """Tells which paths under a folder leave it, because they are links or lie behind one.

    The folder itself may be a link, and links from one place in it to another are fine. Folders found to be inside
    are remembered, so that asking for a file costs one question to the system; one that leaves is looked at
    again each time, since it may have been mended.

    Parameters
    ----------
    root : path
        The folder.
    """

    # A dataset may have a folder for each image.
    _REMEMBERED = 10_000

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.fspath(root)
        self._real_root = os.path.normcase(os.path.realpath(root))
        self._inside: set[str] = set()

    def leak(self, path: str | os.PathLike[str]) -> str | None:
        """Return what is wrong with a path under the folder as a sentence; None where it stays inside.

        The path need not exist.
        """
        path = os.fspath(path)
        if path == self._root:
            return None
        folder = os.path.dirname(path)  # noqa: PTH120 - for every image that is read; Path takes ten times as long
        if folder not in self._inside:
            if self._leaves(folder):
                return self._sentence(path)
            if len(self._inside) >= self._REMEMBERED:
                self._inside.clear()
            self._inside.add(folder)
        return self._sentence(path) if _is_link(path) and self._leaves(path) else None

    def _leaves(self, path: str) -> bool:
        real = os.path.normcase(os.path.realpath(path))
        return real != self._real_root and not real.startswith(self._real_root.rstrip(os.sep) + os.sep)

    def _sentence(self, path: str) -> str:
        link = Path(self._root)
        for part in Path(path).relative_to(self._root).parts:
            link /= part
            if self._leaves(str(link)):
                break
        return (
            f"{link} is a link to {os.path.realpath(link)}, outside of {self._root}; "
            "copy the files in, or open the folder they are in."
        )


def _is_link(path: str) -> bool:
    return os.path.islink(path)  # noqa: PTH114 - as above
