"""What the *Concepts* dock knows: the concepts chosen, the layers, the result of the test; its views listen to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.widgets.concepts.folders import free_name, read_folders
from napari_cam_feedback.widgets.session.painted import MaskSubset
from napari_cam_feedback.widgets.tasks.workers import WorkStopped

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.explanations import ConceptResult, ConceptSet, ConceptTestConfig
    from napari_cam_feedback.explanations.tcav.activations import ActivationCache
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.layers.layers import LayerInfo
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.session import Session

JOB = "concepts"
READ_JOB = "concept folders"
LAYERS_JOB = "concept layers"
SAVE_JOB = "save concepts"
#: Folder in a project that keeps results which the user saved.
FOLDER = "concepts"


@dataclass(frozen=True)
class Layers:
    """The layers of a classifier at which concepts can be tested, and the one taken when nobody chose."""

    infos: tuple[LayerInfo, ...]
    default: str


@dataclass(frozen=True)
class ConceptTest:
    """What is to be tested.

    Attributes
    ----------
    painted : str
        What the painted places are called; empty where they are no concept.
    random : Path or None
        Folder of random images; None for the dataset's others.
    classes : tuple of int
        Which classes.
    layer : str or None
        Which layer; None for the default.
    split : str or None
        Where the classes' images are from; None for all splits.
    config : ConceptTestConfig
        Settings.
    """

    painted: str
    random: Path | None
    classes: tuple[int, ...]
    layer: str | None
    split: str | None
    config: ConceptTestConfig


class ConceptModel(QObject):
    """The state that the parts of the dock share.

    Signals
    -------
    chosen
        `sets` has changed.
    layers_known
        `layers` has changed; it is None until a worker has looked.
    progressed : Progress
        How far the test is.
    tested
        `result` has changed; it is None when another model or dataset was opened.
    stopped
        The test was stopped; there is no result.
    failed : str
        A sentence: reading folders, the test, or saving failed.
    saved : Path
        The folder that the result is in.
    """

    chosen = Signal()
    layers_known = Signal()
    progressed = Signal(object)
    tested = Signal()
    stopped = Signal()
    failed = Signal(str)
    saved = Signal(object)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.sets: list[ConceptSet] = []
        self.layers: Layers | None = None
        self.result: ConceptResult | None = None
        self._cache: ActivationCache | None = None
        self._closed = False
        session.opened.connect(self._forget)
        session.version_changed.connect(self._forget)
        session.closing.connect(self._close)

    def _close(self) -> None:
        self._closed = True

    def _forget(self) -> None:
        """Another model, version or dataset: the result is not about it. The concepts are the user's own and stay."""
        self.session.jobs.stop(JOB)
        self.layers, self.result = None, None
        self.layers_known.emit()
        self.tested.emit()

    def _same(self, classifier: Classifier, dataset: Dataset) -> bool:
        return not self._closed and self.session.classifier is classifier and self.session.dataset is dataset

    # What is chosen --------------------------------------------------------------------------------

    def add(self, folders: Sequence[Path]) -> None:
        """Read folders in the background: one of images is a concept, one of folders gives a concept for each."""
        if self._closed or self.session.jobs.running(READ_JOB):
            return

        def done(found: list[ConceptSet]) -> None:
            if self._closed:
                return
            sources = {each.dataset.source for each in found}
            self.sets = [each for each in self.sets if each.dataset.source not in sources]
            for each in found:
                self.sets.append(replace(each, name=free_name(each, [one.name for one in self.sets])))
            self.chosen.emit()

        self.session.jobs.start(
            READ_JOB,
            lambda monitor: read_folders(folders, monitor),
            on_done=done,
            on_failed=self.failed.emit,
            description="Reading concepts",
        )

    def remove(self, names: Sequence[str]) -> None:
        """Take concepts off the list; their images stay where they are."""
        self.sets = [each for each in self.sets if each.name not in names]
        self.chosen.emit()

    def rename(self, old: str, new: str) -> None:
        """Call a concept otherwise; a name that is empty or taken changes nothing."""
        new = new.strip()
        if new and new not in [each.name for each in self.sets]:
            self.sets = [replace(each, name=new) if each.name == old else each for each in self.sets]
        self.chosen.emit()

    def look_at_layers(self) -> None:
        """Find the layers and the default one in the background, unless that was done."""
        session = self.session
        classifier, dataset = session.classifier, session.dataset
        if self._closed or classifier is None or dataset is None or self.layers is not None:
            return

        def work(monitor: Monitor) -> Layers:
            from napari_cam_feedback.explanations import default_concept_layer

            return Layers(tuple(classifier.layers), default_concept_layer(classifier))

        def done(found: Layers) -> None:
            if self._same(classifier, dataset):
                self.layers = found
                self.layers_known.emit()

        session.jobs.start(
            LAYERS_JOB, work, on_done=done, on_failed=self.failed.emit, description="Looking for layers", replace=True
        )

    # Testing ---------------------------------------------------------------------------------------

    def test(self, concept_test: ConceptTest) -> None:
        """Test the concepts in the background."""
        session = self.session
        project, classifier, dataset = session.project, session.classifier, session.dataset
        if self._closed or project is None or classifier is None or dataset is None or session.jobs.running(JOB):
            return
        if concept_test.painted:
            session.save()  # the last stroke counts too
        if concept_test.layer is None and self.layers is not None:
            concept_test = replace(concept_test, layer=self.layers.default)  # as is shown
        sets, painted = list(self.sets), sorted(session.painted())
        if self._cache is None:
            from napari_cam_feedback.explanations.tcav.activations import ActivationCache

            self._cache = ActivationCache()
        cache = self._cache

        def work(monitor: Monitor) -> Any:
            return _test(project, classifier, sets, painted, concept_test, cache, monitor)

        def done(result: ConceptResult) -> None:
            if self._same(classifier, dataset):
                self.result = result
                self.tested.emit()

        session.jobs.start(
            JOB,
            work,
            on_progress=self.progressed.emit,
            on_done=done,
            on_failed=self.failed.emit,
            on_stopped=self.stopped.emit,
            description="Testing concepts",
        )

    def stop(self) -> None:
        """End the test without a result."""
        self.session.jobs.stop(JOB)

    def save(self) -> None:
        """Write the result into a new folder of the project, in the background."""
        session, result, project = self.session, self.result, self.session.project
        if self._closed or result is None or project is None or session.jobs.running(SAVE_JOB):
            return

        def work(monitor: Monitor) -> Path:
            from napari_cam_feedback.explanations.tcav.report import save_concepts

            folder = new_folder(project.folder / FOLDER, datetime.now())
            save_concepts(result, folder)
            return folder

        session.jobs.start(
            SAVE_JOB,
            work,
            on_done=self.saved.emit,
            on_failed=self.failed.emit,
            description="Saving the concept test",
            precious=True,
        )


