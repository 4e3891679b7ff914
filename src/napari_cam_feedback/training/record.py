"""The record of a training, a folder beside the model: settings, history, curves, and what it came to."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.figures import png_of
from napari_cam_feedback.files import csv_text, write_bytes, write_json, write_text
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.torch_loader import torch
from napari_cam_feedback.training.config import TrainRecipe
from napari_cam_feedback.training.loop import TrainStep
from napari_cam_feedback.training.split import TrainSplit

#: Files of a record.
CONFIG, HISTORY, CURVES, RESULT, SPLIT = "config.json", "history.csv", "curves.png", "result.json", "split.csv"
_PACKAGES = ("napari-cam-feedback", "torch", "torchvision", "timm", "numpy", "pillow", "safetensors")
_COLOURS = {"train": "#0072B2", "validation": "#E69F00"}


@dataclass(frozen=True)
class Record:
    """What is known of a training when it has ended; see `Training`.

    Attributes
    ----------
    recipe, dataset, split, steps, result, skipped, stopped
        As `Training` has them.
    model : Path
        The file that the result was written to.
    seconds : float
        How long it took.
    command : str or None
        The line in a shell that made it.
    """

    recipe: TrainRecipe
    dataset: Dataset
    split: TrainSplit
    steps: Sequence[TrainStep]
    result: Classifier
    model: Path
    skipped: Mapping[str, str]
    seconds: float
    stopped: bool
    command: str | None


def record_folder(model: Path) -> Path:
    """Return where the record of a model's training lies: ``<name>_training`` beside its file."""
    return model.with_name(f"{model.stem}_training")


def write_record(record: Record, folder: Path) -> None:
    """Write ``config.json``, ``history.csv``, ``curves.png``, ``result.json``, and ``split.csv`` where the split is ours.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    write_json(folder / CONFIG, record.recipe.model_dump(mode="json", exclude_none=True))
    write_text(folder / HISTORY, history_table(record.steps))
    save_curves(record.steps, folder / CURVES)
    if record.dataset.made_split or record.split.drawn is not None:
        write_text(folder / SPLIT, _split_table(record.dataset, record.split))
    else:
        # One of an earlier training of the same name would mislead.
        (folder / SPLIT).unlink(missing_ok=True)
    write_json(folder / RESULT, _result(record))


def history_table(steps: Sequence[TrainStep]) -> str:
    """Return the epochs as CSV, a row each; what was not measured is empty."""
    names = [field.name for field in fields(TrainStep) if field.name not in ("epochs", "whole")]
    return csv_text(names, ([getattr(step, name) for name in names] for step in steps))


def save_curves(steps: Sequence[TrainStep], path: Path) -> None:
    """Write loss and accuracy of training and validation over the epochs as a picture; raises StorageError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 3.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    epochs = [step.epoch for step in steps]
    tuned = next((step.epoch for step in steps if step.phase == "fine-tune"), None)
    best = max((step.epoch for step in steps if step.best), default=None)
    for axes, title, train, validation in (
        (losses, "cross-entropy (nats)", "loss", "val_loss"),
        (accuracies, "accuracy", "train_accuracy", "val_accuracy"),
    ):
        for name, key in (("train", train), ("validation", validation)):
            values = [np.nan if getattr(step, key) is None else getattr(step, key) for step in steps]
            if np.isfinite(values).any():
                axes.plot(epochs, values, ".-", ms=4, lw=1.2, color=_COLOURS[name], label=name)
        if tuned is not None and tuned > 1:
            axes.axvline(tuned - 0.5, ls="--", lw=1, color="#777777", label="all layers learn")
        if best is not None:
            axes.axvline(best, lw=1, color="#009E73", alpha=0.7, label=f"best: epoch {best}")
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.set_ylim(bottom=0)
    accuracies.set_ylim(0, 1.02)
    accuracies.legend(fontsize=8, loc="lower right")
    write_bytes(path, png_of(figure))


def _split_table(dataset: Dataset, split: TrainSplit) -> str:
    names = dataset.splits.astype(object).copy()
    names[split.validation] = "val"
    labels = [dataset.class_names[label] if label >= 0 else "" for label in dataset.labels.tolist()]
    return csv_text(["key", "label", "split"], zip(dataset.keys, labels, names, strict=True))


def _result(record: Record) -> dict[str, Any]:
    training = record.result.info["training"]
    best = next((step for step in record.steps if step.epoch == training["epoch"]), None)
    dataset = record.dataset
    return {
        "model": record.model.name,
        "fingerprint": record.result.fingerprint(),
        "epoch": training["epoch"],
        "phase": training["phase"],
        "epochs_done": len(record.steps),
        "stopped": record.stopped,
        "best": None if best is None else {"val_accuracy": best.val_accuracy, "val_loss": best.val_loss},
        "transfer": record.result.info.get("transfer"),
        "data": {
            "path": None if dataset.source is None else str(dataset.source.absolute()),
            "classes": list(dataset.class_names),
            "images": {name: len(dataset.indices(name)) for name in dataset.split_names},
            "digest": digest(dataset),
        },
        "split": {
            "train": len(record.split.train),
            "validation": len(record.split.validation),
            "made_with_seed": dataset.split_seed,
            "drawn_from_train": record.split.drawn,
        },
        "skipped": dict(record.skipped),
        "seed": record.recipe.training.seed,
        "seconds": round(record.seconds, 1),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(record.result.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": record.command,
    }


def digest(dataset: Dataset) -> str:
    """Return a SHA-256 hex digest of keys, labels and splits (not of pixels), by which another dataset is told."""
    found = hashlib.sha256("\n".join(dataset.class_names).encode())
    for key, label, split in zip(dataset.keys, dataset.labels.tolist(), dataset.splits.tolist(), strict=True):
        found.update(f"{key}\t{label}\t{split}\n".encode())
    return found.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a training depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
