"""What the *Filters* dock knows of all images: the survey, the chosen filter, the user's marks; its views listen to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.widgets.session.painted import MaskSubset

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.data.cache import InputCache
    from napari_cam_feedback.explanations import FilterMarks
    from napari_cam_feedback.explanations.filters.statistics import MaskActivation
    from napari_cam_feedback.explanations.filters.survey import FilterSurvey
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.widgets.session.session import Session

JOB = "filters"
#: Folder in a project that keeps what was computed.
FOLDER = "filters"
#: Painted images under which the filters are measured at most; the newest painting counts at the next look.
MAX_MASKS = 300
_INPUT_BYTES = 128 << 20


@dataclass(frozen=True, eq=False)
class SurveyResult:
    """What one look at all images found.

    Attributes
    ----------
    classifier, dataset
        Which were looked through and at.
    survey : FilterSurvey
        What was found.
    under : MaskActivation or None
        How active the filters are under the painted masks; None where nothing is painted.
    inputs : InputCache
        Some of the images as the network takes them, for galleries.
    """

    classifier: Classifier
    dataset: Dataset
    survey: FilterSurvey
    under: MaskActivation | None
    inputs: InputCache


class FilterModel(QObject):
    """The state that the views of the dock share.

    Signals
    -------
    looked
        `found` has changed; it is None when another model or dataset was opened.
    progressed : Progress
        How far the look is.
    failed : str
        A sentence: the look, or saving a mark, failed.
    selected : int
        A filter was chosen.
    marked
        `marks` have changed.
    """

    looked = Signal()
    progressed = Signal(object)
    failed = Signal(str)
    selected = Signal(int)
    marked = Signal()

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.found: SurveyResult | None = None
        self.number: int | None = None
        self.marks: FilterMarks | None = None
        # As they were on disk when they were read or written here last.
        # The marks as they were on disk when they were read or written here last; another list for each project and version.
        self._on_disk: list[FilterMarks] = []
        #: Marks of another version that may be taken over, where this one has none.
        self.earlier: FilterMarks | None = None
        self._closed = False
        session.opened.connect(self._forget)
        session.version_changed.connect(self._forget)
        session.closing.connect(self._close)

    @property
    def survey(self) -> FilterSurvey | None:
        """What was found; None before the first look."""
        return None if self.found is None else self.found.survey

    def _close(self) -> None:
        self._closed = True

    def _forget(self) -> None:
        """Another model, version or dataset: what was found is not about it."""
        session = self.session
        if session.jobs.running(JOB):
            session.jobs.stop(JOB)
        self.found, self.marks, self.earlier, self._on_disk = None, None, None, []
        if session.project is None:
            self.number = None
        self.looked.emit()
        self.marked.emit()

    # Looking at all images -------------------------------------------------------------------------

    def look(self, split: str) -> None:
        """Look at all images of a split in the background; what was computed before comes from the project's folder."""
        session = self.session
        project, classifier, dataset = session.project, session.classifier, session.dataset
        if project is None or classifier is None or dataset is None or session.jobs.running(JOB):
            return
        folder = project.folder
        keys = sorted(session.painted())[-MAX_MASKS:]

        def work(monitor: Monitor) -> tuple[SurveyResult, FilterMarks, FilterMarks | None]:
            painted = MaskSubset(project.masks, keys)
            return _look(classifier, dataset, split, folder, painted, monitor)

        def done(found: tuple[SurveyResult, FilterMarks, FilterMarks | None]) -> None:
            if self._closed or session.classifier is not classifier or session.dataset is not dataset:
                return
            self.found = found[0]
            if self.marks is None:
                self.marks, self.earlier = found[1], found[2]
                self._on_disk[:] = [found[1]]
            survey = self.found.survey
            if self.number is None or self.number >= survey.features.filters:
                self.number = int(survey.best[0])
            self.looked.emit()
            self.marked.emit()

        session.jobs.start(
            JOB,
            work,
            on_progress=self.progressed.emit,
            on_done=done,
            on_failed=self.failed.emit,
            description="Looking at all images",
        )

    def stop(self) -> None:
        """End the look with what there is."""
        self.session.jobs.stop(JOB)

    # Choosing and marking --------------------------------------------------------------------------

    def select(self, number: int) -> None:
        """Choose a filter."""
        if number != self.number:
            self.number = number
            self.selected.emit(number)

    def mark(self, number: int, mark: str | None) -> None:
        """Mark a filter ``relevant`` or ``irrelevant``, or take its mark away; on disk within a moment."""
        if self.marks is None:
            return
        self._save(self.marks.marked(number, mark))  # type: ignore[arg-type]

    def toggle(self, mark: str) -> None:
        """Mark the chosen filter, or take the same mark away."""
        if self.marks is not None and self.number is not None:
            self.mark(self.number, None if self.marks.marks.get(self.number) == mark else mark)

    def take_over(self) -> None:
        """Take over the marks of an earlier version."""
        if self.earlier is not None and self.marks is not None:
            self._save(self.marks.model_copy(update={"marks": dict(self.earlier.marks)}))

    def _save(self, marks: FilterMarks) -> None:
        self.marks, self.earlier = marks, None
        self.marked.emit()
        project = self.session.project
        if project is None:
            return
        folder, on_disk = project.folder, self._on_disk

        def work() -> FilterMarks:
            # In the disk's thread, one write after the other: what the write before has put there is told only by it.
            there = marks.save_changes(folder, on_disk[0] if on_disk else marks)
            on_disk[:] = [marks]
            return there

        def then(there: FilterMarks | None, error: Exception | None) -> None:
            if self._closed:
                return
            if error is not None or there is None:
                self.failed.emit(f"The mark is not saved. {describe(error or RuntimeError())}")
            elif self.marks is marks and there != marks:
                # Another holder of the project has marked filters too.
                self.marks = there
                on_disk[:] = [there]
                self.marked.emit()

        self.session.disk.submit(f"filter marks {folder}", work, then)


