"""Running an experiment: one run after another, each on disk as soon as it is done."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data import Dataset, make_sample, open_dataset
from napari_cam_feedback.data.splits import is_test
from napari_cam_feedback.errors import ConfigError, FeedbackError, StorageError, describe
from napari_cam_feedback.evaluation import Evaluation, evaluate
from napari_cam_feedback.experiments.config import SAMPLE, SEED, ExperimentConfig
from napari_cam_feedback.feedback import MaskStore, choose_masks, known_masks
from napari_cam_feedback.files import csv_of_mappings, read_json, write_json, write_text
from napari_cam_feedback.models import Classifier, build_classifier, default_preprocessing, load_classifier, save_classifier
from napari_cam_feedback.monitor import QUIET, Monitor, Part, takes_monitor
from napari_cam_feedback.retuning import retune
from napari_cam_feedback.steps import told
from napari_cam_feedback.training import train_classifier

RUNS, SETTINGS, MODELS = "runs.csv", "experiment.json", "models"


@dataclass(frozen=True, slots=True)
class ExperimentStep:
    """How far an experiment has come.

    Attributes
    ----------
    done, total : int
        Runs.
    share : float
        Of the run under way, 0..1.
    text : str
        What is being done.
    """

    done: int
    total: int
    share: float
    text: str


@takes_monitor
def run_experiment(
    config: ExperimentConfig,
    folder: str | os.PathLike[str],
    *,
    device: str = "auto",
    trust: bool = False,
    monitor: Monitor = QUIET,
) -> Generator[ExperimentStep, None, list[dict[str, str]]]:
    """Train, retune and measure all that an experiment asks for; what is in the folder already is not done again.

    Parameters
    ----------
    config : ExperimentConfig
        What to do.
    folder : path
        Gets ``experiment.json``, ``runs.csv``, and the models trained.
    device : str
        Where to compute.
    trust : bool
        The user agrees that a model's own code runs.
    monitor : Monitor, optional
        Once stopped, the work ends with the runs that are done.

    Yields
    ------
    ExperimentStep
        Several a run.

    Returns
    -------
    list of dict
        One row a run, as in ``runs.csv``: seed, method, masks, for each split ``<split>_before`` and ``<split>_after``
        (accuracy), ``test_reference`` (that of the model trained without the shortcut) where one was asked for, and where
        that is better ``gap_closed``, (after - before) / (reference - before), flip rates on ``test``, F1 of each watched
        class there, verdict, status, seconds; of a method that cannot be used with the network only ``refused``, the
        sentence that says why.

    Raises
    ------
    ConfigError
        No dataset is named, it has no split ``test`` or no class that is watched, or that without the shortcut has
        other classes.
    StorageError
        The folder holds another experiment, or cannot be written.
    FeedbackError
        Data or model cannot be opened.
    """
    steps = _all_runs(config, Path(folder), device, trust, Part(monitor, silent=True))
    return told(steps, monitor, _how_far)


def _how_far(step: ExperimentStep) -> tuple[int, int, str]:
    # In hundredths of a run, which may take minutes.
    return round(100 * (step.done + step.share)), 100 * step.total, step.text


def _all_runs(
    config: ExperimentConfig, folder: Path, device: str, trust: bool, monitor: Monitor
) -> Generator[ExperimentStep, None, list[dict[str, str]]]:
    _claim(folder, config)
    rows = _done(folder)
    known = {(row["seed"], row["method"], row["masks"]) for row in rows}
    total = len(config.seeds) * len(config.painted) * len(config.methods)
    for seed in config.seeds:
        jobs = [(n, entry) for n in config.painted for entry in config.methods]
        jobs = [(n, entry) for n, entry in jobs if (str(seed), entry.title, str(n)) not in known]
        if not jobs:
            continue
        yield ExperimentStep(len(rows), total, 0.0, f"seed {seed}: reading the images")
        dataset = _dataset(config, seed)
        for share, text in _train(config, dataset, folder, seed, device, trust, monitor):
            yield ExperimentStep(len(rows), total, share, f"seed {seed}: {text}")
        if monitor.stopped:
            return rows
        yield ExperimentStep(len(rows), total, 0.0, f"seed {seed}: measuring before")
        classifier = load_classifier(config.model or _model_file(folder, seed), device=device, trust=trust)
        before = _evaluate(classifier, dataset, seed, monitor)
        reference = None
        if config.without_shortcut is not None:
            honest = load_classifier(_model_file(folder, seed, honest=True), device=device, trust=trust)
            reference = evaluate(honest, dataset, splits=["test"], seed=seed).splits["test"].accuracy
        for count, entry in jobs:
            masks = _masks(config, dataset, count, seed)
            title = f"seed {seed}, {count} masks, {entry.title}"
            row = {"seed": str(seed), "method": entry.title, "masks": str(count)}
            settings = entry.retuning(seed, config.settings)
            started = time.perf_counter()
            try:
                with closing(retune(classifier, dataset, masks, settings, monitor=monitor, trust=trust)) as steps:
                    while True:
                        try:
                            step = next(steps)
                        except StopIteration as end:
                            result = end.value
                            break
                        if step.check is not None or step.iteration % 10 == 0:
                            yield ExperimentStep(len(rows), total, step.iteration / step.iterations, title)
            except FeedbackError as error:
                if monitor.stopped:
                    return rows
                rows.append({**row, "refused": str(error)})
            else:
                if result.status == "stopped":
                    # Half a run is no run of the table.
                    return rows
                seconds = time.perf_counter() - started
                after = _evaluate(result.classifier, dataset, seed, monitor)
                if monitor.stopped:
                    return rows
                found = _measures(before, after, config.watched, reference)
                found |= {"verdict": result.verdict.name, "status": result.status, "seconds": f"{seconds:.1f}"}
                rows.append(row | found)
            write_text(folder / RUNS, csv_of_mappings(rows))
            yield ExperimentStep(len(rows), total, 0.0, title)
    return rows


def _claim(folder: Path, config: ExperimentConfig) -> None:
    """Write what the experiment is; raise StorageError where the folder holds another one."""
    file = folder / SETTINGS
    # Settings with which nothing was done, as where the data were not found, bind nobody.
    begun = any((folder / name).exists() for name in (RUNS, MODELS))
    if file.is_file():
        if begun and not _goes_on(read_json(file), config):
            raise StorageError(f"{folder} holds an experiment with other settings; choose a new folder.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty; choose a new folder for the experiment.")
    write_json(file, config.model_dump(mode="json"))


def _goes_on(old: object, config: ExperimentConfig) -> bool:
    """Tell whether runs made with old settings are runs of this experiment: it may have more seeds, masks or methods."""
    if not isinstance(old, dict):
        return False
    try:
        before = ExperimentConfig.model_validate(old)
    except ValueError:
        return False
    free = {"title", "painted", "seeds", "methods", "published"}
    entries = {entry.title: entry for entry in before.methods}
    same = all(entries.get(entry.title, entry) == entry for entry in config.methods)
    return same and before.model_dump(exclude=free) == config.model_dump(exclude=free)


def _done(folder: Path) -> list[dict[str, str]]:
    file = folder / RUNS
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as text:
            return [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(text)]
    except OSError as error:
        raise StorageError(f"Could not read {file}: {describe(error)}") from error
    except (ValueError, csv.Error) as error:
        raise StorageError(
            f"{file} is not the table that an experiment writes; restore it, or choose a new folder."
        ) from error


def _dataset(config: ExperimentConfig, seed: int) -> Dataset:
    if config.data is None:
        raise ConfigError("The experiment names no dataset; add one.", field="data")
    dataset = _open(config.data, seed)
    if "test" not in dataset.split_names:
        raise ConfigError(f"The dataset {config.data} has no split test to measure on; add one.")
    for name in config.watched:
        if name not in dataset.class_names:
            raise ConfigError(f"There is no class {name!r} to watch; the classes are {', '.join(dataset.class_names)}.")
    return dataset


def _open(data: str, seed: int, *, shortcut: bool = True) -> Dataset:
    if data.startswith(SAMPLE):
        return make_sample(data.removeprefix(SAMPLE), seed, shortcut=shortcut)
    return open_dataset(data.replace(SEED, str(seed)), seed=seed)


def _model_file(folder: Path, seed: int, *, honest: bool = False) -> Path:
    return folder / MODELS / f"{seed}{'-without-shortcut' if honest else ''}.safetensors"


def _train(
    config: ExperimentConfig, dataset: Dataset, folder: Path, seed: int, device: str, trust: bool, monitor: Monitor
) -> Iterator[tuple[float, str]]:
    """Train the models of a seed that are not there yet, and yield the share done of each and what is done."""
    wanted = [] if config.model else [(_model_file(folder, seed), dataset, "training")]
    if config.without_shortcut is not None:
        clean = _open(config.without_shortcut, seed, shortcut=False)
        if tuple(clean.class_names) != tuple(dataset.class_names):
            raise ConfigError(f"The classes of {config.without_shortcut} are not those of {config.data}.")
        wanted.append((_model_file(folder, seed, honest=True), clean, "training without the shortcut"))
    for file, images, text in wanted:
        if file.is_file():
            continue
        start = build_classifier(config.arch, images.class_names, default_preprocessing(images), seed=seed, trust=trust)
        training = config.training.model_copy(update={"seed": seed})
        steps = train_classifier(start.to(device) if device != "auto" else start, images, training, monitor=monitor)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                trained: Classifier = end.value
                break
            yield step.epoch / step.epochs, f"{text}, epoch {step.epoch}"
        if monitor.stopped:
            return
        save_classifier(trained, file)


def _masks(config: ExperimentConfig, dataset: Dataset, count: int, seed: int) -> dict[str, np.ndarray]:
    if config.masks is None:
        return known_masks(dataset, count, seed=seed)
    indices = np.concatenate([dataset.indices(split) for split in dataset.split_names if not is_test(split)])
    return choose_masks(MaskStore(Path(config.masks)), dataset, count, indices=indices, seed=seed)


def _evaluate(classifier: Classifier, dataset: Dataset, seed: int, monitor: Monitor) -> Evaluation:
    """Measure accuracy on all splits, and right reasons, which take longest, on the test alone."""
    others = [name for name in dataset.split_names if name != "test"]
    found = evaluate(classifier, dataset, splits=["test"], seed=seed, monitor=monitor)
    more = (
        evaluate(classifier, dataset, masks={}, splits=others, monitor=monitor)
        if others and not monitor.stopped
        else Evaluation({})
    )
    return Evaluation({**more.splits, **found.splits})


def _measures(before: Evaluation, after: Evaluation, watched: tuple[str, ...], reference: float | None) -> dict[str, str]:
    found: dict[str, Any] = {}
    for split, old in before.splits.items():
        new = after.splits[split]
        found[f"{split}_before"], found[f"{split}_after"] = old.accuracy, new.accuracy
    old, new = before.splits["test"], after.splits["test"]
    if reference is not None:
        found["test_reference"] = reference
        # Where that model is no better there is no gap, and a share of it says nothing.
        if reference > old.accuracy:
            found["gap_closed"] = (new.accuracy - old.accuracy) / (reference - old.accuracy)
    if old.right_reasons is not None and new.right_reasons is not None:
        found["flip_before"], found["flip_after"] = old.right_reasons.flip_rate, new.right_reasons.flip_rate
    for name in watched:
        found[f"f1_{name}_before"], found[f"f1_{name}_after"] = old.per_class[name].f1, new.per_class[name].f1
    return {name: f"{value:.6g}" for name, value in found.items()}
