"""A report of a comparison in a folder: one self-contained page, and the same numbers as JSON, CSV and LaTeX."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.evaluation.report.latex import latex_tables
from napari_cam_feedback.evaluation.report.page import MEASURED, make_page
from napari_cam_feedback.evaluation.report.pictures import Picture
from napari_cam_feedback.evaluation.versions import VersionComparison
from napari_cam_feedback.explanations.filters.changes import FilterChanges
from napari_cam_feedback.files import csv_text, read_json, refuse_links, write_bytes, write_json, write_text

REPORT, PICTURES = "report.json", "pictures"
# Names of files that not every report in the same folder writes again.
_OURS = re.compile(rf"(flips|filters)-[^/\\]+\.csv|{PICTURES}/[^\\]+\.png")


def write_report(
    folder: str | os.PathLike[str],
    *,
    title: str,
    summary: str,
    comparison: VersionComparison,
    pictures: Sequence[Picture] = (),
    facts: Mapping[str, Any] | None = None,
    histories: Sequence[Picture] = (),
    filters: Mapping[str, FilterChanges] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write ``report.html``, ``report.json``, ``report.csv``, ``classes.csv``, ``confusion.csv``, ``tables.tex``.

    Also ``pictures/<key>.png``, and for each version but the first ``flips-<name>.csv`` and, where they were looked at,
    ``filters-<name>.csv``. The page comes last: where it is, the rest is whole. Pictures and tables that an earlier report
    has left there, as its ``report.json`` lists them, are removed; nothing else is.

    Parameters
    ----------
    folder : path
        Made if need be; files of these names are replaced.
    title, summary : str
        Heading, and the verdict in words.
    comparison : VersionComparison
        The numbers.
    pictures : sequence of Picture
        Of items: shown on the page and written as files.
    facts : mapping, optional
        What the reader needs to repeat it: data, model, seeds, versions, command. Plain JSON values.
    histories : sequence of Picture
        Of the painted images' probabilities, run by run.
    filters : mapping, optional
        Name of a version to the change of its filters from the first one.
    notes : sequence of str
        Sentences on what could not be compared.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    folder = Path(folder)
    facts = dict(facts or {})
    drawn = {f"{PICTURES}/{picture.key.removesuffix('.png')}.png": picture.png for picture in pictures}
    tables = _tables(comparison, filters or {})
    _remove_stale(folder, {*drawn, *tables})
    for name in drawn:
        refuse_links(folder, folder / name)
    for name, png in drawn.items():
        write_bytes(folder / name, png)
    html = make_page(
        title, summary, comparison,
        pictures=pictures, facts=facts, histories=histories, filters=filters or {}, notes=notes,
    )  # fmt: skip
    for name, text in tables.items():
        write_text(folder / name, text)
    write_text(folder / "classes.csv", class_csv(comparison))
    write_text(folder / "confusion.csv", confusion_csv(comparison))
    write_text(folder / "tables.tex", latex_tables(comparison, facts.get("Command")))
    content = {
        "title": title,
        "summary": summary,
        "facts": facts,
        "comparison": comparison.to_json(),
        "notes": list(notes),
        "files": [*drawn, *tables],
    }
    write_json(folder / REPORT, content)
    write_text(folder / "report.csv", comparison.to_csv())
    page = folder / "report.html"
    write_text(page, html)
    return page


def file_name(name: str) -> str:
    """Return the name of a version as part of a file's name, on any system."""
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name).strip(".") or "version"


def _tables(comparison: VersionComparison, filters: Mapping[str, FilterChanges]) -> dict[str, str]:
    """Return the tables of each version but the first as CSV text, by the names of their files."""
    found = {}
    for name, flips in zip(comparison.names[1:], comparison.flips, strict=True):
        found[f"flips-{file_name(name)}.csv"] = flips.to_csv(comparison.class_names)
        if name in filters:
            found[f"filters-{file_name(name)}.csv"] = filters[name].to_csv()
    return found


def _remove_stale(folder: Path, kept: Collection[str]) -> None:
    """Remove what an earlier report in the folder says that it wrote, but for files that are about to be replaced."""
    try:
        content = read_json(folder / REPORT)
    except StorageError:
        return
    listed = content.get("files") if isinstance(content, dict) else None
    for name in listed if isinstance(listed, list) else ():
        # Only files as a report names them, and none outside of the folder.
        if not isinstance(name, str) or name in kept or ".." in Path(name).parts or not _OURS.fullmatch(name):
            continue
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            continue
        try:
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == folder or any(parent.iterdir()):
                    break
                parent.rmdir()
        except OSError as error:
            raise StorageError(f"Could not remove {path}, which an earlier report left: {describe(error)}") from error


def class_csv(comparison: VersionComparison) -> str:
    """Return precision, recall and F1 of every class, split and version as CSV text, with the change from the first."""
    columns = ["split", "class", "version", "images", *MEASURED, *(f"change_{measure}" for measure in MEASURED)]
    rows: list[list[object]] = []
    for split in comparison.splits:
        for class_name in comparison.class_names:
            first = comparison.evaluations[0].splits[split].per_class[class_name]
            for number, (name, each) in enumerate(zip(comparison.names, comparison.evaluations, strict=True)):
                found = each.splits[split].per_class[class_name]
                values = [getattr(found, measure) for measure in MEASURED]
                changes = [getattr(found, m) - getattr(first, m) if number else None for m in MEASURED]
                cells = ["" if value is None else f"{value:.6g}" for value in (*values, *changes)]
                rows.append([split, class_name, name, found.support, *cells])
    return csv_text(columns, rows)


def confusion_csv(comparison: VersionComparison) -> str:
    """Return the confusion matrices as CSV text, a row a pair of classes."""
    rows: list[list[object]] = []
    names = comparison.class_names
    for version, evaluation in zip(comparison.names, comparison.evaluations, strict=True):
        for split in comparison.splits:
            matrix = evaluation.splits[split].confusion
            rows += [
                [version, split, names[i], names[j], int(matrix[i, j])] for i in range(len(names)) for j in range(len(names))
            ]
    return csv_text(["version", "split", "true", "predicted", "images"], rows)
