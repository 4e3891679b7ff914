"""What got worse from one page of measurements to the next: ``python -m benchmarks compare OLD.md NEW.md``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.page import read_page

#: A share, as an accuracy, that moved by less says nothing over three seeds.
SHARE = 0.02
#: Everything else is a time, a size or a ratio; less than this share of it is the machine's own unrest.
RELATIVE = 0.2


@dataclass(frozen=True)
class Moved:
    """A figure that two pages have.

    Attributes
    ----------
    part, name : str
        Which.
    old, new : Figure
        Before and after.
    """

    part: str
    name: str
    old: Figure
    new: Figure

    @property
    def worse_by(self) -> float:
        """By how much it got worse, in units of what counts; 1 and more counts, negative got better."""
        change = self.new.value - self.old.value
        if self.old.better == "more":
            return -change / SHARE
        return change / max(RELATIVE * abs(self.old.value), 1e-12)

    def line(self) -> str:
        """Say it."""
        unit = f" {self.old.unit}" if self.old.unit else ""
        return f"{self.part}: {self.name} {self.old.value:g} -> {self.new.value:g}{unit}"


def compare(old: Path, new: Path) -> tuple[list[Moved], list[Moved], list[str]]:
    """Return what got worse and what got better, the most first, and what only one of the pages has."""
    before, after = read_page(old), read_page(new)
    moved = [Moved(*key, before[key], after[key]) for key in before if key in after]
    worse = sorted((each for each in moved if each.worse_by >= 1), key=lambda each: -each.worse_by)
    better = sorted((each for each in moved if each.worse_by <= -1), key=lambda each: each.worse_by)
    return worse, better, [f"{part}: {name}" for part, name in before.keys() ^ after.keys()]


def main(words: Sequence[str]) -> int:
    """Print what moved; return 1 where something got worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args(list(words))
    worse, better, alone = compare(options.old, options.new)
    for title, lines in (
        ("Worse", [each.line() for each in worse]),
        ("Better", [each.line() for each in better]),
        ("On one page only", sorted(alone)),
    ):
        if lines:
            print(f"{title}:", *(f"  {line}" for line in lines), sep="\n")
    if not worse:
        print(f"Nothing got worse (times and sizes by {RELATIVE:.0%}, shares by {SHARE:g}).")
    return 1 if worse else 0
