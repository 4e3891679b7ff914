"""The expert's marks of filters as relevant or irrelevant, on disk, and how far a ranking agrees with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.explanations.filters.statistics import check_filter
from napari_cam_feedback.files import read_json, write_json
from napari_cam_feedback.locking import writing
from napari_cam_feedback.models.classifier import Classifier

FOLDER = "filters"
SCHEMA_VERSION = 1

Mark = Literal["relevant", "irrelevant"]


class FilterMarks(BaseModel):
    """Which filters of one classifier's target layer the expert holds for relevant or irrelevant.

    Attributes
    ----------
    classifier : str
        Fingerprint of the classifier.
    layer : str
        Its target layer.
    filters : int
        Number of filters F.
    marks : dict of int to str
        ``relevant`` or ``irrelevant``; filters without a mark are not in it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    classifier: str
    layer: str
    filters: int = Field(ge=1)
    marks: Mapping[NonNegativeInt, Mark] = Field(default_factory=dict)

    @property
    def relevant(self) -> tuple[int, ...]:
        """Filters marked relevant, ascending."""
        return tuple(sorted(number for number, mark in self.marks.items() if mark == "relevant"))

    @property
    def irrelevant(self) -> tuple[int, ...]:
        """Filters marked irrelevant, ascending."""
        return tuple(sorted(number for number, mark in self.marks.items() if mark == "irrelevant"))

    def marked(self, number: int, mark: Mark | None) -> FilterMarks:
        """Return the same with one filter marked, or with its mark removed (None).

        Raises
        ------
        ConfigError
            There is no such filter.
        """
        check_filter(number, self.filters)
        others = {n: m for n, m in self.marks.items() if n != number}
        return self.model_copy(update={"marks": others if mark is None else {**others, number: mark}})

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the marks into a project folder, atomically, and return their file; raises StorageError."""
        path = marks_path(folder, self.classifier)
        with writing(path):
            self._write(path)
        return path

    def save_changes(self, folder: str | os.PathLike[str], since: FilterMarks) -> FilterMarks:
        """Write what was marked here into a project folder; what another holder of the project marked meanwhile stays.

        Parameters
        ----------
        folder : path
            The project's.
        since : FilterMarks
            The marks as they were on disk when they were read or written here last.

        Returns
        -------
        FilterMarks
            All that are on disk now.

        Raises
        ------
        StorageError
            They cannot be read or written.
        """
        path = marks_path(folder, self.classifier)
        changed = {n for n in {*self.marks, *since.marks} if self.marks.get(n) != since.marks.get(n)}
        with writing(path):
            there = _read(path, self) if path.exists() else since
            kept = {n: mark for n, mark in there.marks.items() if n not in changed}
            merged = self.model_copy(update={"marks": kept | {n: m for n, m in self.marks.items() if n in changed}})
            merged._write(path)
        return merged

    def _write(self, path: Path) -> None:
        content = self.model_dump(mode="json")
        content["marks"] = {str(number): self.marks[number] for number in sorted(self.marks)}
        write_json(path, content)


def marks_path(folder: str | os.PathLike[str], fingerprint: str) -> Path:
    """Return the file of a classifier's marks in a project folder."""
    return Path(folder) / FOLDER / f"marks-{fingerprint[:16]}.json"


def load_marks(folder: str | os.PathLike[str], classifier: Classifier) -> FilterMarks:
    """Read a classifier's marks from a project folder; none are there before the first is saved.

    Raises
    ------
    StorageError
        The file is broken, is another classifier's, or a newer version of the program wrote it.
    """
    fingerprint = classifier.fingerprint()
    none = FilterMarks(classifier=fingerprint, layer=classifier.target_layer, filters=classifier.layout.filters)
    path = marks_path(folder, fingerprint)
    return _read(path, none) if path.exists() else none


def _read(path: Path, like: FilterMarks) -> FilterMarks:
    """Read the marks of a file, which must be of the same classifier and layer as others."""
    content = read_json(path)
    schema = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise StorageError(f"A newer version of napari-cam-feedback wrote {path}; update the plugin.")
    broken = f"{path} does not hold this model's marks of filters; restore it or remove it."
    try:
        found = FilterMarks.model_validate(content)
    except ValidationError as error:
        raise StorageError(broken) from error
    fits = (found.classifier, found.layer, found.filters) == (like.classifier, like.layer, like.filters)
    if not fits or max(found.marks, default=0) >= like.filters:
        raise StorageError(broken)
    return found


@dataclass(frozen=True)
class Agreement:
    """How far the best filters of a ranking are those that the expert marked relevant.

    Only marked filters count; a share with nothing to divide by is None.

    Attributes
    ----------
    top : int
        How many filters count as chosen by the ranking.
    both : int
        Marked relevant, and among the top.
    only_ranked, only_marked : int
        Marked irrelevant but among the top; marked relevant but not among the top.
    neither : int
        Marked irrelevant and not among the top.
    """

    top: int
    both: int
    only_ranked: int
    only_marked: int
    neither: int

    @property
    def precision(self) -> float | None:
        """Share of relevant ones among the top filters that are marked."""
        return _share(self.both, self.both + self.only_ranked)

    @property
    def recall(self) -> float | None:
        """Share of those marked relevant that are among the top."""
        return _share(self.both, self.both + self.only_marked)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); None where either is."""
        if self.precision is None or self.recall is None:
            return None
        return 2 * self.both / (2 * self.both + self.only_ranked + self.only_marked)


def agreement(marks: FilterMarks, order: np.ndarray, top: int) -> Agreement:
    """Compare the expert's marks with the first filters of a ranking.

    Parameters
    ----------
    marks : FilterMarks
        The expert's.
    order : ndarray
        (F,) int64 filters, the best first.
    top : int
        How many count as chosen, as the cut of the accuracy curve.
    """
    chosen = set(np.asarray(order)[: max(0, top)].tolist())
    relevant, irrelevant = set(marks.relevant), set(marks.irrelevant)
    return Agreement(
        top=len(chosen),
        both=len(relevant & chosen),
        only_ranked=len(irrelevant & chosen),
        only_marked=len(relevant - chosen),
        neither=len(irrelevant - chosen),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
