"""What a command reads is not written over by what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from napari_cam_feedback.errors import ConfigError

# Whose --out is a file. The others' is a folder, and they refuse a file there themselves; train does so with its own reason.
_WRITE_FILES = (("predict",), ("explain",), ("masks", "export"), ("project", "export"))
# Results are never images of these kinds.
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")


def spare_inputs(words: Sequence[str]) -> None:
    """Find out whether a file that is to be written is one that the same command reads, or an image.

    Parameters
    ----------
    words : sequence of str
        The command line, without the program's name.

    Raises
    ------
    ConfigError
        One is.
    """
    outputs = {"--json"} | {"--out" for command in _WRITE_FILES if tuple(words[: len(command)]) == command}
    for option, name in _named(words):
        path = Path(name)
        if option not in outputs or not path.is_file():
            continue
        others = [word for at, word in _named(words) if (at, word) != (option, name)]
        if path.suffix.lower() in _IMAGES or any(Path(other).is_file() and path.samefile(other) for other in others):
            raise ConfigError(
                f"{name} is a file that is there already and no result of such a command; name another file with {option}."
            )


def _named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each word that may be a path, and the option that it belongs to."""
    for before, word in pairwise(["", *words]):
        option, equals, value = word.partition("=")
        if option.startswith("-") and equals:
            yield option, value
        elif word and not word.startswith("-") and len(word) < 4096:
            yield before, word
