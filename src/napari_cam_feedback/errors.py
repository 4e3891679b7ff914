"""Our exceptions, and the one sentence that a user reads for any exception.

A sentence of the core says in words what is wrong and what to do; it names neither an option of the shell nor a field of a
form. Which settings it is about stands beside it (`FeedbackError.fields`), and each face of the program adds its own names
for them (`Naming`): the shell ``--mean``, a window the title of the field, which it also marks.
"""

from __future__ import annotations

import errno
import json
import os
import re
import traceback
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol


class Naming(Protocol):
    """What a face of the program calls the settings."""

    def name(self, field: str) -> str | None:
        """Return what a setting is called, as ``--mean`` for ``mean``; None where this face has no such setting."""
        ...

    def assign(self, settings: Mapping[str, Any]) -> str:
        """Say how these settings are given these values, as ``--mean 0.5 --std 0.2``."""
        ...


def name_settings(sentence: str, fields: Iterable[str], naming: Naming | None) -> str:
    """Return a sentence with the settings that it is about named at its end, as a face calls them; none twice."""
    found = [] if naming is None else [naming.name(field) for field in fields]
    names = [name for name in found if name and name not in sentence]
    return f"{sentence.removesuffix('.')} ({', '.join(names)})." if names else sentence


@dataclass(frozen=True)
class Remark:
    """Something to be said that is no error.

    Attributes
    ----------
    sentence : str
        One sentence, which names no settings of a face.
    fields : tuple of str
        The settings that it is about, by their names in the API.
    """

    sentence: str
    fields: tuple[str, ...] = ()

    def told(self, naming: Naming | None = None) -> str:
        """Return the sentence with the settings named as a face calls them."""
        return name_settings(self.sentence, self.fields, naming)


class FeedbackError(Exception):
    """Something the user can mend; ``str(error)`` is one sentence that says what is wrong and what to do.

    Parameters
    ----------
    sentence : str
        It names neither an option of the shell nor a field of a form.
    field : str or iterable of str
        The settings that it is about, by their names in the API, as ``mean``; none where it is about no setting.

    Attributes
    ----------
    fields : tuple of str
        Those settings.
    """

    def __init__(self, sentence: str, *, field: str | Iterable[str] = ()) -> None:
        super().__init__(sentence)
        self.fields = (field,) if isinstance(field, str) else tuple(field)


class DataError(FeedbackError):
    """A dataset or an image cannot be read or has the wrong form."""


class ModelError(FeedbackError):
    """A model cannot be loaded, does not fit the dataset, or cannot do what was asked."""


class SharedLayer(ModelError):
    """A layer serves several places of a network and puts out maps of other shapes at each, so it cannot be looked at."""


class ConsentNeeded(ModelError):
    """Something is done only if the user agrees to it: running their code, or a download.

    Parameters
    ----------
    sentence : str
        What would be done.
    kind : str
        The field of `ModelOptions` that gives the consent: ``trust`` or ``download``.
    question : str
        What a window asks, to be answered by yes or no.
    """

    def __init__(self, sentence: str, *, kind: Literal["trust", "download"], question: str) -> None:
        super().__init__(sentence, field=kind)
        self.kind = kind
        self.question = question


@dataclass(frozen=True)
class Mismatch:
    """One way in which weights do not fit an architecture.

    Attributes
    ----------
    name : str
        The weight's name; or what else does not fit, such as "classes".
    found : str
        Its shape in the file; empty where the file has none.
    expected : str
        Its shape in the architecture; empty where that has none.
    """

    name: str
    found: str
    expected: str


class WeightsMismatch(ModelError):
    """Weights do not fit the architecture that was named for them; the sentence says it, `rows` are the table.

    Attributes
    ----------
    rows : tuple of Mismatch
        Every weight that does not fit, in the architecture's order.
    """

    def __init__(self, sentence: str, rows: Iterable[Mismatch], *, field: str | Iterable[str] = ()) -> None:
        super().__init__(sentence, field=field)
        self.rows = tuple(rows)


class MaskError(FeedbackError):
    """A mask cannot be read or does not fit its image."""


class ConfigError(FeedbackError):
    """A setting has a value that cannot be used."""


