"""Tables of the benchmarks: aligned on the screen, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parents[1] / "results"

Cell = str | float | int | bool | None
Row = Mapping[str, Cell]


def write_csv(name: str, rows: Sequence[Row]) -> Path:
    """Write rows to ``benchmarks/results/<name>.csv``; columns in the order of their first appearance."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.csv"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return path


def show(rows: Sequence[Row]) -> str:
    """Return rows as an aligned table."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def span(values: Iterable[float | None], digits: int = 3) -> str:
    """Return mean and range as text, as ``0.912 (0.90 to 0.92)``; ``-`` where there is no value."""
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    mean, low, high = (f"{v:.{digits}f}" for v in (float(np.mean(found)), min(found), max(found)))
    return mean if len(found) == 1 else f"{mean} ({low} to {high})"


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