def new_folder(parent: Path, now: datetime) -> Path:
    """Return a folder called by the time that is not there yet."""
    name = now.strftime("%Y-%m-%d_%H-%M-%S")
    found, number = parent / name, 2
    while found.exists():
        found, number = parent / f"{name}_{number}", number + 1
    return found


def _test(
    project: Project,
    classifier: Classifier,
    sets: list[ConceptSet],
    painted: list[str],
    concept_test: ConceptTest,
    cache: ActivationCache,
    monitor: Monitor,
) -> ConceptResult:
    """Do the work of `ConceptModel.test`, in a thread."""
    from napari_cam_feedback.explanations import concepts, painted_concept, read_concept

    monitor.progress(0, 0, "Reading the images' names")
    random = None if concept_test.random is None else read_concept(concept_test.random)
    if concept_test.painted:
        sets = [*sets, painted_concept(concept_test.painted, project.dataset, MaskSubset(project.masks, painted))]
    result = concepts(
        classifier,
        project.dataset,
        sets,
        random,
        concept_test.config,
        classes=concept_test.classes,
        layers=None if concept_test.layer is None else [concept_test.layer],
        split=concept_test.split,
        cache=cache,
        monitor=Part(monitor, "Testing"),
    )
    if result is None:
        raise WorkStopped
    return result
