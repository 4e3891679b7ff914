"""What is asked in the background about what to paint: images to paint next, groups of like maps, and proposed masks."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.monitor import Monitor, Part

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import ProposalStore, Suggestions
    from napari_cam_feedback.feedback.suggestions.suggest import Suggestion
    from napari_cam_feedback.widgets.session.consents import Consents
    from napari_cam_feedback.widgets.session.session import Session

SUGGEST, PROPOSE, ANSWER = "suggest", "propose", "answer"
#: Small images in the window have at most so many pixels a side.
SIDE = 64


@dataclass(frozen=True)
class PicturedSuggestions:
    """What was suggested, with pictures.

    Attributes
    ----------
    suggestions : Suggestions
        The list and the groups.
    pictures : dict
        Item to (h, w, 3) uint8; those that could be read.
    maps : list of ndarray
        For each group its mean map in colours, (h, w, 3) uint8.
    """

    suggestions: Suggestions
    pictures: dict[int, np.ndarray] = field(default_factory=dict)
    maps: list[np.ndarray] = field(default_factory=list)


class SuggestModel(QObject):
    """The dock's work and its results.

    Signals
    -------
    suggested
        `found` has changed; None after another project or version was opened.
    proposed
        Proposals were made, or answered.
    progressed : str, workers.Progress
        Of which work, and how far.
    said : str, bool
        A sentence for the user, and whether something is wrong.
    """

    suggested = Signal()
    proposed = Signal()
    progressed = Signal(str, object)
    said = Signal(str, bool)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.found: PicturedSuggestions | None = None
        self.store: ProposalStore | None = None
        self._closed = False
        session.opened.connect(self._opened)
        session.version_changed.connect(self._forget)
        session.closing.connect(self._close)
        self._opened()

    def _close(self) -> None:
        self._closed = True

    def _forget(self) -> None:
        self.found = None
        self.suggested.emit()

    def _opened(self) -> None:
        project = self.session.project
        self.store = None
        if project is not None:
            from napari_cam_feedback.errors import FeedbackError, describe
            from napari_cam_feedback.feedback import ProposalStore
            from napari_cam_feedback.feedback.proposals.store import FOLDER

            try:
                self.store = ProposalStore(project.folder / FOLDER)
            except FeedbackError as error:
                self.said.emit(describe(error), True)
        self._forget()
        self.proposed.emit()

    def keys(self) -> list[str]:
        """Return the images with an open proposal, the surest first; not those that were painted meanwhile."""
        if self.store is None:
            return []
        painted, dataset = self.session.painted(), self.session.dataset
        return [key for key in self.store if key not in painted and dataset is not None and key in dataset.keys]

    def best(self) -> Suggestion | None:
        """Return the best suggestion that is not painted yet; None where there is none."""
        if self.found is None:
            return None
        painted = self.session.painted()
        return next((item for item in self.found.suggestions.items if item.key not in painted), None)

    # Suggesting -------------------------------------------------------------------------------------

    def suggest(self, n: int) -> None:
        """Look at the images and suggest some."""
        session = self.session
        project, classifier = session.project, session.classifier
        if project is None or classifier is None or session.jobs.running(SUGGEST):
            return
        painted = session.painted()

        def work(monitor: Monitor) -> PicturedSuggestions:
            return _suggest(project, classifier, painted, n, monitor)

        def done(found: PicturedSuggestions) -> None:
            if self._closed or session.project is not project or session.classifier is not classifier:
                return
            self.found = found
            self.suggested.emit()
            remark = found.suggestions.remark
            self.said.emit(remark or f"Looked at {found.suggestions.looked_at:,} images.", False)

        session.jobs.start(
            SUGGEST,
            work,
            on_progress=lambda found: self.progressed.emit(SUGGEST, found),
            on_done=done,
            on_failed=lambda sentence: self.said.emit(sentence, True),
            on_stopped=lambda: self.said.emit("Stopped.", False),
            description="Looking for images to paint",
        )

    # Proposing --------------------------------------------------------------------------------------

    def propose(self, kind: str, most: int) -> None:
        """Propose masks for images like those that are painted, looking at so many images at most."""
        session, store = self.session, self.store
        project, classifier = session.project, session.classifier
        if project is None or classifier is None or store is None or session.jobs.running(PROPOSE):
            return
        # What was just painted counts.
        session.save()

        def work(monitor: Monitor) -> int:
            return _propose(project, classifier, store, kind, most, session.consents, monitor)

        def done(count: int) -> None:
            if self._closed or session.project is not project:
                return
            self.proposed.emit()
            masks = "1 mask is" if count == 1 else f"{count} masks are"
            # Those of before are in the list too, and in its count.
            earlier = len(self.keys()) - count
            beside = f", besides {earlier} that wait for an answer" if earlier > 0 else ""
            self.said.emit(
                f"{masks} proposed{beside}; none counts before you accept it." if count else "Nothing like it found.", False
            )

        session.jobs.start(
            PROPOSE,
            work,
            on_progress=lambda found: self.progressed.emit(PROPOSE, found),
            on_done=done,
            on_failed=lambda sentence: self.said.emit(sentence, True),
            description="Looking for what was painted",
        )

    def accept(self, keys: list[str]) -> None:
        """Make proposals masks; they are on disk soon after, like painted ones."""
        session, store = self.session, self.store
        if store is None or session.jobs.running(ANSWER):
            return
        project = session.project
        put: list[str] = []

        def step(found: tuple[str, np.ndarray, str]) -> None:
            # Put by the session, which shows it at once and knows that the image is painted.
            if session.project is project and found[0] not in session.painted():
                session.put_mask(*found)
                put.append(found[0])

        def sentence(_: object) -> str:
            kept = len(keys) - len(put)
            left = f"; {kept} {'was' if kept == 1 else 'were'} not, being painted already or stopped" if kept else ""
            return f"{len(put)} {'mask was' if len(put) == 1 else 'masks were'} accepted{left}."

        self._answer(lambda monitor: _taken(store, keys, monitor), step, sentence)

    def reject(self, keys: list[str]) -> None:
        """Drop proposals for good."""
        store = self.store
        if store is not None and not self.session.jobs.running(ANSWER):

            def sentence(dropped: list[str]) -> str:
                return f"{len(dropped)} {'proposal was' if len(dropped) == 1 else 'proposals were'} rejected."

            self._answer(lambda monitor: store.reject(keys, monitor=monitor), None, sentence)

    def _answer(
        self, work: Callable[[Monitor], Any], step: Callable[[Any], None] | None, sentence: Callable[[Any], str]
    ) -> None:
        project = self.session.project

        def done(result: Any) -> None:
            if not self._closed:
                # What was said before, as how many wait for an answer, is no longer so.
                if self.session.project is project:
                    self.said.emit(sentence(result), False)
                self.proposed.emit()

        self.session.jobs.start(
            ANSWER,
            work,
            on_step=step,
            on_done=done,
            on_failed=lambda sentence: self.said.emit(sentence, True),
            on_stopped=self.proposed.emit,
            description="Answering proposals",
        )


def _taken(store: ProposalStore, keys: list[str], monitor: Monitor) -> Generator[tuple[str, np.ndarray, str], None, None]:
    """Yield the masks and what made them, then note them as accepted."""
    given: list[str] = []
    for key in keys:
        if monitor.stopped:
            break
        monitor.progress(len(given) + 1, len(keys))
        yield key, store.mask(key), store.about(key).author
        given.append(key)
    store.accept(given, None)


def _suggest(project: Any, classifier: Any, painted: set[str], n: int, monitor: Monitor) -> PicturedSuggestions:
    from napari_cam_feedback.errors import DataError
    from napari_cam_feedback.explanations import load_marks
    from napari_cam_feedback.explanations.display import thumbnail
    from napari_cam_feedback.feedback import suggest
    from napari_cam_feedback.feedback.suggestions.pictures import mean_map_picture

    dataset = project.dataset
    found = suggest(
        classifier,
        dataset,
        painted,
        n,
        marks=load_marks(project.folder, classifier),
        monitor=Part(monitor, "looking at the images"),
    )
    wanted = list(dict.fromkeys([item.index for item in found.items] + [int(c.indices[0]) for c in found.clusters]))
    wanted = list(dict.fromkeys([*wanted, *(int(i) for cluster in found.clusters for i in cluster.examples[:6])]))
    pictures = {}
    for number, index in enumerate(wanted):
        if monitor.stopped:
            break
        try:
            pictures[index] = thumbnail(dataset.read(index), SIDE, classifier.preprocessing.value_range)
        except DataError:
            continue
        monitor.progress(number + 1, len(wanted), "reading the images")
    return PicturedSuggestions(found, pictures, [mean_map_picture(cluster.mean_map, SIDE) for cluster in found.clusters])


def _propose(
    project: Any, classifier: Any, store: ProposalStore, kind: str, most: int, consents: Consents, monitor: Monitor
) -> int:
    from napari_cam_feedback.feedback import propose_masks

    if kind == "filters":
        classifier = _that_responds(project, classifier, consents)
    found = propose_masks(
        classifier,
        project.dataset,
        project.masks,
        kind=kind,
        most=most,
        without=store.keys(),
        monitor=Part(monitor, "looking for what was painted"),
    )
    return len(store.add(found, classifier=classifier.fingerprint(), masks=list(project.masks)))


def _that_responds(project: Any, classifier: Any, consents: Consents) -> Any:
    """Return the version that was painted on: one that was retuned since hardly responds to what was painted."""
    from napari_cam_feedback.errors import FeedbackError
    from napari_cam_feedback.projects.painted_on import painted_on
    from napari_cam_feedback.widgets.session.loading import load_version

    version = painted_on(project)
    if version == project.current.id:
        return classifier
    try:
        return load_version(project, version, str(classifier.device), consents).with_layer(classifier.target_layer)
    except FeedbackError:
        return classifier
