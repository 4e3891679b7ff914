"""A retune under way, as plain values: to stop it, and to take it up again as if it had never been stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.errors import RetuneError, StorageError, describe
from napari_cam_feedback.evaluation.right_reasons import RightReasons
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.files.statedict import load_plain
from napari_cam_feedback.old_names import current_names
from napari_cam_feedback.retuning.config import RetuneConfig
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics
from napari_cam_feedback.retuning.judging.pareto import Checkpoint, State
from napari_cam_feedback.torch_loader import torch

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Attributes
    ----------
    module : dict
        State dict of the network under training.
    optimizer : dict
        State dict of its optimizer.
    strengths : dict
        Weight of each penalty.
    average : dict
        The running mean of the weights, with what belongs to it.
    draws, noise : str, Tensor
        States of the two random generators, of numpy and of torch.
    """

    module: State
    optimizer: dict[str, Any]
    strengths: dict[str, float]
    average: dict[str, Any]
    draws: str
    noise: torch.Tensor


@dataclass(frozen=True)
class RunState:
    """Everything that the steps to come depend on, after some step.

    Attributes
    ----------
    identity : str
        SHA-256 of classifier, settings, masks and images; what takes it up must have the same.
    iteration : int
        Steps done.
    pace : dict
        Learning rate, patience and what went wrong so far; plain values of `Pace`.
    position : Position
        The network under training, its optimizer, and what is drawn next.
    before : ValidationMetrics
        Of the classifier given.
    checkpoints : tuple of Checkpoint
        The front so far.
    history, painted_history : list of dict
        As in `RetuneResult`.
    answers : dict of int to Tensor
        Logits (K,) of the given classifier that are known already, by item (`Teacher`): in other batches their last digits
        would differ.
    """

    identity: str
    iteration: int
    pace: dict[str, Any]
    position: Position
    before: ValidationMetrics
    checkpoints: tuple[Checkpoint, ...]
    history: list[dict[str, Any]]
    painted_history: list[dict[str, Any]]
    answers: dict[int, torch.Tensor]


def identity_of(
    classifier: Classifier,
    config: RetuneConfig,
    keys: tuple[str, ...],
    masks: Mapping[str, np.ndarray],
    images: np.ndarray,
    style: Style | None = None,
) -> str:
    """Return a SHA-256 hex digest of what a run starts from.

    Parameters
    ----------
    classifier : Classifier
        The one given.
    config : RetuneConfig
        Settings.
    keys : tuple of str
        Painted images.
    masks : mapping
        Their masks, (H, W) bool, by key.
    images : ndarray
        (T,) int64 training and validation items.
    style : Style, optional
        What is to be taken out where nothing is painted.
    """
    digest = hashlib.sha256(classifier.fingerprint().encode())
    digest.update(config.model_dump_json().encode())
    for key in keys:
        digest.update(key.encode())
        if key in masks:
            digest.update(np.packbits(np.asarray(masks[key]) != 0).tobytes())
    for name, each in ({} if style is None else style.to_tensors()).items():
        digest.update(name.encode() + each.cpu().contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(images, np.int64).tobytes())
    return digest.hexdigest()


def save_run_state(run_state: RunState, path: str | Path) -> None:
    """Write a run's state, atomically.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    with atomic_path(Path(path)) as temporary:
        torch.save({"schema_version": SCHEMA_VERSION, **run_state_to_values(run_state)}, temporary)


def load_run_state(path: str | Path) -> RunState:
    """Read a run's state; nothing in it is unpickled but tensors and plain values.

    Raises
    ------
    StorageError
        It is not there or cannot be read, or it is of another version of the program.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"There is no {path.name} in {path.parent}; only a run that was stopped can be resumed.")
    try:
        values = load_plain(path)
        if values.pop("schema_version") != SCHEMA_VERSION:
            raise ValueError("another version")
        return run_state_from_values(values)
    except (OSError, MemoryError) as error:
        raise StorageError(f"Could not read {path}: {describe(error)}") from error
    except Exception as error:  # what torch, and who takes the values apart, raise for a broken file has no end
        raise StorageError(
            f"{path} is no state of a run that this version can resume ({describe(error)}); start the run anew."
        ) from error


def draws_of(rng: np.random.Generator) -> str:
    """Return the state of a generator as text."""
    return json.dumps(rng.bit_generator.state)


def check_identity(run_state: RunState, identity: str) -> None:
    """Raise RetuneError unless the state is of the same run."""
    if run_state.identity != identity:
        raise RetuneError(
            "The run to resume was begun with another model, other settings, masks or images; "
            "give the same ones, or start a new run."
        )


def run_state_to_values(run_state: RunState) -> dict[str, Any]:
    """Return a run's state as plain values and tensors."""
    values = {field.name: getattr(run_state, field.name) for field in fields(run_state)}
    values["before"] = asdict(run_state.before)
    values["position"] = vars(run_state.position)
    values["checkpoints"] = [{"check": asdict(each.check), "state": each.state} for each in run_state.checkpoints]
    return values


def run_state_from_values(values: Mapping[str, Any]) -> RunState:
    """Return the state that `run_state_to_values` made plain values of; raises what dataclasses raise where it is none."""
    return RunState(
        **{
            **values,
            "before": check_from_values(values["before"]),
            "position": Position(**values["position"]),
            "checkpoints": tuple(
                Checkpoint(check_from_values(each["check"]), each["state"]) for each in values["checkpoints"]
            ),
            "history": current_names(values["history"]),
        }
    )


def check_from_values(values: dict[str, Any]) -> ValidationMetrics:
    """Return measures of their plain values, as `dataclasses.asdict` gives them."""
    return ValidationMetrics(**{**current_names(values), "held_out": RightReasons(**values["held_out"])})
