"""What happens behind the Start button of the Train dock: opening, training, saving; in a worker that knows no Qt."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.model_names import Architecture
from napari_cam_feedback.monitor import Callbacks, Monitor
from napari_cam_feedback.widgets.session.consents import Consents, asking, subject_of
from napari_cam_feedback.widgets.tasks.workers import WorkStopped
from napari_cam_feedback.widgets.train.form import Order

if TYPE_CHECKING:
    from napari_cam_feedback.training import Training, TrainStep


#: Parts of an epoch in which progress is told.
PARTS = 1000


@dataclass(frozen=True)
class Ready:
    """Images and network are open; the training begins."""

    training: Training


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    training : Training
        It has ended.
    order : Order
        What was chosen for it.
    error : StorageError or None
        Why it could not be saved.
    """

    training: Training
    order: Order
    error: StorageError | None = None


def check(order: Order) -> None:
    """Find out whether the model can be saved, before anything is trained.

    Raises
    ------
    ConfigError, StorageError
        It cannot; the sentence says what to do.
    """
    from napari_cam_feedback.training.run import check_model_path

    check_model_path(order.out, order.data, order.model)


def train(order: Order, consents: Consents, monitor: Monitor) -> Generator[Ready | TrainStep, None, Trained]:
    """Open, train, and save; the monitor is told thousandths of epochs.

    Yields
    ------
    Ready, TrainStep
        One `Ready`, then a step for each epoch.

    Raises
    ------
    WorkStopped
        It was stopped before an epoch was done; nothing was written.
    ConsentRequest
        The user must agree to something first.
    FeedbackError
        Something cannot be opened or does not fit.
    """
    from napari_cam_feedback.models import make_options, read_class_names
    from napari_cam_feedback.training import make_recipe, open_training

    check(order)
    values = dict(order.settings)
    if "class_names" in values:
        values["class_names"] = read_class_names(values["class_names"])
    # Which of torchvision's weights, for a network that is named and not a file.
    which = values.pop("weights", None)
    weights = order.model
    if weights is not None and which is not None:
        values["arch"], weights = weights, which
    recipe = make_recipe(weights, make_options(None, **values), order.training)
    arch = recipe.arch
    named = order.model is None or Architecture.of(order.model).pretrained
    subject = subject_of(order.model or Path(arch or "network") if named else Path(order.model or ""), arch)
    with asking(subject):
        training = open_training(
            order.data,
            recipe,
            device=order.device,
            trust=consents.given("trust", subject),
            download=consents.given("download", subject),
        )
    yield Ready(training)
    epochs = sum(phase.epochs for phase in training.recipe.training.phases(training.head is not None))
    done = 0
    within = Callbacks(
        lambda seen, of, message: monitor.progress(PARTS * done + PARTS * seen // max(of, 1), PARTS * epochs, message),
        lambda: monitor.stopped,
    )
    for step in training.run(monitor=within):
        done, epochs = step.epoch, step.epochs
        yield step
    if not training.steps:
        raise WorkStopped
    return save(Trained(training, order))


def save(trained: Trained) -> Trained:
    """Write the model and its record, or say why that cannot be."""
    order = trained.order
    again = ["napari-cam-feedback", "train", str(order.data), "--config", f"{order.out.stem}_training/config.json"]
    command = shlex.join([*again, "--out", f"{order.out.stem}-again.safetensors"])
    try:
        trained.training.save(order.out, command=command)
    except StorageError as error:
        return Trained(trained.training, order, error)
    return Trained(trained.training, order)
