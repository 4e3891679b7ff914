"""The tables of a report as HTML and as CSV."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from napari_cam_feedback.evaluation.comparison import ComparisonRow
from napari_cam_feedback.evaluation.flips import KINDS, UNKNOWN, Flips
from napari_cam_feedback.evaluation.intervals import LEVEL, Certainty, Interval
from napari_cam_feedback.evaluation.measures import MEASURES, show
from napari_cam_feedback.evaluation.results import ClassResult, SplitResult
from napari_cam_feedback.evaluation.versions import VersionComparison
from napari_cam_feedback.explanations.filters.changes import FilterChanges

_MEASURED = {"precision": "precision", "recall": "recall", "f1": "F1"}
#: Rows of a table on the page; the CSV files have all.
MAX_ROWS = 50
MAX_FILTERS = 12
#: Beyond this many classes a confusion matrix is left to the CSV file.
MAX_CLASSES = 30


def version_tables(comparison: VersionComparison) -> str:
    """Return a table for each version but the first: every measure with its interval, and the change."""
    parts = []
    for name, rows in zip(comparison.names[1:], comparison.rows, strict=True):
        first, second = html.escape(comparison.names[0]), html.escape(name)
        lines = [
            f"<tr><th>split</th><th>measure</th><th class='number'>{first}</th><th class='number'>{second}</th>"
            "<th class='number'>change</th><th></th></tr>"
        ]
        for row in rows:
            sure = row.certainty or Certainty()
            before, after = row.texts
            lines.append(
                f"<tr><td>{html.escape(row.split)}</td><td>{html.escape(MEASURES[row.measure].name)}</td>"
                f'<td class="number">{before}{_interval(sure.before)}</td>'
                f'<td class="number">{after}{_interval(sure.after)}</td>'
                f'<td class="number{_kind(row)}">{show(row.change, signed=True)}{_interval(sure.change, signed=True)}</td>'
                f"<td>{_words(row)}</td></tr>"
            )
        parts.append(_table(lines, caption=f"{name} compared with {comparison.names[0]}"))
    return "".join(parts)


def meanings(rows: Iterable[ComparisonRow], *, intervals: bool = False) -> str:
    """Return what the measures that occur mean, as a list to be opened."""
    used = {row.measure for row in rows}
    items = []
    for key, measure in MEASURES.items():
        if key in used:
            direction = f" ({measure.direction})" if measure.direction else ""
            items.append(f"<dt>{html.escape(measure.name)}{direction}</dt><dd>{html.escape(measure.meaning)}</dd>")
    if intervals:
        items.append(
            f"<dt>the range in small print</dt><dd>Bootstrap interval ({100 * LEVEL:.0f} %, BCa; Efron 1987) over images; "
            "of a change, over the same images before and after. It tells of the choice of images, not of the choice of a "
            "training seed. There is none where all images agree, and none for a ratio. A change whose interval holds 0 is "
            "marked as unsure.</dd><dt>p</dt><dd>McNemar's exact test of the change of accuracy: of the images that "
            "only one of the two predicts right. It is not corrected for the number of comparisons.</dd>"
        )
    return f"<details><summary>What the measures mean</summary><dl>{''.join(items)}</dl></details>"


def class_sections(comparison: VersionComparison) -> str:
    """Return precision, recall and F1 of each class with the changes marked, and the confusion matrices, split by split."""
    parts = []
    for split in comparison.splits:
        results = [each.splits[split] for each in comparison.evaluations]
        opened = " open" if split == comparison.headline else ""
        parts.append(f"<details{opened}><summary>{html.escape(split)}: {results[0].n} images</summary>")
        parts.append(_class_table(comparison, results))
        if len(comparison.class_names) > MAX_CLASSES:
            parts.append("<p>The confusion matrices are in confusion.csv: there are too many classes to show them here.</p>")
        else:
            matrices = [_confusion(comparison, results, number) for number in range(len(results))]
            parts.append(f'<div class="side">{"".join(matrices)}</div>')
        parts.append("</details>")
    return "\n".join(parts)


def flip_section(comparison: VersionComparison) -> str:
    """Return how many predictions changed and how, and the images where the change is greatest."""
    parts = []
    for name, flips in zip(comparison.names[1:], comparison.flips, strict=True):
        parts.append(f"<h3>{html.escape(comparison.names[0])} → {html.escape(name)}: {len(flips)} images</h3>")
        if not len(flips):
            parts.append("<p>No prediction changed.</p>")
            continue
        kinds = [k for k in range(len(KINDS)) if k != UNKNOWN or flips.count(UNKNOWN)]
        lines = ["<tr><th>split</th>" + "".join(f"<th class='number'>{KINDS[k]}</th>" for k in kinds) + "</tr>"]
        for split in dict.fromkeys(comparison.splits):
            numbers = "".join(f'<td class="number">{flips.count(k, split)}</td>' for k in kinds)
            lines.append(f"<tr><td>{html.escape(split)}</td>{numbers}</tr>")
        parts += [_table(lines), _flip_table(flips, comparison.class_names)]
    return "\n".join(parts)


def filter_section(filters: Mapping[str, FilterChanges], first: str) -> str:
    """Return the filters that changed most, for each version but the first."""
    parts = []
    for name, changes in filters.items():
        lines = ["<tr><th>filter</th>" + "".join(f"<th class='number'>{t}</th>" for t in _FILTER_HEADS) + "<th></th></tr>"]
        for n in changes.order[:MAX_FILTERS].tolist():
            effect = "–" if np.isnan(changes.effect[n]) else f"{changes.effect[n]:+.2f}"
            state = "died" if changes.died[n] else "born" if changes.born[n] else ""
            cells = (f"{changes.before[n]:.3g}", f"{changes.after[n]:.3g}", f"{changes.change[n]:+.3g}", effect)
            numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
            lines.append(f"<tr><td>{n}</td>{numbers}<td>{state}</td></tr>")
        about = f"{name} compared with {first}: mean activation over {changes.images} images"
        dead = f"{int(changes.died.sum())} of {len(changes.before)} filters died, {int(changes.born.sum())} came alive."
        parts.append(_table(lines, caption=about) + f"<p>{dead} Effect is Cohen's d between images.</p>")
    return "\n".join(parts)


_FILTER_HEADS = ("before", "after", "change", "effect")


def class_csv(comparison: VersionComparison) -> str:
    """Return precision, recall and F1 of every class, split and version as CSV text, with the change from the first."""
    rows: list[list[object]] = [
        ["split", "class", "version", "images", *_MEASURED, *(f"change_{measure}" for measure in _MEASURED)]
    ]
    for split in comparison.splits:
        for class_name in comparison.class_names:
            first = comparison.evaluations[0].splits[split].per_class[class_name]
            for number, (name, each) in enumerate(zip(comparison.names, comparison.evaluations, strict=True)):
                found = each.splits[split].per_class[class_name]
                values = [getattr(found, measure) for measure in _MEASURED]
                changes = [getattr(found, m) - getattr(first, m) if number else None for m in _MEASURED]
                cells = ["" if value is None else f"{value:.6g}" for value in (*values, *changes)]
                rows.append([split, class_name, name, found.support, *cells])
    return _csv(rows)


def confusion_csv(comparison: VersionComparison) -> str:
    """Return the confusion matrices as CSV text, a row a pair of classes."""
    rows: list[list[object]] = [["version", "split", "true", "predicted", "images"]]
    names = comparison.class_names
    for version, evaluation in zip(comparison.names, comparison.evaluations, strict=True):
        for split in comparison.splits:
            matrix = evaluation.splits[split].confusion
            rows += [
                [version, split, names[i], names[j], int(matrix[i, j])] for i in range(len(names)) for j in range(len(names))
            ]
    return _csv(rows)


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _table(lines: Iterable[str], caption: str = "", kind: str = "") -> str:
    said = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    start = f'<table class="{kind}">' if kind else "<table>"
    return f'<div class="scroll">{start}{said}{chr(10).join(lines)}</table></div>'


def _kind(row: ComparisonRow) -> str:
    return f" {row.mark}" if row.mark else ""


def _words(row: ComparisonRow) -> str:
    words = row.mark
    p_value = None if row.certainty is None else row.certainty.p_value
    return words if p_value is None else f"{words} <span class='interval'>p {show_p(p_value)}</span>"


def show_p(value: float) -> str:
    """Write a p value for people."""
    return "&lt; 0.001" if value < 0.001 else f"= {value:.3f}"


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (show(value, signed=signed) for value in (interval.low, interval.high))
    return f"<br><span class='interval'>{low} to {high}</span>"


def _class_table(comparison: VersionComparison, results: Sequence[SplitResult]) -> str:
    heads = "".join(
        f"<th class='number'>{html.escape(name)}<br>{title}</th>"
        for name in comparison.names
        for title in _MEASURED.values()
    )
    lines = [f"<tr><th>class</th><th class='number'>images</th>{heads}</tr>"]
    for class_name in comparison.class_names:
        first = results[0].per_class[class_name]
        cells = [_class_cells(each.per_class[class_name], first if n else None) for n, each in enumerate(results)]
        lines.append(f"<tr><td>{html.escape(class_name)}</td><td class='number'>{first.support}</td>{''.join(cells)}</tr>")
    accuracies = "".join(f"<td class='number' colspan='3'>{show(each.accuracy)}</td>" for each in results)
    lines.append(f"<tr><th>accuracy</th><td class='number'>{results[0].n}</td>{accuracies}</tr>")
    return _table(lines)


def _class_cells(found: ClassResult, first: ClassResult | None) -> str:
    cells = []
    for measure in _MEASURED:
        value = getattr(found, measure)
        change = 0.0 if first is None else value - getattr(first, measure)
        mark = ""
        if abs(change) >= 0.0005:
            kind, arrow = ("better", "▲") if change > 0 else ("worse", "▼")
            mark = f" <span class='{kind}'>{arrow}{change:+.3f}</span>"
        cells.append(f"<td class='number'>{show(value)}{mark}</td>")
    return "".join(cells)


def _confusion(comparison: VersionComparison, results: Sequence[SplitResult], number: int) -> str:
    names = [html.escape(name) for name in comparison.class_names]
    matrix, first = results[number].confusion, results[0].confusion
    heads = "".join(f"<th class='number'>{name}</th>" for name in names)
    lines = [f"<tr><th>true \\ predicted</th>{heads}</tr>"]
    for i, name in enumerate(names):
        cells = []
        total = max(int(matrix[i].sum()), 1)
        for j, count in enumerate(matrix[i].tolist()):
            change = count - int(first[i, j])
            good = (change > 0) == (i == j)
            mark = f" <span class='{'better' if good else 'worse'}'>{change:+d}</span>" if number and change else ""
            # The shade is the share of the class; the number says the same.
            shade = f"rgba(0, 114, 178, {0.45 * count / total:.2f})"
            right = " class='right'" if i == j else ""
            cells.append(f"<td{right} style='background: {shade}'>{count}{mark}</td>")
        lines.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    return _table(lines, caption=comparison.names[number], kind="confusion")


def _flip_table(flips: Flips, class_names: Sequence[str]) -> str:
    lines = [
        "<tr><th>image</th><th>split</th><th>change</th><th>true class</th><th>before</th><th>after</th>"
        "<th class='number'>p(true)</th></tr>"
    ]
    # Some of each kind, since those that were lost come first.
    places = [np.flatnonzero(flips.kinds == kind).tolist() for kind in range(len(KINDS))]
    share = max(1, MAX_ROWS // max(1, sum(bool(each) for each in places)))
    chosen = sorted(row for each in places for row in each[:share])
    shown = flips.take(np.array(chosen, np.int64))
    for row in shown.rows(class_names):
        key, split, kind, label, before, after, p_before, p_after, true_before, true_after = map(html.escape, row)
        change = "" if not true_before else f"{float(true_before):.2f} → {float(true_after):.2f}"
        lines.append(
            f"<tr><td>{key}</td><td>{split}</td><td>{kind}</td><td>{label}</td><td>{before} ({float(p_before):.2f})</td>"
            f"<td>{after} ({float(p_after):.2f})</td><td class='number'>{change}</td></tr>"
        )
    more = f"<p>{len(flips) - len(shown)} more are in the CSV file.</p>" if len(shown) < len(flips) else ""
    return _table(lines) + more
