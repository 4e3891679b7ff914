"""What a first look at the model with its images found, in a worker: lines, and buttons that mend what is amiss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.errors import describe
from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import fill, plain, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.model_form import MODEL_FIELDS
from napari_cam_feedback.widgets.session.session import Session

if TYPE_CHECKING:
    from napari_cam_feedback.models import Classifier, Look

JOB = "look"


class LookView(QWidget):
    """Looks at what is open, in the background, and says what is amiss; hidden where nothing is.

    Signals
    -------
    found
        The look is over; `look` has what it found.
    correct : Correction
        The user wants this correction.
    finer : str
        The user wants this layer in place of one whose maps are coarse.

    Parameters
    ----------
    session : Session
        Whose model and images are looked at.
    """

    found = Signal()
    correct = Signal(object)
    finer = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._classifier: Classifier | None = None
        self._closed = False
        #: The last look, with the corrections that it found; None until it is there.
        self.look: Look | None = None
        column = tight(QVBoxLayout(self))
        self.waiting = wrapped_label("Looking whether the model fits the images …", "quiet")
        self.said = wrapped_label(tone="warning")
        fill(column, self.waiting, self.said)
        self.buttons = QVBoxLayout()
        self.buttons.setSpacing(3)
        column.addLayout(self.buttons)
        session.closing.connect(self._close)
        self._show([])

    def text(self) -> str:
        """Return what is said, a line each; empty where nothing is."""
        return self.said.text()

    def refresh(self) -> None:
        """Look at what is open now, unless that was looked at before; another target layer of it takes no further look."""
        classifier, before = self._session.classifier, self._classifier
        self._classifier = classifier
        if classifier is None:
            return
        if before is not None and before.module is classifier.module and before.preprocessing == classifier.preprocessing:
            if self.look is not None:
                self._show_look(self.look)
            return
        self.look = None
        self._show([])
        # Later, since starting a job runs the event loop, and others are still to hear what was opened.
        QTimer.singleShot(0, self._start)

    def _start(self) -> None:
        classifier, dataset = self._session.classifier, self._session.dataset
        if self._closed or classifier is None or dataset is None:
            return

        def work(monitor: Monitor) -> Look:
            from napari_cam_feedback.models.first_look.look import look_at

            return look_at(classifier, dataset, monitor=monitor)

        def of_now() -> bool:
            now = self._session.classifier
            return not self._closed and now is not None and now.module is classifier.module

        def done(look: Look) -> None:
            if of_now():
                self.look = look
                self._show_look(look)
                self.found.emit()

        def failed(error: BaseException) -> None:
            if of_now():
                self._show([describe(error, MODEL_FIELDS)])

        self.waiting.show()
        self.show()
        self._session.jobs.start(JOB, work, on_done=done, on_error=failed, description="Looking at the model", replace=True)

    def _show_look(self, look: Look) -> None:
        from napari_cam_feedback.models.first_look.coarse import coarse_remark, finer_layer, layer_remarks

        classifier = self._session.classifier
        # The layer may be another one than when it was looked at.
        layer = () if classifier is None else tuple(layer_remarks(classifier))
        self._show(replace(look, layer=layer).sentences(MODEL_FIELDS))
        best = [] if look.correction is None else [look.correction]
        for cause in [*best, *(cause for cause in look.causes if cause != look.correction)]:
            text = f"{'Use' if cause in best else 'Try'} {cause.what}: {cause.right} of {cause.images} right"
            self._offer(text, partial(self.correct.emit, cause))
        finer = None if classifier is None or coarse_remark(classifier) is None else finer_layer(classifier)
        if finer is not None:
            self._offer(f"Use layer {finer.name}", partial(self.finer.emit, finer.name))

    def _offer(self, text: str, action: Callable[[], None]) -> None:
        button = push_button(text, tooltip=plain(text))
        # What is otherwise may take many words, and the dock must not grow with them.
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        button.clicked.connect(lambda _=False: action())
        self.buttons.addWidget(button)

    def _show(self, sentences: list[str]) -> None:
        self.waiting.hide()
        while (item := self.buttons.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.said.setText("\n".join(sentences))
        self.setVisible(bool(sentences))

    def _close(self) -> None:
        self._closed = True
