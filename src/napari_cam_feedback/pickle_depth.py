"""How deep tuples lie in each other in a pickle, told from its instructions.

Python hashes a key of a dictionary level by level on the stack of the process: some ten thousand tuples in each other end
the process without an exception, and take two bytes each.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from itertools import islice
from typing import Any

MAX_DEPTH = 50
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = -1


class BadPickle(ValueError):
    """Instructions that no pickler writes."""


class TooDeep(BadPickle):
    """Tuples lie in each other deeper than `MAX_DEPTH`."""


def check_pickles(data: Any, count: int = 1) -> None:
    """Look at the instructions of pickles that follow each other; none is followed.

    Parameters
    ----------
    data : bytes or file
        The pickles; a file is read from where it stands.
    count : int
        How many are looked at.

    Raises
    ------
    ValueError
        They are broken.
    BadPickle
        They are made to bring the process down, as by tuples that lie too deep in each other (`TooDeep`).
    """
    for _ in range(count):
        for _ in checked(pickletools.genops(data)):
            pass


def checked(operations: Iterator[tuple[Any, Any, int | None]]) -> Iterator[tuple[str, Any]]:
    """Yield name and argument of each instruction of a pickle; raises as `check_pickles` does."""
    # What would lie on the unpickler's stack: for each object how deep tuples lie in it, and marks.
    stack: list[int] = []
    memo: dict[Any, int] = {}
    for opcode, argument, _ in operations:
        name = opcode.name
        yield name, argument
        if name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = _top(stack)
        elif name == "MEMOIZE":
            memo[len(memo)] = _top(stack)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(argument, 0))
        elif name == "DUP":
            stack.append(_top(stack))
        elif name == "TUPLE" or name in _TUPLES:
            taken = _to_mark(stack) if name == "TUPLE" else _take(stack, _TUPLES[name])
            depth = 1 + max(taken, default=0)
            if depth > MAX_DEPTH:
                raise TooDeep(f"tuples in tuples, more than {MAX_DEPTH} deep")
            stack.append(depth)
        else:
            _follow(opcode, stack)


def _follow(opcode: Any, stack: list[int]) -> None:
    """Take from the stack and put on it what an instruction does; only tuples count."""
    before, kept = opcode.stack_before, len(opcode.stack_after)
    if pickletools.stackslice in before:
        _to_mark(stack)
        _take(stack, before.index(pickletools.markobject))
    else:
        _take(stack, len([each for each in before if each is not pickletools.markobject]))
    stack.extend([0] * kept)


def _top(stack: list[int]) -> int:
    if not stack:
        raise BadPickle("nothing is on the stack")
    return stack[-1]


def _take(stack: list[int], count: int) -> list[int]:
    taken = [stack.pop() for _ in islice(range(len(stack)), count)]
    if len(taken) < count:
        raise BadPickle("nothing is on the stack")
    return taken


def _to_mark(stack: list[int]) -> list[int]:
    taken: list[int] = []
    while stack:
        top = stack.pop()
        if top == _MARK:
            return taken
        taken.append(top)
    raise BadPickle("no mark is on the stack")
