"""Tables of a comparison in LaTeX, as a thesis prints them: per class before and after, and the measures with intervals."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from napari_cam_feedback.evaluation.intervals import LEVEL
from napari_cam_feedback.evaluation.measures import MEASURES
from napari_cam_feedback.evaluation.versions import VersionComparison

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    # At the start of a row these would be read as options of the line break before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
}
_PREAMBLE = "% Needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}."


def escape_latex(text: str) -> str:
    """Return text as LaTeX prints it: characters with a meaning of their own escaped, line breaks and controls as spaces.

    Letters outside of ASCII are left as they are; pdfLaTeX prints the Latin ones, LuaLaTeX and XeLaTeX all that the
    font has.
    """
    # Categories: C, controls; Zl and Zp, separators of lines and paragraphs.
    blank = {c for c in text if unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp")}
    return " ".join("".join(" " if c in blank else _ESCAPES.get(c, c) for c in text).split())


def class_table(comparison: VersionComparison, split: str) -> str:
    """Return a LaTeX table of one split: precision, recall and F1 of each class for every version, and the accuracies.

    Parameters
    ----------
    comparison : VersionComparison
        Two or more versions.
    split : str
        One that all of them were measured on.
    """
    results = [each.splits[split] for each in comparison.evaluations]
    versions = len(results)
    lines = [*_begin("l" + "ccc" * versions), ""]
    heads = " & ".join(rf"\multicolumn{{3}}{{c}}{{{escape_latex(name)}}}" for name in comparison.names)
    rules = " ".join(rf"\cmidrule(lr){{{2 + 3 * n}-{4 + 3 * n}}}" for n in range(versions))
    lines[-1] = rf" & {heads} \\"
    lines += [rules, r"Class" + " & Precision & Recall & F1" * versions + r" \\", r"\midrule"]
    for name in comparison.class_names:
        found = [result.per_class[name] for result in results]
        cells = [f"{value:.3f}" for each in found for value in (each.precision, each.recall, each.f1)]
        lines.append(rf"{escape_latex(name)} & {' & '.join(cells)} \\")
    accuracies = " & ".join(rf"\multicolumn{{3}}{{c}}{{{result.accuracy:.3f}}}" for result in results)
    lines += [r"\midrule", rf"Accuracy & {accuracies} \\"]
    caption = f"Precision, recall and F1 of each class, and accuracy, on the {results[0].n} images of {split}."
    return "\n".join([*lines, *_end(caption, f"classes-{split}")])


def measure_table(comparison: VersionComparison) -> str:
    """Return a LaTeX table of all measures of every version, and of the change of each version from the first."""
    names = comparison.names
    columns = 1 + 2 * (len(names) - 1)
    lines = [*_begin("ll" + "c" * columns), ""]
    heads = [escape_latex(names[0])]
    for name in names[1:]:
        heads += [escape_latex(name), f"Change [{100 * LEVEL:.0f}\\,\\% interval]"]
    lines[-1] = rf"Images & Measure & {' & '.join(heads)} \\"
    lines.append(r"\midrule")
    for row in comparison.rows[0]:
        cells = [row.split, MEASURES[row.measure].name, row.texts[0]]
        shown = [escape_latex(cell) for cell in cells]
        for rows in comparison.rows:
            other = next((each for each in rows if (each.split, each.measure) == (row.split, row.measure)), None)
            if other is None:
                shown += ["--", "--"]
                continue
            interval = None if other.certainty is None else other.certainty.change
            change = "--" if other.change is None else f"${other.change:+.3f}$"
            if interval is not None:
                change += rf" [${interval.low:+.3f}$, ${interval.high:+.3f}$]"
            shown += [escape_latex(other.texts[1]), change]
        lines.append(rf"{' & '.join(shown)} \\")
    caption = (
        f"Measures of each version, and how they changed from {names[0]}; bootstrap intervals (BCa) over the images, paired "
        "for the change."
    )
    return "\n".join([*lines, *_end(caption, "measures")])


def latex_tables(comparison: VersionComparison, command: str | None = None) -> str:
    """Return all tables as the text of a ``.tex`` file to be taken in by ``\\input``."""
    head = [_PREAMBLE]
    if command:
        head.append("% Made by: " + " ".join(command.split()))
    tables = [class_table(comparison, split) for split in comparison.splits]
    return "\n\n".join(["\n".join(head), *tables, measure_table(comparison)]) + "\n"


def _begin(columns: str) -> list[str]:
    # Small and close, so that two versions fit a page's width.
    start = [r"\begin{table}", r"\centering\footnotesize", r"\setlength{\tabcolsep}{4pt}"]
    return [*start, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]


def _end(caption: str, label: str) -> Sequence[str]:
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in label)
    return [
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{safe}}}",
        r"\end{table}",
    ]