def not_a_list(name: str, given: object) -> ConfigError:
    """Return the error that a setting, which takes a list of words, was given something else; it says how to write it."""
    # A shell takes the quotes out of ["features"] where none are put around it.
    words = [word.strip(" \"'") for word in str(given).strip("[]() ").split(",")]
    right = json.dumps(words)
    return ConfigError(
        f"The setting {name} takes a list, not {given!r}; write it as {right} (in a shell: {name}='{right}').", field=name
    )


class StorageError(FeedbackError):
    """A file could not be written or read (full disk, missing rights)."""


class ImagesMoved(DataError):
    """The images of a project are not where they were.

    Parameters
    ----------
    folder : str
        The project's.
    images : str
        Where the images were.
    """

    def __init__(self, folder: str, images: str) -> None:
        super().__init__(
            f"The images of the project {folder} are no longer in {images}; put them back, or say where they are now.",
            field="images",
        )
        self.folder, self.images = folder, images


class RetuneError(FeedbackError):
    """A retune could not start or could not be finished."""


_OS_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EFBIG: "the file is too large for that disk; choose another disk",
    errno.EDQUOT: "your disk quota is used up; free some space and try again",
    errno.EROFS: "the folder is read-only; choose another folder",
    errno.EACCES: "you may not write or read there; choose another folder or change its rights",
    errno.EPERM: "you may not write or read there; choose another folder or change its rights",
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.EEXIST: "a file of that name is in the way; move it or choose another name",
    errno.EISDIR: "that is a folder, not a file; name a file",
    errno.ENOTDIR: "part of that path is a file, not a folder; check the path",
    errno.ENAMETOOLONG: "the file name is too long; choose a shorter one",
}
# What torch says on Windows and elsewhere, and what the operating system says.
_NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "calculation overflowed")


def describe(error: BaseException, naming: Naming | None = None) -> str:
    """Return one line, without a traceback, that says what went wrong and what to do.

    Parameters
    ----------
    error : BaseException
        Any exception; ours give their own text, those of the operating system and of torch a translation. Characters that
        cannot be shown, or that a terminal would obey, are written as numbers.
    naming : Naming, optional
        What the settings are called where the line is read; without it they are not named.
    """
    try:
        return _shorten(printable(_sentence(error, naming)))
    except Exception:  # its own text cannot be had
        return f"Unexpected {type(error).__name__} (a fault of the program; please report it)."


_LONGEST, _LONGEST_WORD = 1000, 300
# Beside control characters: what turns the direction of a text, so that a name reads as another.
_TURNING = frozenset(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def printable(text: str) -> str:
    """Return a text with characters that cannot be shown, or that a terminal would obey, as numbers (``\\x1b``)."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _shorten(text: str) -> str:
    """Return a sentence in which no word is so long that the others are lost; paths are shorter."""
    return text if len(text) <= _LONGEST else re.sub(rf"(\S{{{_LONGEST_WORD}}})\S+", r"\1…", text)


def _printable(letter: str) -> str:
    if letter in "\n\t" or not (letter in _TURNING or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")):
        return letter
    return letter.encode("unicode_escape").decode()


def _sentence(error: BaseException, naming: Naming | None) -> str:
    if isinstance(error, FeedbackError):
        return name_settings(" ".join(str(error).split()), error.fields, naming)
    if isinstance(error, OSError) and error.errno in _OS_REASONS:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{_OS_REASONS[error.errno]}."
    text = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(words in text for words in _NO_MEMORY):
        return "There is not enough memory for this; use a smaller batch, smaller images, or the CPU."
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the operating system reports “{error.strerror}”; check the disk and the path, and try again."
    own = _in_code_of_the_user(error)
    if own is not None:
        return f"{own} failed ({name}: {text[:300]}); mend it, and begin again."
    return f"Unexpected {name}: {text[:300]} (a fault of the program; please report it)."


#: Of the names under which Python files of the user's are kept that make networks or fill images.
USER_CODE = "_napari_cam_feedback_"


def _in_code_of_the_user(error: BaseException) -> str | None:
    """Return file and line of a Python file of the user's that an exception was raised in; None where it was not."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        if str(frame.f_globals.get("__name__", "")).startswith(USER_CODE):
            return f"{os.path.basename(frame.f_code.co_filename)} (line {line}, {frame.f_code.co_name})"  # noqa: PTH119
    return None
