"""Changing a file at random: bytes, numbers and words in it, and the parts of archives, whose checksums are mended."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

from hypothesis import strategies as st

# What programs stumble over where they expect a number or a word.
_WORDS = (
    b"", b"-1", b"0", b"1e999", b"-0.0", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b"[[[[", b"'", b'"',
    b"99999999999999999999", b"9" * 400, b"9" * 5000, b"1.5", b"x" * 300, b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"../../x",
    b"/etc/passwd", b"[" * 3000, b'{"a":' * 2000, b"(" * 300, b"9**9**9**9", b"\\", b"\n", b",", b";", b"$", b"%",
    b"\x1b[31m",
    b"$\\frac{$", b"2147483647", b"4294967296", b"9223372036854775807", b"-9223372036854775808",
)  # fmt: skip
_NUMBERS = tuple(
    struct.pack(order + code, value)
    for order in "<>"
    for code, values in (
        ("B", (0, 1, 127, 128, 255)),
        ("H", (0, 1, 32767, 65535)),
        ("I", (0, 1, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)),
        ("Q", (0, 1 << 32, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)),
    )
    for value in values
)
_TOKEN = re.compile(rb'-?\d+(?:\.\d+)?|"(?:[^"\\]|\\.)*"|true|false|null|[A-Za-z_]+')

#: One change: what is done, where (a share of the file), and a number that chooses among what is put there.
Change = tuple[str, float, int]
_KINDS = ("flip", "number", "word", "token", "swap", "cut", "drop", "repeat", "insert", "nest")
CHANGES = st.lists(
    st.tuples(st.sampled_from(_KINDS), st.floats(0, 1, exclude_max=True, width=32), st.integers(0, 1 << 16)),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, changes: list[Change], form: str = "") -> bytes:
    """Return the file with the changes made.

    Parameters
    ----------
    data : bytes
        The file.
    changes : list of Change
        Done one after another.
    form : str
        ``zip`` or ``png``: changes are made in the parts of the file, and what says that they are whole is made anew. Else
        the file as it is.
    """
    inside = _INSIDE.get(form)
    for kind, where, number in changes:
        # Now and then the file itself, whatever it is made of.
        data = inside(data, kind, where, number) if inside and number % 5 else _change(data, kind, where, number)
    return data


def _change(data: bytes, kind: str, where: float, number: int) -> bytes:
    at = int(where * (len(data) + 1))
    if kind == "cut":
        return data[:at]
    if kind == "drop":
        return data[:at] + data[at + 1 + number % 64 :]
    if kind == "repeat":
        return data[:at] + data[at : at + 1 + number % 256] * (2 + number % 30) + data[at:]
    if kind == "insert":
        return data[:at] + _WORDS[number % len(_WORDS)] + data[at:]
    if kind == "word":
        word = _WORDS[number % len(_WORDS)]
        return data[:at] + word + data[at + len(word) :]
    if kind == "number":
        value = _NUMBERS[number % len(_NUMBERS)]
        return data[:at] + value + data[at + len(value) :]
    if kind in ("token", "swap", "nest"):
        return _change_token(data, kind, where, number)
    if at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :]
    return data + bytes([number % 256])


def _change_token(data: bytes, kind: str, where: float, number: int) -> bytes:
    tokens = list(_TOKEN.finditer(data[:50_000]))
    if not tokens:
        return data
    one = tokens[int(where * len(tokens))]
    if kind == "token":
        return data[: one.start()] + _WORDS[number % len(_WORDS)] + data[one.end() :]
    if kind == "nest":
        depth = 1 + number % 2000
        return data[: one.start()] + b"[" * depth + one[0] + b"]" * depth + data[one.end() :]
    other = tokens[number % len(tokens)]
    return data[: one.start()] + other[0] + data[one.end() :]


def _in_zip(data: bytes, kind: str, where: float, number: int) -> bytes:
    """Change one of an archive's files, or its name; the archive around it is whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            parts = [(info.filename, old.read(info)) for info in old.infolist()]
    except Exception:  # an earlier change broke it
        return _change(data, kind, where, number)
    if not parts:
        return data
    chosen = number % len(parts)
    if number % 37 == 0:
        parts.append((parts[chosen][0] + "x", parts[chosen][1]))
    elif number % 41 == 0:
        del parts[chosen]
    new = io.BytesIO()
    with zipfile.ZipFile(new, "w") as file:
        for place, (name, content) in enumerate(parts):
            file.writestr(name, _change(content, kind, where, number // len(parts)) if place == chosen else content)
    return new.getvalue()


def _in_png(data: bytes, kind: str, where: float, number: int) -> bytes:
    """Change one of a PNG's chunks and mend its checksum."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return data
    chosen = number % len(chunks)
    out = [data[:8]]
    for place, (name, content) in enumerate(chunks):
        if place == chosen:
            content = _change(content, kind, where, number // len(chunks))
        out.append(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    return b"".join(out)


_INSIDE: dict[str, Callable[[bytes, str, float, int], bytes]] = {"zip": _in_zip, "png": _in_png}
