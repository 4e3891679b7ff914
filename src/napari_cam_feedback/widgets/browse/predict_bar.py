"""Predicting a split in the background: the button, the bar, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.browse.item_table import ItemTable
from napari_cam_feedback.widgets.browse.unreadable import BrokenImages
from napari_cam_feedback.widgets.parts.basics import push_button, tight
from napari_cam_feedback.widgets.session.session import Session

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.evaluation import Predictions
    from napari_cam_feedback.models import Classifier

# A split up to this size is predicted without being asked for.
_PREDICT_UNASKED = 5000
_CHUNK = 128


def predict_in_chunks(
    classifier: Classifier, dataset: Dataset, indices: np.ndarray, monitor: Monitor
) -> Iterator[tuple[int, int, Predictions]]:
    """Predict items, yielding (done, total, predictions) after every few; for a worker."""
    from napari_cam_feedback.evaluation import predict

    for start in range(0, len(indices), _CHUNK):
        if monitor.stopped:
            return
        part = indices[start : start + _CHUNK]
        yield start + len(part), len(indices), predict(classifier, dataset, indices=part)
        monitor.progress(start + len(part), len(indices))


class PredictBar(QWidget):
    """Fills a table's predictions in, and says how many are right and which images cannot be read.

    Signals
    -------
    predicted
        Some predictions have come into the table.

    Parameters
    ----------
    session : Session
        Whose classifier predicts.
    model : ItemTable
        Gets the predictions.
    split : callable
        Returns the split that is shown, None for all.
    """

    predicted = Signal()

    def __init__(self, session: Session, model: ItemTable, split: Callable[[], str | None]) -> None:
        super().__init__()
        self._session, self._model, self._split = session, model, split
        column = tight(QVBoxLayout(self), 4)
        row = QHBoxLayout()
        self.button = push_button("Predict", self.predict, "Fill in the model's predictions for the chosen split")
        self.stop_button = push_button("Stop", lambda: session.jobs.stop("predict"))
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        row.addWidget(self.button)
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop_button)
        column.addLayout(row)
        self.broken = BrokenImages()
        self.broken.chosen.connect(self._go_to)
        column.addWidget(self.broken)
        machine = session.jobs.phase("predict")
        self._refresh = machine.drive(
            start=[self.button], stop=[self.stop_button], ready=lambda: session.project is not None
        )
        machine.changed.connect(lambda phase: self.stop_button.setVisible(phase.busy))
        self.stop_button.hide()

    def opened(self) -> None:
        """Begin anew with another dataset, or with none."""
        self.broken.clear()
        self._refresh()

    def predict_unasked(self) -> None:
        """Predict the split that is shown if that takes moments only."""
        if len(self._missing()) <= _PREDICT_UNASKED:
            self.predict()
        else:
            self.show_progress(0, 0)

    def _missing(self) -> np.ndarray:
        dataset = self._session.dataset
        if dataset is None:
            return np.zeros(0, np.int64)
        indices = dataset.indices(self._split())
        return indices[self._model.predicted[indices] < 0]

    def predict(self) -> None:
        """Fill in the predictions that are missing in the chosen split, in the background."""
        session = self._session
        classifier, dataset, indices = session.classifier, session.dataset, self._missing()
        if classifier is None or dataset is None or not len(indices):
            self.show_progress(0, 0)
            return

        def step(found: tuple[int, int, Predictions]) -> None:
            done, total, predictions = found
            if session.classifier is not classifier or session.dataset is not dataset:
                session.jobs.stop("predict")
                return
            self._model.set_predictions(predictions.indices, predictions.probabilities)
            self.show_progress(done, total)
            self._note_broken(dataset, predictions)
            self.predicted.emit()

        def failed(sentence: str) -> None:
            self.show_progress(0, 0)
            session.notify(sentence, "error")

        session.jobs.start(
            "predict",
            lambda monitor: predict_in_chunks(classifier, dataset, indices, monitor),
            on_step=step,
            on_done=lambda _: self.show_progress(0, 0),
            on_failed=failed,
            on_stopped=lambda: self.show_progress(0, 0),
            description="Predicting",
            replace=True,
        )
        self.show_progress(0, len(indices))

    def _note_broken(self, dataset: Dataset, predictions: Predictions) -> None:
        self.broken.add(predictions.skipped)
        if self.broken.sentences:
            self.broken.remove([dataset.keys[int(index)] for index in predictions.indices])

    def show_progress(self, done: int, total: int) -> None:
        """Show how far the work is; without a total, what it has found so far."""
        if total:
            self.bar.setRange(0, total)
            self.bar.setValue(done)
            self.bar.setFormat("%v of %m predicted")
            return
        dataset = self._session.dataset
        indices = dataset.indices(self._split()) if dataset is not None else np.zeros(0, int)
        known = int((self._model.predicted[indices] >= 0).sum())
        right = known - int(self._model.wrong()[indices].sum())
        self.bar.setRange(0, max(1, len(indices)))
        self.bar.setValue(known)
        if known:
            self.bar.setFormat(f"{right} of {known} right ({right / known:.0%})")
        else:
            self.bar.setFormat("not predicted yet")

    def _go_to(self, key: str) -> None:
        dataset = self._session.dataset
        if dataset is not None and key in dataset.keys:
            self._session.go_to(dataset.index_of(key))
