"""The page *Open*: choose what to work on, load it, and see what was loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.errors import ConfigError, ImagesMoved
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.open.moved_images import ask_for_images
from napari_cam_feedback.widgets.open.open_view import OpenView
from napari_cam_feedback.widgets.open.source_view import SourceView
from napari_cam_feedback.widgets.parts.basics import (
    bring_into_view,
    confirmed,
    fill_scrolling,
    push_button,
    tight,
    wrapped_label,
)
from napari_cam_feedback.widgets.parts.error_view import ErrorView
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.session.consents import ConsentRequest
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.session.leaving import losses_of_leaving, may_leave
from napari_cam_feedback.widgets.session.loading import load, move_images
from napari_cam_feedback.widgets.session.session import OpenedProject, Session
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.tasks.workers import Progress
from napari_cam_feedback.widgets.viewer.docks import open_dock
from napari_cam_feedback.widgets.viewer.qt_check import qt_warning

if TYPE_CHECKING:
    from napari_cam_feedback.projects import Project

_OPEN, _OPEN_OTHER = "Open", "Open something else"
_TITLES = {"trust": "Run the model's own code?", "download": "Download the weights?"}
_REFUSED = {
    "trust": "The model was not loaded, because its code may not run; press Load to be asked again.",
    "download": "The model was not loaded, because its weights may not be downloaded; press Load to be asked again.",
}


class SessionWidget(QWidget):
    """Opens samples, models with images, and projects; shows what is open."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._session: Session = dock_session(napari_viewer, self)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(330)
        self._project: Project | None = None
        self._build()
        session = self._session
        session.opened.connect(self._opened)
        session.version_changed.connect(self._opened)
        session.versions_changed.connect(self._opened)
        session.mask_changed.connect(lambda key: self.open_view.summarise())
        self._opened()

    def _build(self) -> None:
        inner = QWidget()
        column = tight(QVBoxLayout(inner), 6, margins=4)
        warning = qt_warning()
        self.qt_warning = wrapped_label(warning or "", "warning")
        self.qt_warning.setVisible(warning is not None)
        column.addWidget(self.qt_warning)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.status = wrapped_label()
        self.error = ErrorView()
        for widget in (self.bar, self.status, self.error):
            widget.hide()
            column.addWidget(widget)
        self.open_view = OpenView(self._session, self._say, self._tell, self._failed)
        self.open_view.copied.connect(self.choose_project)
        self.open_view.merge_button.clicked.connect(self._show_merging)
        column.addWidget(self.open_view)
        self.choice = SourceView(self._session)
        self.choice.form.toggled.connect(lambda _: self._learn_architectures())
        content = QWidget()
        below = tight(QVBoxLayout(content))
        below.addWidget(self.choice)
        below.addLayout(self._build_buttons())
        train = QPushButton("No model yet: train one …")
        train.setToolTip("Open the dock Train, which makes a first model for your images")
        train.clicked.connect(lambda: open_dock(self._session.viewer, "Train"))
        below.addWidget(train)
        # Once something is open, that is of more interest.
        self.choice_fold = Fold(_OPEN, content, opened=True)
        column.addWidget(self.choice_fold)
        column.addStretch(1)
        self._area = fill_scrolling(self, inner)

    def _build_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.load_button = push_button("Load", self.load)
        self.cancel_button = push_button("Cancel", lambda: self._session.jobs.stop("load"))
        row.addWidget(self.load_button, 1)
        row.addWidget(self.cancel_button)
        machine = self._session.jobs.phase("load")
        machine.drive(start=[self.load_button], stop=[self.cancel_button])
        machine.changed.connect(self._phase_changed)
        return row

    def showEvent(self, event: QShowEvent) -> None:
        """Let the session know the window, so that it can save before that closes."""
        super().showEvent(event)
        self._session.watch(self)
        self.choice.recent.refresh()

    # Choosing, for scripts and other parts of the program ---------------------------------------------

    def choose_sample(self, name: str) -> None:
        """Choose a sample as the user would."""
        self.choice.choose_sample(name)

    def choose_files(self, model: Path | str, data: Path, project: Path | None = None) -> None:
        """Choose a model and its images as the user would."""
        self.choice.choose_files(model, data, project)

    def choose_part(self, *, model: Path | None = None, data: Path | None = None) -> None:
        """Choose a model's file or its images, and load where the other one is chosen too; else say what is missing."""
        if self.choice.choose_part(model=model, data=data):
            self.load()
        elif model is not None:
            self._say(f"{model.name} is chosen as the model; now drop its images on the window, or choose them above.")
        elif data is not None:
            self._say(f"{data.name} is chosen as the images; now drop a model's file on the window, or choose it above.")

    def choose_project(self, folder: Path) -> None:
        """Choose an existing project as the user would."""
        self.choice.choose_project(folder)

    # Loading --------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load what is chosen, in the background."""
        self._load([])

    def _load(self, agreed: list[str]) -> None:
        """Load; the user was asked already about what `agreed` names."""
        self._say()
        try:
            source = self.choice.source()
        except ConfigError as error:
            self._show_error(error)
            return
        # Before a project is read, which may be the one that is open.
        self._session.save()
        losses = losses_of_leaving(self._session)
        if not may_leave(self, [loss for loss in losses if loss not in agreed], "Load"):
            self._drop_blank()
            return
        self._session.jobs.start(
            "load",
            lambda monitor: load(source, monitor),
            on_progress=self._progress,
            on_done=lambda opened: self._loaded(opened, losses),
            on_error=lambda error: self._failed(error, lambda: self._load(losses)),
            on_stopped=self._cancelled,
            description="Loading",
        )

    def _cancelled(self) -> None:
        self._say("Loading was cancelled.")
        self._drop_blank()

    def _progress(self, step: Progress) -> None:
        # Nobody knows how long the first step takes: a bar that runs to and fro.
        self.bar.setRange(0, step.total if step.done else 0)
        self.bar.setValue(step.done)
        self._say(step.text)

    def _loaded(self, opened: OpenedProject, agreed: list[str]) -> None:
        if self._session.jobs.phase("load").phase is Phase.DONE:
            self._say()
        # What was started, or has ended, while it loaded.
        losses = [loss for loss in losses_of_leaving(self._session) if loss not in agreed]
        if losses:
            # Later, since a dialog runs the event loop and nothing else would reach the window meanwhile.
            QTimer.singleShot(0, lambda: self._open_if_agreed(opened, losses))
        else:
            self._open(opened)

    def _open_if_agreed(self, opened: OpenedProject, losses: list[str]) -> None:
        if may_leave(self, losses, "Load"):
            self._open(opened)
        else:
            self._say("Nothing was loaded; the project that was open still is.")
            self._drop_blank()

    def _drop_blank(self) -> None:
        """Take away the dark image that napari was given for a sample, of which nothing came."""
        # Later, since napari adds it after the sample was asked for.
        QTimer.singleShot(0, lambda: self._session.layers.drop_blank(alone=True))

    def _open(self, opened: OpenedProject) -> None:
        # What is open now is of more interest than how it was described.
        self.choice.form.set_opened(False)
        self._session.open(opened)

    def _phase_changed(self, phase: Phase) -> None:
        self.bar.setVisible(phase.busy)
        if phase is Phase.STOPPING:
            self._say("Cancelling …")
        if not phase.busy:
            self._learn_architectures()

    def _failed(self, error: BaseException, again: Callable[[], None]) -> None:
        """Ask where the error asks for consent; else show it."""
        self._say()
        if isinstance(error, ConsentRequest):
            # Later, since a dialog runs the event loop and nothing else would reach the window meanwhile.
            QTimer.singleShot(0, lambda: self._ask(error, again))
        elif isinstance(error, ImagesMoved):
            QTimer.singleShot(0, lambda: self._ask_for_images(error, again))
        else:
            self._show_error(error)

    def _ask(self, request: ConsentRequest, again: Callable[[], None]) -> None:
        if confirmed(self, _TITLES[request.kind], request.question):
            self._session.consents.give(request)
            again()
        else:
            self._show_error(_REFUSED[request.kind])

    def _ask_for_images(self, moved: ImagesMoved, again: Callable[[], None]) -> None:
        """Let the user show where a project's images are now, note it, and try again."""
        place = ask_for_images(self, moved)
        if place is None:
            self._show_error(moved)
            return
        self._session.jobs.start(
            "load",
            lambda _: move_images(Path(moved.folder), place),
            # Later, once this job is over: the next one has its name.
            on_done=lambda _: QTimer.singleShot(0, again),
            on_error=lambda error: self._failed(error, again),
            description="Opening the images",
        )

    def _say(self, status: str = "") -> None:
        self.status.setText(status)
        self.status.setVisible(bool(status))
        self.error.show_error(None)

    def _tell(self, sentence: str) -> None:
        """Say what was done where the user sees it, however far below the button is."""
        self._say(sentence)
        bring_into_view(self.status)

    def _show_error(self, error: BaseException | str) -> None:
        self._say()
        self._drop_blank()
        self.error.show_error(error)
        if self.choice.form.reveal(getattr(error, "fields", ())):
            self.choice_fold.set_opened(True)
        # What went wrong must be seen, however long the form above it is; after the layout has made room for it.
        QTimer.singleShot(0, self._show_error_area)

    def _show_merging(self) -> None:
        # It opens below, where a small window does not reach.
        QTimer.singleShot(0, lambda: self._area.ensureWidgetVisible(self.open_view.merging))

    def _show_error_area(self) -> None:
        for widget in (self.error, self.error.sentence):
            self._area.ensureWidgetVisible(widget)

    # What is open -----------------------------------------------------------------------------------

    def _opened(self) -> None:
        if self._project is not self._session.project:
            self._project = self._session.project
            self.choice_fold.set_opened(self._project is None)
            self.choice_fold.button.setText(_OPEN if self._project is None else _OPEN_OTHER)
        self.open_view.refresh()
        self.choice.offer_class_names(self._session.class_names)

    def _learn_architectures(self) -> None:
        """Offer all architectures that there are, once torch is loaded; in a thread, since torchvision may not be."""
        wanted = self.choice.form.opened and not self.choice.knows_architectures
        if not wanted or "torch" not in sys.modules or self._session.jobs.running("architectures"):
            return

        def work(monitor: Monitor) -> Sequence[str]:
            from napari_cam_feedback.models.networks.architectures import known_architectures

            return list(known_architectures())

        self._session.jobs.start(
            "architectures",
            work,
            on_done=self.choice.offer_architectures,
            on_failed=lambda _: None,
            description="Listing architectures",
        )
