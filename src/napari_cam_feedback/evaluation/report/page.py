"""The page of a report: one HTML file that needs no other, with its pictures inside. What it looks like is in page.html."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from napari_cam_feedback.evaluation.flips import KINDS, UNKNOWN, Flips
from napari_cam_feedback.evaluation.intervals import LEVEL, Certainty
from napari_cam_feedback.evaluation.measures import MEASURES, show
from napari_cam_feedback.evaluation.report.pictures import Picture, draw_measures
from napari_cam_feedback.evaluation.report.telling import advice, key_numbers
from napari_cam_feedback.evaluation.versions import VersionComparison
from napari_cam_feedback.explanations.filters.changes import FilterChanges

#: What is measured of each class, and its heading.
MEASURED = {"precision": "precision", "recall": "recall", "f1": "F1"}
#: Rows of a table on the page; the CSV files have all.
MAX_ROWS = 50
MAX_FILTERS = 12
#: Pictures that come before all tables; the others are folded.
MAX_PICTURES = 6
#: Beyond this many classes a confusion matrix is left to the CSV file.
MAX_CLASSES = 30


def template(path: Path) -> Template:
    """Return an HTML page to be filled: whatever is put in is text, never HTML."""
    folder = FileSystemLoader(path.parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return pages.get_template(path.name)


def make_page(
    title: str,
    summary: str,
    comparison: VersionComparison,
    *,
    pictures: Sequence[Picture],
    facts: Mapping[str, Any],
    histories: Sequence[Picture],
    filters: Mapping[str, FilterChanges],
    notes: Sequence[str],
) -> str:
    """Return the page; the arguments are those of `write_report`."""
    occurring = {row.measure for rows in comparison.rows for row in rows}
    return template(Path(__file__).parent / "page.html").render(
        title=title,
        summary=summary,
        comparison=comparison,
        names=comparison.names,
        by_split={split: [each.splits[split] for each in comparison.evaluations] for split in comparison.splits},
        pictures=pictures,
        facts=facts,
        histories=histories,
        filters=filters,
        notes=notes,
        drawn_measures=draw_measures(comparison),
        told=[
            (name, key_numbers(comparison, number), advice(comparison, number))
            for number, name in enumerate(comparison.names[1:], 1)
            if comparison.headline is not None
        ],
        max_pictures=MAX_PICTURES,
        measures=MEASURES,
        used=[measure for key, measure in MEASURES.items() if key in occurring],
        measured=MEASURED,
        unknown=Certainty(),
        level=LEVEL,
        kinds=KINDS,
        kinds_of=lambda flips: [kind for kind in range(len(KINDS)) if kind != UNKNOWN or flips.count(UNKNOWN)],
        some_of=_some_of,
        max_classes=MAX_CLASSES,
        max_filters=MAX_FILTERS,
        b64encode=b64encode,
        show=show,
        zip=zip,
    )


def _some_of(flips: Flips) -> Flips:
    """Some of each kind, since those that were lost come first."""
    places = [np.flatnonzero(flips.kinds == kind).tolist() for kind in range(len(KINDS))]
    share = max(1, MAX_ROWS // max(1, sum(bool(each) for each in places)))
    return flips.take(np.array(sorted(row for each in places for row in each[:share]), np.int64))
