"""Figures that one page of measurements has and the next is compared by.

A part of the benchmarks may run in processes of its own, so a figure is a line that is printed; `read` finds it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Better = Literal["less", "more"]
_LINE = re.compile(r"^  > (?P<name>.+) = (?P<value>\S+)(?: (?P<unit>\S+))? \((?P<better>less|more) is better\)$")


@dataclass(frozen=True)
class Figure:
    """Something that was measured.

    Attributes
    ----------
    name : str
        What.
    value : float
        How much.
    unit : str
        Of what; empty for shares and ratios.
    better : str
        ``less`` or ``more``.
    """

    name: str
    value: float
    unit: str
    better: Better

    def line(self) -> str:
        """Return the line that is printed."""
        return f"  > {self.name} = {self.value:.4g}{f' {self.unit}' if self.unit else ''} ({self.better} is better)"


def tell(name: str, value: float, unit: str = "", *, better: Better = "less") -> None:
    """Print a figure."""
    print(Figure(name, value, unit, better).line(), flush=True)


def read(lines: Iterable[str]) -> tuple[list[Figure], list[str]]:
    """Return the figures among lines that were printed, and the other lines."""
    figures, others = [], []
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            others.append(line)
            continue
        better: Better = "less" if found["better"] == "less" else "more"
        figures.append(Figure(found["name"], float(found["value"]), found["unit"] or "", better))
    return figures, others
