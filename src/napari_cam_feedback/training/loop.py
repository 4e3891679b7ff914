"""Training a classifier on a dataset: from random weights, or a new head on a network that was trained before."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ModelError
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.layers.interrupt import Interrupted
from napari_cam_feedback.monitor import QUIET, Monitor, Part, takes_monitor
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training.config import PhaseName, TrainConfig
from napari_cam_feedback.training.split import choose_split
from napari_cam_feedback.training.trainer import Measured, Trainer


@dataclass(frozen=True, slots=True)
class TrainStep:
    """What one epoch came to.

    Attributes
    ----------
    epoch, epochs : int
        Done, and in all, over all phases.
    loss : float
        Mean cross-entropy over the epoch, in nats, of the batches as they were trained on.
    train_accuracy : float
        Over the same batches.
    val_accuracy, val_loss : float or None
        On the validation images after the epoch; None where there are none.
    phase : str
        ``all``, ``head`` or ``fine-tune``; see `Phase`.
    learning_rate : float
        At the start of the epoch.
    best : bool
        Whether this epoch is the best so far: none before has a greater validation accuracy.
    whole : bool
        Whether all of the epoch was trained; not where the training was stopped within the first.
    """

    epoch: int
    epochs: int
    loss: float
    train_accuracy: float
    val_accuracy: float | None
    val_loss: float | None = None
    phase: PhaseName = "all"
    learning_rate: float = 0.0
    best: bool = False
    whole: bool = True


@takes_monitor
def train_classifier(
    classifier: Classifier,
    dataset: Dataset,
    config: TrainConfig | None = None,
    *,
    head: str | None = None,
    cache: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> Generator[TrainStep, None, Classifier]:
    """Train a copy of `classifier` on the split ``train``; yields after each epoch.

    Without `head`, all of the network learns. With it, the network but for its head was learnt before (`transfer`), and
    the training has two phases: first the head alone, everything else frozen and batch norm in inference mode; then,
    from the best head on, the whole network at a tenth of the learning rate, the statistics of batch norm still fixed.

    Parameters
    ----------
    classifier : Classifier
        Where to start from; it is not changed.
    dataset : Dataset
        With a split ``train``; the split ``val`` chooses the best epoch. Where there is none, it is drawn (`choose_split`).
    config : TrainConfig, optional
        Settings.
    head : str, optional
        Dotted name of the layer that is new.
    cache : InputCache, optional
        Inputs read before; its ``skipped`` tells which images could not be read.
    monitor : Monitor, optional
        Told of the number of images of the epoch done and in all.
        Once stopped, the work ends with the best epoch so far.

    Returns
    -------
    Classifier
        That of the epoch with the best validation accuracy, of equals the last (without validation images: the last
        epoch). ``info["training"]`` has the settings, that epoch and its accuracies, and what is needed to make the split
        again.

    Raises
    ------
    DataError
        There is no labelled training image that can be read.
    ModelError
        The loss became NaN, or the classes do not fit.
    ConfigError
        A frozen part is not there, or nothing is left to learn.
    """
    config = config or TrainConfig()
    check_fits(classifier, dataset)
    split = choose_split(dataset, config.val_share, config.seed)
    phases = config.phases(head is not None)
    trainer = Trainer(classifier.copy(), dataset, split, config, head, cache)
    best: _Best | None = None
    epoch, last = 0, False
    for number, phase in enumerate(phases):
        if best is not None:
            trainer.restore(best.state)
        trainer.begin(phase)
        planned = epoch + sum(each.epochs for each in phases[number:])
        patience = _Patience(config.patience)
        for _ in range(phase.epochs):
            epoch += 1
            rate = trainer.learning_rate
            trained = trainer.epoch(Part(monitor, f"epoch {epoch} of {planned}"))
            stopped = monitor.stopped
            if not trained.seen and not stopped:
                trainer.complain()
            if not math.isfinite(trained.loss):
                raise ModelError("The loss became NaN; train again with a smaller learning rate.")
            try:
                judged = None if stopped else trainer.validate(monitor)
            except Interrupted:
                judged, stopped = None, True
            if stopped and best is not None:
                last = True
                break
            score = float(epoch) if judged is None else judged.accuracy
            better = best is None or score >= best.score
            if better:
                measured = None if judged is None else judged.accuracy
                best = _Best(score, epoch, phase.name, trainer.state(), trained.accuracy, measured)
            yield TrainStep(
                epoch,
                planned,
                trained.loss,
                trained.accuracy,
                None if judged is None else judged.accuracy,
                None if judged is None else judged.loss,
                phase.name,
                rate,
                better,
                not stopped,
            )
            last = stopped or monitor.stopped
            if last or patience.over(judged):
                break
        if last:
            break
    assert best is not None
    return trainer.finish(
        best.state, epoch=best.epoch, phase=best.phase, train_accuracy=best.train_accuracy, val_accuracy=best.val_accuracy
    )


@dataclass(frozen=True, slots=True)
class _Best:
    """The best epoch so far."""

    score: float
    epoch: int
    phase: PhaseName
    state: dict[str, torch.Tensor]
    train_accuracy: float
    val_accuracy: float | None


class _Patience:
    """Counts the epochs in which neither validation accuracy nor validation loss was better than ever before."""

    def __init__(self, patience: int) -> None:
        self._patience, self._waited = patience, 0
        self._accuracy, self._loss = -math.inf, math.inf

    def over(self, judged: Measured | None) -> bool:
        """Take an epoch's measures; tell whether it is time to end."""
        if not self._patience or judged is None:
            return False
        better = judged.accuracy > self._accuracy or judged.loss < self._loss
        self._accuracy, self._loss = max(self._accuracy, judged.accuracy), min(self._loss, judged.loss)
        self._waited = 0 if better else self._waited + 1
        return self._waited >= self._patience
