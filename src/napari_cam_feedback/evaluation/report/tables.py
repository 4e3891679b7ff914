"""The tables of a report as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from napari_cam_feedback.evaluation.versions import VersionComparison

#: What is measured of each class, and its heading.
MEASURED = {"precision": "precision", "recall": "recall", "f1": "F1"}


def class_csv(comparison: VersionComparison) -> str:
    """Return precision, recall and F1 of every class, split and version as CSV text, with the change from the first."""
    rows: list[list[object]] = [
        ["split", "class", "version", "images", *MEASURED, *(f"change_{measure}" for measure in MEASURED)]
    ]
    for split in comparison.splits:
        for class_name in comparison.class_names:
            first = comparison.evaluations[0].splits[split].per_class[class_name]
            for number, (name, each) in enumerate(zip(comparison.names, comparison.evaluations, strict=True)):
                found = each.splits[split].per_class[class_name]
                values = [getattr(found, measure) for measure in MEASURED]
                changes = [getattr(found, m) - getattr(first, m) if number else None for m in MEASURED]
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
