"""The *Train* dock: a first model from one's own images, its learning curves while it learns, and opening it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.files import unused
from napari_cam_feedback.widgets.parts.basics import breakable, confirmed, time_left
from napari_cam_feedback.widgets.session.consents import ConsentRequest
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.session.sources import home
from napari_cam_feedback.widgets.tasks.gc_pause import Hold
from napari_cam_feedback.widgets.tasks.phase import Phase
from napari_cam_feedback.widgets.tasks.workers import Progress
from napari_cam_feedback.widgets.train.form import Order
from napari_cam_feedback.widgets.train.view import TrainView
from napari_cam_feedback.widgets.train.work import PARTS, Ready, Trained, check, save, train
from napari_cam_feedback.widgets.viewer.docks import OPEN, open_step

if TYPE_CHECKING:
    import napari

    from napari_cam_feedback.training import TrainStep

JOB, LOAD_JOB, SAVE_JOB = "train", "train-settings", "train-save"
#: How often progress within an epoch is shown.
REDRAW_MS = 250
_TITLES = {"trust": "Run the network's own code?", "download": "Download the weights?"}
_REFUSED = {
    "trust": "The training was not started, because the network's code may not run; start it again to be asked again.",
    "download": "The training was not started, because the weights may not be downloaded; start it again to be asked again.",
}
_PHASES = {"all": "", "head": " (new head)", "fine-tune": " (fine-tuning)"}


class TrainWidget(TrainView):
    """Trains a classifier on a dataset, in a worker, and opens it in the session."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._session = dock_session(napari_viewer, self)
        self._closed = False
        self._hold = Hold()
        self._trained: Trained | None = None
        self._project: Path | None = None
        self._step: TrainStep | None = None
        self._phase = ""
        self._epochs = 0
        self._began = 0.0
        # Written by the worker, read by the timer: images done of the present epoch.
        self._at = 0.0
        self._redraw = QTimer(self)
        self._redraw.setInterval(REDRAW_MS)
        self._redraw.timeout.connect(self._show_progress)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.open_button.clicked.connect(self.open_in_session)
        self.save_button.clicked.connect(self.save_again)
        self._machine = self._session.jobs.phase(JOB)
        self._refresh_buttons = self._machine.drive(start=[self.start_button], stop=[self.stop_button], ready=self._ready)
        self._machine.changed.connect(self._phase_changed)
        self._session.closing.connect(self._close)
        self._session.opened.connect(self._offer_images)
        self._offer_images()
        self._refresh()

    # State ----------------------------------------------------------------------------------------------

    @property
    def trained(self) -> Trained | None:
        """What the last training came to."""
        return self._trained

    def _ready(self) -> bool:
        return self.form.settings is not None and not self._closed

    def _refresh(self) -> None:
        self._refresh_buttons()
        busy = self._machine.busy
        self.progress.setVisible(busy)
        self.progress_label.setVisible(busy)
        self.status.setVisible(bool(self.status.text()))
        self.plot.setVisible(busy or not self.plot.empty)
        trained = self._trained
        self.result_box.setVisible(trained is not None and not busy)
        self.open_button.setVisible(trained is not None and trained.error is None)
        self.save_button.setVisible(trained is not None and trained.error is not None)

    def _phase_changed(self, phase: Phase) -> None:
        if phase is Phase.STOPPING:
            self.progress_label.setText("Stopping…")
        self._refresh()

    def _offer_images(self) -> None:
        """Take the images that are open, as long as the user named none."""
        dataset = self._session.dataset
        if not self.form.data.text and dataset is not None and dataset.source is not None:
            self.form.data.set_path(dataset.source)

    def _load_settings(self) -> None:
        """Make the settings once torch is loaded, which takes seconds the first time."""
        if self.form.settings is not None or self._closed or self._session.jobs.running(LOAD_JOB):
            return

        def work(_: Any) -> Sequence[str]:
            from napari_cam_feedback.models import known_architectures

            return known_architectures()

        def built(names: Sequence[str]) -> None:
            self.form.build(names)
            self._refresh()

        self._session.jobs.start(
            LOAD_JOB, work, on_done=built, on_error=self.error.show_error, description="Loading PyTorch"
        )

    # Running --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Train what is chosen, in a worker."""
        if not self._ready() or self._machine.busy:
            return
        self._say("")
        try:
            order = self.form.order()
            check(order)
        except FeedbackError as error:
            self._show_error(error)
            return
        if order.out.exists() and not self._may_replace(order.out):
            return
        self._begin(order)

    def _may_replace(self, path: Path) -> bool:
        question = f"There is a model {path} already. Replace it when the training has ended?"
        return confirmed(self, "Replace the model?", question)

    def _begin(self, order: Order) -> None:
        self._trained = self._project = self._step = None
        self._at, self._epochs, self._began = 0.0, 0, 0.0
        self.plot.clear()
        self.progress.setRange(0, 0)
        self.progress_label.setText("Opening the images…")
        self.choice.set_opened(False)
        self._redraw.start()
        self._hold(True)

        self._session.jobs.start(
            JOB,
            lambda monitor: train(order, self._session.consents, monitor),
            on_step=self._stepped,
            on_progress=self._moved,
            on_done=self._done,
            on_error=lambda error: self._failed(order, error),
            on_stopped=lambda: self._ended("Stopped before the first epoch was done; nothing was saved."),
            description="Training",
            precious=True,
        )
        self._refresh()

    def stop(self) -> None:
        """Ask the training to stop; the best epoch so far is saved."""
        self._session.jobs.stop(JOB)

    def _stepped(self, step: Ready | TrainStep) -> None:
        if isinstance(step, Ready):
            training = step.training
            phases = training.recipe.training.phases(training.head is not None)
            self._epochs, self._phase = sum(phase.epochs for phase in phases), phases[0].name
            self._began = time.monotonic()
            self._say(training.split_remark or "")
            self.progress.setRange(0, 0)
            return
        self._step, self._epochs, self._at = step, step.epochs, float(step.epoch)
        self._phase = step.phase
        self.plot.add(step)
        self._show_progress()

    def _moved(self, found: Progress) -> None:
        self._at = found.done / PARTS

    def _show_progress(self) -> None:
        """Show how far it is; called by a timer, so that no step pays for a drawing."""
        if not self._epochs or self._machine.phase is not Phase.RUNNING:
            return
        epochs = self._at
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * epochs / self._epochs))
        text = f"Epoch {min(int(epochs) + 1, self._epochs)} of {self._epochs}{_PHASES[self._phase]}"
        if epochs > 0.05:
            each = (time.monotonic() - self._began) / epochs
            text += f", {time_left(each * (self._epochs - epochs))}"
        self.progress_label.setText(text)

    def _ended(self, sentence: str) -> None:
        self._redraw.stop()
        self._hold(False)
        self.plot.fit()
        self.progress_label.setText("")
        self.choice.set_opened(self._trained is None)
        self._say(sentence)
        self._refresh()

    def _done(self, trained: Trained) -> None:
        self._trained = trained
        training = trained.training
        remarks = (training.split_remark, _left_out(training.skipped) if training.skipped else None)
        self._ended(" ".join(filter(None, remarks)))
        self._show_result(trained)

    def _show_result(self, trained: Trained) -> None:
        self._trained = trained
        training, path = trained.training, trained.order.out
        assert training.result is not None
        best, last = training.result.info["training"]["epoch"], training.steps[-1]
        found = next(step for step in training.steps if step.epoch == best)
        measured = f", validation accuracy <b>{found.val_accuracy:.3f}</b>" if found.val_accuracy is not None else ""
        ended = f"Stopped after epoch {last.epoch}" if training.stopped else f"Done after {last.epoch} epochs"
        where = f"saved as {breakable(escape(str(path)))}" if trained.error is None else "<b>not saved</b>"
        chance = f" <b>{escape(training.chance_remark)}</b>" if training.chance_remark is not None else ""
        self.result_label.setText(f"{ended}. The best is epoch {best}{measured}; {where}.{chance}")
        self.error.show_error(trained.error)
        if trained.error is None:
            # The next training is not to replace this model.
            self.form.suggest_another()
        self._refresh()
        QTimer.singleShot(0, lambda: self.area.ensureWidgetVisible(self.result_box))

    def _failed(self, order: Order, error: BaseException) -> None:
        """Ask where the error asks for consent; else show it."""
        self._ended("")
        if isinstance(error, ConsentRequest):
            # Later, since a dialog runs the event loop and nothing else would reach the window meanwhile.
            QTimer.singleShot(0, lambda: self._ask(order, error))
        else:
            self._show_error(error)

    def _show_error(self, error: BaseException | str) -> None:
        self.error.show_error(error)
        self.form.reveal(getattr(error, "fields", ()))
        QTimer.singleShot(0, lambda: self.area.ensureWidgetVisible(self.error))

    def _ask(self, order: Order, request: ConsentRequest) -> None:
        if self._closed:
            return
        agreed = confirmed(self, _TITLES[request.kind], request.question)
        if self._closed or self._machine.busy:
            return
        if not agreed:
            self._show_error(_REFUSED[request.kind])
            return
        self._session.consents.give(request)
        self._begin(order)

    def save_again(self) -> None:
        """Save a model that could not be saved, under the name that the form has now."""
        trained = self._trained
        if trained is None or trained.error is None or self._session.jobs.running(SAVE_JOB):
            return
        try:
            order = replace(trained.order, out=self.form.order().out)
            check(order)
        except FeedbackError as error:
            self._show_error(error)
            return
        if order.out.exists() and not self._may_replace(order.out):
            return
        self._session.jobs.start(
            SAVE_JOB,
            lambda _: save(replace(trained, order=order)),
            on_done=self._show_result,
            on_error=self._show_error,
            description="Saving the model",
            precious=True,
        )

    # Afterwards -----------------------------------------------------------------------------------------

    def open_in_session(self) -> None:
        """Open the trained model with its images, as the step Open does, in a project of its own."""
        trained = self._trained
        if trained is None or trained.error is not None:
            return
        order = trained.order
        if self._project is None:
            self._project = unused(home() / f"{order.data.stem}-{order.out.stem}")
        session = open_step(self._session.viewer, OPEN).open
        session.choose_files(order.out, order.data.absolute(), self._project)
        device = session.choice.device
        device.setCurrentIndex(device.findData(order.device))
        session.load()

    def _say(self, text: str) -> None:
        self.error.show_error(None)
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def showEvent(self, event: Any) -> None:
        """Let the session know the window, so that it can save before that closes; load torch, if nobody has."""
        super().showEvent(event)
        self._session.watch(self)
        self._load_settings()

    def _close(self) -> None:
        self._closed = True
        self._redraw.stop()
        self._hold(False)


def _left_out(skipped: dict[str, str]) -> str:
    first, sentence = next(iter(skipped.items()))
    count = len(skipped)
    images = "image" if count == 1 else "images"
    return f"{count} {images} could not be read and {'was' if count == 1 else 'were'} left out, first {first}: {sentence}"
