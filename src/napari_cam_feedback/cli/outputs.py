"""Where a command is to write is looked at before its work: that nothing it reads is written over, and that it can be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from napari_cam_feedback.errors import ConfigError, StorageError

# Whose --out is a file. The others' is a folder, and they refuse a file there themselves; train does so with its own reason.
_WRITE_FILES = (("predict",), ("explain",), ("masks", "export"), ("project", "export"))
# Whose --out is a folder, and that may be there already.
_WRITE_FOLDERS = (("filters",), ("audit",), ("concepts",))
# Whose --out may be either.
_WRITE_EITHER = (("explain",),)
# Results are never images of these kinds.
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")


def check_outputs(words: Sequence[str]) -> None:
    """Find out whether a command can write where it is to write, before minutes of work are lost.

    Parameters
    ----------
    words : sequence of str
        The command line, without the program's name.

    Raises
    ------
    ConfigError
        A file to write is one that the same command reads, or an image.
    StorageError
        A folder is where a file is to be, or a file where a folder is; or nothing may be written there.
    """
    named, files = list(_named(words)), _files(words)
    for option, name in named:
        if option in files and Path(name).is_file():
            _spare(option, name, [other for other in named if other != (option, name)])
        if option in {*files, "--out", "--csv", "--pictures"}:
            _check_place(option, name, words)


def _spare(option: str, name: str, others: Sequence[tuple[str, str]]) -> None:
    """Refuse to write over an image, or over a file that another word names."""
    path = Path(name)
    if path.suffix.lower() in _IMAGES or any(Path(other).is_file() and path.samefile(other) for _, other in others):
        raise ConfigError(
            f"{name} is a file that is there already and no result of such a command; name another file with {option}."
        )


def _check_place(option: str, name: str, words: Sequence[str]) -> None:
    path = Path(name)
    either = option == "--out" and _is_one_of(_WRITE_EITHER, words)
    if option in _files(words) and path.is_dir() and not either:
        raise StorageError(f"{name} is a folder, not a file; name a file.")
    if option == "--out" and path.is_file() and _is_one_of(_WRITE_FOLDERS, words):
        raise StorageError(f"{name} is a file; name a folder for the results.")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise StorageError(f"{name} cannot be made: {above} is a file, not a folder; name another place with {option}.")
    if not path.exists() and not os.access(above, os.W_OK):
        raise StorageError(f"Nothing may be written to {above}; name another place with {option}.")


def _is_one_of(commands: Sequence[tuple[str, ...]], words: Sequence[str]) -> bool:
    return any(tuple(words[: len(command)]) == command for command in commands)


def _files(words: Sequence[str]) -> set[str]:
    """Return the options of a command that name a file to write."""
    return {"--json", "--out"} if _is_one_of(_WRITE_FILES, words) else {"--json"}


def _named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each word that may be a path, and the option that it belongs to."""
    for before, word in pairwise(["", *words]):
        option, equals, value = word.partition("=")
        if option.startswith("-") and equals:
            yield option, value
        elif word and not word.startswith("-") and len(word) < 4096:
            yield before, word
