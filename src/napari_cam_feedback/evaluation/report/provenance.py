"""What a report states so that it can be repeated: data, models, seeds, versions of packages."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from napari_cam_feedback import __version__
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.models.classifier import Classifier

#: Packages whose versions decide on the numbers.
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-image")


def report_facts(
    models: Mapping[str, Classifier],
    dataset: Dataset,
    *,
    files: Mapping[str, str | os.PathLike[str]] | None = None,
    masks: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    command: Sequence[str] | None = None,
) -> dict[str, str]:
    """Return what a report states on how it came to be, by title.

    Parameters
    ----------
    models : mapping
        Name to classifier.
    dataset : Dataset
        The images.
    files : mapping, optional
        Name to the file that the classifier was loaded from.
    masks : path or mapping, optional
        The folder of the masks, or the masks themselves; None for those that the dataset brings along.
    seed : int
        The comparison's.
    command : sequence of str, optional
        Words of the command that makes the report again; they are quoted for a shell here.
    """
    facts = {"Data": _data(dataset)}
    for name, classifier in models.items():
        where = (files or {}).get(name)
        origin = "in memory" if where is None else str(_absolute(where))
        facts[f"Model {name}"] = (
            f"{origin}; {classifier.arch}, target layer {classifier.target_layer}, {classifier.preprocessing.summary}; "
            f"fingerprint {classifier.fingerprint()}"
        )
        seeds = _seeds(classifier)
        if seeds:
            facts[f"Model {name}"] += f"; {seeds}"
        retuned = retune_sentence(classifier)
        if retuned:
            facts[f"Retune of {name}"] = retuned
    if masks is None:
        facts["Masks"] = "those that the data bring along" if dataset.has_known_masks else "none"
    else:
        facts["Masks"] = f"{len(masks)} in memory" if isinstance(masks, Mapping) else str(_absolute(masks))
    facts["Seed"] = str(seed)
    facts["Device"] = ", ".join(dict.fromkeys(str(classifier.device) for classifier in models.values()))
    facts["Versions"] = package_versions()
    facts["Made"] = datetime.now(UTC).isoformat(timespec="seconds")
    if command is not None:
        facts["Command"] = shlex.join(command)
    return facts


def package_versions() -> str:
    """Return the versions of this program, of Python, and of the packages that decide on the numbers, in one line."""
    found = [f"napari-cam-feedback {__version__}", f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # vendored, or in a bundle without metadata
            continue
    return ", ".join([*found, platform.platform()])


def retune_sentence(classifier: Classifier) -> str | None:
    """Say with which settings a classifier was retuned, those included that were left open; None where it does not tell."""
    about = classifier.info.get("retune")
    found = about.get("resolved") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(found, dict):
        return None
    parts = [f"method {found.get('method')}", f"learning rate {_number(found.get('learning_rate'))}"]
    chosen = found.get("learning_rate_chosen")
    if isinstance(chosen, str):
        parts[-1] += f" ({chosen[:1].lower()}{chosen[1:].rstrip('.')})"
    steps = f"{found.get('iterations')} steps of at most {found.get('iterations_at_most')}"
    parts.append(f"{steps}, a check on {found.get('validation_images')} validation images every {found.get('check_every')}")
    parts.append(f"weights of iteration {about.get('iteration')}")
    share = about.get("share", 1)
    if isinstance(share, (int, float)) and share != 1:
        parts[-1] += f", {share:.0%} of the way from the given ones"
    parts += [
        f"{found.get('batch_size')} training and {found.get('painted_per_step')} painted images a step",
        f"strength {_strength(found.get('strength'))}",
        f"target layer {found.get('target_layer')}",
        f"refill {found.get('refill')}",
        "teacher: the given model" if found.get("distillation") else "no teacher",
        "batch norm frozen" if found.get("freeze_batch_norm") else "batch norm learns where there is any",
        f"seed {found.get('seed')}",
        f"{found.get('device')}, threads: {found.get('threads')}",
        str(found.get("versions")),
    ]
    return "; ".join(parts)


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else str(value)


def _strength(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_number(each)}" for name, each in value.items()) or "none"
    return _number(value)


def _absolute(path: str | os.PathLike[str]) -> Path | str:
    # A name such as torchvision:resnet18 is no path.
    text = os.fspath(path)
    return text if ":" in text and not Path(text).exists() else Path(text).absolute()


def _data(dataset: Dataset) -> str:
    counts = ", ".join(f"{len(dataset.indices(name))} {name}" for name in dataset.split_names)
    where = "in memory" if dataset.source is None else str(dataset.source.absolute())
    split = f"; split drawn with seed {dataset.split_seed}" if dataset.made_split else ""
    return f"{where}; {len(dataset)} images ({counts}), {len(dataset.class_names)} classes{split}"


def _seeds(classifier: Classifier) -> str:
    """Return the seeds of training and retuning that the model's file tells."""
    found = []
    for part in ("training", "retune"):
        about = classifier.info.get(part)
        config = about.get("config", about) if isinstance(about, dict) else {}
        seed = config.get("seed") if isinstance(config, dict) else None
        if isinstance(seed, int):
            found.append(f"{part} seed {seed}")
    return ", ".join(found)
