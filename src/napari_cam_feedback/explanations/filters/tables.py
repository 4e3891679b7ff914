"""Tables of filters as CSV: an overview with a row a filter, contributions by class, histograms by class."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from napari_cam_feedback.explanations.filters.features import Features
from napari_cam_feedback.explanations.filters.marks import FilterMarks
from napari_cam_feedback.explanations.filters.statistics import MaskActivation, class_histograms
from napari_cam_feedback.explanations.filters.survey import FilterSurvey
from napari_cam_feedback.files import TableWriter, write_text


def save_overview(
    survey: FilterSurvey,
    path: str | os.PathLike[str],
    *,
    under: MaskActivation | None = None,
    marks: FilterMarks | None = None,
) -> None:
    """Write ``filter,place,activation,contribution,to_class,dead,under_masks,mark``, a row a filter.

    What is not known is left empty. ``contribution`` is the largest to any class, ``to_class`` that class;
    ``under_masks`` is `MaskActivation.excess`.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    activation, dead, contribution = survey.activation, survey.dead, survey.contribution()
    names, table = survey.features.class_names, survey.contributions
    place = None if survey.ranking is None else survey.ranking.place
    rows = []
    for number in range(survey.features.filters):
        to_class = ""
        if contribution is not None and table is not None:
            to_class = names[int(np.nanargmax(table[:, number]))]
        rows.append(
            [
                number,
                "" if place is None else int(place[number]),
                _shown(activation[number]),
                "" if contribution is None else _shown(contribution[number]),
                to_class,
                int(dead[number]),
                "" if under is None else _shown(under.excess[number]),
                "" if marks is None else marks.marks.get(number, ""),
            ]
        )
    columns = ("filter", "place", "activation", "contribution", "to_class", "dead", "under_masks", "mark")
    _write(path, columns, rows)


def save_contributions(contributions: np.ndarray, class_names: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write a row a filter and a column a class, empty for classes without images; raises StorageError."""
    rows = ([n, *(_shown(value) for value in contributions[:, n])] for n in range(contributions.shape[1]))
    _write(path, ("filter", *class_names), rows)


def save_histograms(features: Features, numbers: Iterable[int], path: str | os.PathLike[str]) -> None:
    """Write ``filter,class,from,to,images``, a row a bin that is not empty; raises StorageError."""
    rows: list[list[Any]] = []
    for number in numbers:
        found = class_histograms(features, number)
        for label, bin_ in zip(*np.nonzero(found.counts), strict=True):
            low, high = found.edges[bin_], found.edges[bin_ + 1]
            rows.append([number, features.class_names[label], _shown(low), _shown(high), int(found.counts[label, bin_])])
    _write(path, ("filter", "class", "from", "to", "images"), rows)


def _shown(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _write(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = TableWriter(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
