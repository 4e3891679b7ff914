"""The *Concepts* dock: does a class depend on something that a user can show by images? (TCAV)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError, describe
from napari_cam_feedback.widgets.concepts.model import JOB, ConceptModel
from napari_cam_feedback.widgets.concepts.result import ConceptView
from napari_cam_feedback.widgets.concepts.setup import ConceptSetup
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST, fill, fill_scrolling, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.tasks.workers import Progress

if TYPE_CHECKING:
    import napari

_HINT = (
    "Does a class depend on something you can show, such as a ruler? Add a folder of images of it, 30 or more, or tick what "
    "you painted."
)


class ConceptsWidget(QWidget):
    """Concepts and settings, start and stop, and what was found."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = dock_session(napari_viewer, self)
        self.setMinimumWidth(330)
        self.model = ConceptModel(self._session, self)
        self.hint = wrapped_label()
        self.setup = ConceptSetup(self.model)
        self.fold = Fold("What to test", self.setup, opened=True)
        self.start_button = push_button("Test", self.start)
        self.stop_button = push_button("Stop", self.stop, "Stop now; nothing is kept of a test that is not done")
        self.bar = QProgressBar()
        self.status = wrapped_label()
        self.view = ConceptView(self.model, napari_viewer)
        self._build()
        machine = self._session.jobs.phase(JOB)
        self._refresh = machine.drive(
            start=[self.start_button, self.setup], stop=[self.stop_button], ready=lambda: self._session.project is not None
        )
        machine.changed.connect(self._phase_changed)
        self.model.progressed.connect(self._progressed)
        self.model.tested.connect(self._tested)
        self.model.stopped.connect(lambda: self._say("Stopped; the test was not done."))
        self.model.failed.connect(lambda sentence: self._say(sentence, wrong=True))
        self.model.chosen.connect(lambda: self._say(""))
        self._session.opened.connect(self._opened)
        self._phase_changed(machine.phase)
        self._opened()

    def _build(self) -> None:
        inside = QWidget()
        column = tight(QVBoxLayout(inside), 5, margins=6)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start_button, 2)
        buttons.addWidget(self.stop_button, 1)
        fill(column, self.hint, self.fold, buttons, self.bar, self.status, self.view)
        column.addStretch(1)
        self.area = fill_scrolling(self, inside)

    def showEvent(self, event: Any) -> None:
        """Look for the layers once somebody looks here."""
        super().showEvent(event)
        self._session.watch(self)
        self.model.look_at_layers()

    def start(self) -> None:
        """Test what is chosen."""
        self._say("")
        try:
            concept_test = self.setup.concept_test()
        except ConfigError as error:
            self._say(describe(error), wrong=True)
            return
        self._progressed(Progress(0, 0, "Starting"))
        self.model.test(concept_test)

    def stop(self) -> None:
        """End the test without a result."""
        self._say("Stopping …")
        self.model.stop()

    def _opened(self) -> None:
        opened = self._session.project is not None
        self.hint.setText(_HINT if opened else OPEN_FIRST)
        self.fold.setVisible(opened)
        self._say("")
        self._refresh()
        if self.isVisible():
            self.model.look_at_layers()

    def _phase_changed(self, phase: Phase) -> None:
        self.bar.setVisible(phase.busy)
        self.stop_button.setVisible(phase.busy)

    def _progressed(self, step: Progress) -> None:
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat("%p%")

    def _tested(self) -> None:
        if self.model.result is not None:
            self._say("")
            # What was found is what is looked at now.
            self.fold.set_opened(False)
            self.hint.hide()
        else:
            self.hint.show()
            self.fold.set_opened(True)
            if self.isVisible():
                self.model.look_at_layers()

    def _say(self, sentence: str, *, wrong: bool = False) -> None:
        self.status.setText(sentence)
        set_tone(self.status, "warning" if wrong else None)
        self.status.setVisible(bool(sentence))
