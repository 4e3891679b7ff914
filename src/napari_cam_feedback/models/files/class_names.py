"""Class names from a file: text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import ConfigError, describe
from napari_cam_feedback.files import parse_json

_INDEX_WORDS = ("index", "idx", "id", "label", "number", "class_id", "class_index", "target")
_NAME_WORDS = ("name", "class_name", "classname", "class", "category", "description", "label")

# Characters of a file, and digits of a number, above which it is none.
_LONGEST, _DIGITS = 10_000_000, 10


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read the names of a model's classes, in the order of its outputs.

    Parameters
    ----------
    path : path
        ``.json``: a list of names; an object from output to name (``{"0": "cat"}``) or from name to output
        (``{"cat": 0}``); or ImageNet's, from output to number and name (``{"0": ["n01440764", "tench"]}``).
        ``.csv`` or ``.tsv``: a column of names, or one of outputs and one of names, with or without a heading.
        Anything else is text with one name a line.

    Raises
    ------
    ConfigError
        The file cannot be read, has another form, names a class twice or leaves an output out; the sentence says which.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"Cannot read the class names in {path}: {describe(error)}") from error
    except ValueError as error:
        raise ConfigError(f"The class names in {path} are not text in UTF-8; save the file as such.") from error
    if len(text) > _LONGEST:
        raise ConfigError(f"{path} is far longer than a list of class names; name another file.")
    suffix = path.suffix.lower()
    if suffix == ".json":
        names = _from_json(text, path)
    elif suffix in {".csv", ".tsv"}:
        names = _from_csv(text, path)
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise ConfigError(f"There are no class names in {path}; give one a line.")
    twice, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"The class {twice!r} is named twice in {path}; give each class another name.")
    return tuple(names)


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ConfigError(
            f"{path} is not JSON ({error}); mend it, or give a text file with one class name a line."
        ) from error
    form = ConfigError(
        f"The JSON in {path} does not name classes; "
        'give ["cat", "dog"], {"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1}.'
    )
    if isinstance(content, Mapping) and len(content) == 1 and isinstance(next(iter(content.values())), list | Mapping):
        inner = next(iter(content.values()))  # such as {"classes": […]}
        content = content if _is_number(next(iter(content))) else inner
    if isinstance(content, list):
        if not all(isinstance(name, str | int | float) for name in content):
            raise form
        return [str(name).strip() for name in content]
    if not isinstance(content, Mapping) or not content:
        raise form
    if all(_is_number(key) for key in content) and all(_name(value) is not None for value in content.values()):
        named = {key: str(_name(value)) for key, value in content.items()}
        count = Counter(named.values())
        # ImageNet has two cranes and two maillots, told apart by their numbers.
        named |= {
            key: f"{named[key]} ({v[0]})" for key, v in content.items() if isinstance(v, list) and count[named[key]] > 1
        }
        return _in_order([(int(key), name) for key, name in named.items()], path)
    if all(_is_number(value) for value in content.values()):
        return _in_order([(int(value), key) for key, value in content.items()], path)
    raise form


def _name(value: Any) -> str | None:
    """Return the name in a value of a JSON object: itself, or the last of a list as ImageNet's."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return value[-1].strip()
    return value.strip() if isinstance(value, str) else None


def _from_csv(text: str, path: Path) -> list[str]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    except csv.Error as error:
        raise ConfigError(f"{path} is not a CSV file ({error}); give a text file with one class name a line.") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        return []
    width = len(rows[0])
    ragged = next((number for number, row in enumerate(rows, 1) if len(row) != width), None)
    if ragged is not None:
        raise ConfigError(f"Line {ragged} of {path} has not as many columns as the first; put names with commas in quotes.")
    words = [cell.lower().replace(" ", "_") for cell in rows[0]]
    if width == 1:
        return [row[0] for row in (rows[1:] if words[0] in _NAME_WORDS else rows)]
    columns = list(zip(*rows, strict=True))
    numbers = [n for n, column in enumerate(columns) if all(map(_is_number, column[1:])) and len(column) > 1]
    headed = not any(_is_number(cell) for cell in rows[0]) and (bool(numbers) or any(word in _NAME_WORDS for word in words))
    if not headed:
        numbers = [n for n in numbers if _is_number(rows[0][n])]
    body = rows[1:] if headed else rows
    index = next((n for n in numbers if headed and words[n] in _INDEX_WORDS), numbers[0] if numbers else None)
    others = [n for n in range(width) if n != index]
    name = next((n for n in others if headed and words[n] in _NAME_WORDS), None)
    if name is None and len(others) == 1:
        name = others[0]
    if name is None:
        raise ConfigError(f"It is not clear which column of {path} names the classes; head it with “name”.")
    if index is None:
        return [row[name] for row in body]
    return _in_order([(int(row[index]), row[name]) for row in body], path)


def _is_number(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (
        isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _DIGITS
    )


def _in_order(pairs: Iterable[tuple[int, str]], path: Path) -> list[str]:
    """Return the names in the order of their outputs, which must run from 0 (or 1) without a gap."""
    ordered: Sequence[tuple[int, str]] = sorted(pairs)
    start = 1 if ordered[0][0] == 1 else 0
    for expected, (number, name) in enumerate(ordered, start):
        if number != expected:
            what = "twice" if number < expected else "next"
            raise ConfigError(
                f"The outputs in {path} do not run from {start} to {start + len(ordered) - 1}: {number} ({name}) "
                f"comes {what}; name each output once."
            )
    return [name for _, name in ordered]
