"""What an experiment came to: means over its seeds, as text for a screen, a web page and a thesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.evaluation.report.latex import escape_latex
from napari_cam_feedback.experiments.config import ExperimentConfig

NONE = "–"


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the table: a method with a number of masks, over all seeds.

    Attributes
    ----------
    method : str
        As the experiment names it.
    masks : int or None
        Painted images; None of what was published.
    seeds : int
        Runs behind it.
    cells : dict
        Column to (mean, standard deviation over the seeds with n - 1, 0 of a single one).
    remark : str
        The verdicts, the reason why a method could not be used, or a source.
    """

    method: str
    masks: int | None
    seeds: int
    cells: dict[str, tuple[float, float]]
    remark: str


def summarise(config: ExperimentConfig, rows: Sequence[Mapping[str, str]]) -> list[Summary]:
    """Return the table's rows: what was published, then each method with each number of masks that has a run.

    Parameters
    ----------
    config : ExperimentConfig
        The experiment.
    rows : sequence of mapping
        As `run_experiment` returns them.
    """
    table = [_published(config, n) for n in range(len(config.published))]
    for count in config.painted:
        for entry in config.methods:
            own = [row for row in rows if (row["method"], row["masks"]) == (entry.title, str(count))]
            refused = next((row["refused"] for row in own if row.get("refused")), None)
            done = [row for row in own if not row.get("refused")]
            if refused is not None and not done:
                table.append(Summary(entry.title, count, 0, {}, refused))
            elif done:
                verdicts = ", ".join(sorted({row["verdict"] for row in done}))
                table.append(Summary(entry.title, count, len(done), _cells(done), verdicts))
    return table


def columns(table: Sequence[Summary]) -> list[str]:
    """Return the names of the columns of numbers: the test first, then flips and F1, other splits, and seconds last."""
    found = list(dict.fromkeys(name for row in table for name in row.cells))

    def rank(name: str) -> int:
        if name.startswith("test "):
            return 0
        if name == "seconds":
            return 5
        return next((k for k, kind in enumerate(("gap", "flip", "F1"), 1) if name.startswith(kind)), 4)

    return sorted(found, key=rank)


def markdown_table(table: Sequence[Summary]) -> str:
    """Return the table in Markdown."""
    names = columns(table)
    head = ["method", "masks", "seeds", *names, "verdicts"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table:
        cells = [row.method, _text(row.masks), str(row.seeds) if row.masks is not None else NONE]
        cells += [_number(name, row.cells.get(name)) for name in names] + [row.remark]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def latex_table(config: ExperimentConfig, table: Sequence[Summary]) -> str:
    """Return the table in LaTeX, for a page's width; it needs the package booktabs.

    It has what was reached on the test images; where all started from, which is the same for all methods, is in the caption.
    """
    names = [name for name in columns(table) if _reached(name)]
    lines = [
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{lr{'c' * len(names)}l}}",
        r"\toprule",
        rf"Method & Masks & {' & '.join(escape_latex(name) for name in names)} & Verdicts \\",
        r"\midrule",
    ]
    for row in table:
        cells = [escape_latex(row.method), escape_latex(_text(row.masks))]
        cells += [_latex_number(name, row.cells.get(name)) for name in names]
        # What others published started elsewhere.
        start = _start(row) if row.masks is None else ""
        remark = escape_latex(row.remark) + (f"; before: {start}" if start else "")
        lines.append(" & ".join([*cells, remark]) + r" \\")
    seeds = max((row.seeds for row in table), default=0)
    caption = f"{config.title}. Mean and standard deviation over {seeds} seed{'s' * (seeds != 1)}."
    start = next((found for row in table if row.masks is not None and (found := _start(row))), "")
    caption = escape_latex(caption) + (f" Before: {start}." if start else "")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""])


def _reached(name: str) -> bool:
    """Whether a column says what a retune reached on the test images."""
    return name == "test after" or name.startswith("gap") or (name.startswith(("flip", "F1")) and name.endswith(" after"))


def _start(row: Summary) -> str:
    """Return, in LaTeX, where a row started from, and what a model without the shortcut has."""
    found = [name for name in columns([row]) if name.endswith((" before", " reference"))]
    found = [name for name in found if name.startswith(("test ", "flip", "F1"))]
    titles = {"test before": "test", "test reference": "test without the shortcut"}
    return ", ".join(
        f"{escape_latex(titles.get(name, name.removesuffix(' before')))} {_latex_number(name, row.cells[name])}"
        for name in found
    )


def _latex_number(name: str, cell: tuple[float, float] | None) -> str:
    return _number(name, cell).replace("±", r"$\pm$").replace(NONE, "--")


def _published(config: ExperimentConfig, number: int) -> Summary:
    known = config.published[number]
    watched = config.watched[0] if config.watched else "class"
    values = {
        "test before": known.before,
        "test after": known.after,
        f"F1 {watched} before": known.f1_before,
        f"F1 {watched} after": known.f1_after,
    }
    cells = {name: (value, 0.0) for name, value in values.items() if value is not None}
    return Summary(known.name, None, 0, cells, known.source)


def _cells(rows: Sequence[Mapping[str, str]]) -> dict[str, tuple[float, float]]:
    left_out = {"seed", "method", "masks", "verdict", "status", "refused"}
    names = dict.fromkeys(name for row in rows for name in row if name not in left_out)
    cells = {}
    for name in names:
        values = np.array([float(row[name]) for row in rows if row.get(name)])
        if len(values):
            cells[_title(name)] = (float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0)
    return cells


def _title(name: str) -> str:
    """``f1_knife_before`` as ``F1 knife before``."""
    kind, _, moment = name.rpartition("_")
    if not kind:
        return name
    return f"{'F1 ' + kind[3:] if kind.startswith('f1_') else 'flip rate' if kind == 'flip' else kind} {moment}"


def _text(count: int | None) -> str:
    return NONE if count is None else str(count)


def _number(name: str, cell: tuple[float, float] | None) -> str:
    if cell is None:
        return NONE
    mean, deviation = cell
    if name == "seconds":
        return f"{mean:.0f}"
    return f"{mean:.3f} ± {deviation:.3f}" if deviation else f"{mean:.3f}"