def _look(
    classifier: Classifier, dataset: Dataset, split: str, folder: Path, painted: Mapping[str, np.ndarray], monitor: Monitor
) -> tuple[SurveyResult, FilterMarks, FilterMarks | None]:
    """Do the work of `FilterModel.look`, in a thread."""
    from napari_cam_feedback.data.cache import InputCache
    from napari_cam_feedback.explanations import activation_under_masks, load_marks
    from napari_cam_feedback.explanations.filters.survey import survey_filters

    monitor.progress(0, 0, "Looking at the images")
    marks = load_marks(folder, classifier)
    survey = survey_filters(classifier, dataset, split, cache=folder / FOLDER, monitor=monitor)
    # Computed here once, and not by the window when it first shows them.
    _ = survey.activation, survey.dead, survey.best
    under = None
    if painted and not monitor.stopped:
        try:
            under = activation_under_masks(classifier, dataset, painted, monitor=Part(monitor, "Looking under the masks"))
        except FeedbackError:
            under = None  # a mask that does not fit its image, of which the step Look tells
    inputs = InputCache(dataset, classifier.preprocessing, max_bytes=_INPUT_BYTES)
    look = SurveyResult(classifier, dataset, survey, under, inputs)
    return look, marks, None if marks.marks else earlier_marks(folder, marks)


def earlier_marks(folder: Path, marks: FilterMarks) -> FilterMarks | None:
    """Return the newest marks in a project that another version of the same network has, None where there are none."""
    from napari_cam_feedback.explanations import FilterMarks
    from napari_cam_feedback.files import read_json

    def age(file: Path) -> float:
        try:
            return -file.stat().st_mtime
        except OSError:
            return 0.0

    for file in sorted((folder / FOLDER).glob("marks-*.json"), key=age):
        try:
            found = FilterMarks.model_validate(read_json(file))
        except (FeedbackError, ValueError):
            continue
        same = (found.layer, found.filters) == (marks.layer, marks.filters) and max(found.marks, default=0) < marks.filters
        if found.classifier != marks.classifier and found.marks and same:
            return found
    return None


def rows_of(look: SurveyResult, indices: np.ndarray) -> np.ndarray:
    """Return the rows of the features that hold these items."""
    return np.searchsorted(look.survey.features.indices, indices)
