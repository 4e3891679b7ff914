"""Which shortcuts a dataset offers, before anyone looks at a heatmap, and which of them a model uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from napari_cam_feedback.auditing.cues import CUES, Cue
from napari_cam_feedback.auditing.duplicates import fingerprint, groups_of, near_duplicates
from napari_cam_feedback.auditing.metadata import TEXTS, file_facts
from napari_cam_feedback.auditing.pictures import make_picture
from napari_cam_feedback.auditing.results import AuditReport, Finding
from napari_cam_feedback.auditing.telling import FOLDS, Told, tell
from napari_cam_feedback.auditing.usage import used_share
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.formats.file_dataset import FileDataset
from napari_cam_feedback.data.splits import TRAIN
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.evaluation.sampling import draw
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor

#: Images by which the class is told at most, and among which duplicates are looked for at most, unless the user says more.
MAX_TOLD, MAX_COMPARED = 2000, 5000
#: Images, and images of each class, below which nothing can be told.
MIN_IMAGES, MIN_OF_CLASS = 20, FOLDS
#: Images that are read at the same time.
_THREADS, _AHEAD = 2, 32
METADATA = Cue(
    "metadata",
    lambda _: np.empty(0),
    "The classes come from other devices or dates; split by device or date, so that testing tells whether that matters.",
)


def audit(
    dataset: Dataset,
    classifier: Classifier | None = None,
    *,
    split: str | None = None,
    most: int | None = None,
    seed: int = 0,
    monitor: Monitor = QUIET,
) -> AuditReport:
    """Say by what else than their content the classes of a dataset can be told.

    Each cue (the border, each corner, the image without its centre, size and aspect, brightness and colour, sharpness and
    noise, compression, burnt-in text, and what the files say of device and date) is described by some numbers, and the class
    is told by these alone, of images that were not learnt from. A cue is a finding where that is better than chance by more
    than all checks together would bring about by accident, once in twenty datasets.

    Parameters
    ----------
    dataset : Dataset
        Images with labels.
    classifier : Classifier, optional
        A model for the same classes; then each finding says how much it uses it.
    split : str, optional
        The split whose classes are told; by default ``train``, or all that nothing is tested on. Tests may be made to
        contradict a shortcut, which would hide it.
    most : int, optional
        Images looked at, at most; by default 2,000 to tell the class by, and 5,000 for duplicates.
    seed : int
        Which images where there are more, and the folds.
    monitor : Monitor, optional
        Told of images; asked between them whether to stop, which ends the audit with a `DataError`.

    Returns
    -------
    AuditReport

    Raises
    ------
    DataError
        There are fewer than two classes with five labelled images each, fewer than 20 images, or it was stopped.
    """
    told_by, compared, notes = _choose(dataset, split, most, seed)
    looked = _look(dataset, told_by, compared, monitor)
    position = {int(index): number for number, index in enumerate(looked.indices)}
    pairs = near_duplicates(looked.hashes, looked.thumbnails)
    rows = np.array([position[int(i)] for i in told_by if int(i) in position and int(i) in looked.facts], np.int64)
    labels = dataset.labels[looked.indices[rows]]
    enough = np.isin(labels, [k for k in np.unique(labels) if (labels == k).sum() >= MIN_OF_CLASS])
    rows, labels = rows[enough], labels[enough]
    _check_enough(labels, dataset)
    groups = groups_of(len(looked.indices), pairs)[rows]
    found: list[tuple[Cue, Told]] = []
    numbers = looked.numbers(rows)

    for number, (cue, described) in enumerate(numbers):
        told = tell(described, labels, groups, checks=len(numbers), seed=seed)
        monitor.progress(number + 1, len(numbers), "telling the class by each cue")
        _go_on(monitor)
        if told is not None and told.beyond:
            found.append((cue, told))
    findings = []
    for cue, told in found:
        used = None if classifier is None else used_share(classifier, dataset, cue, looked.indices[rows], seed)
        findings.append(Finding(cue.name, told.accuracy, told.low, told.high, told.chance, used, cue.advice))
    return AuditReport(
        findings=tuple(sorted(findings, key=lambda each: (-each.strength, each.cue))),
        duplicates=_telling_pairs(dataset, looked.indices, pairs),
        checked=tuple(cue.name for cue, _ in numbers),
        n=len(rows),
        of=len(_population(dataset, split)),
        compared=len(looked.indices),
        split=split or (TRAIN if TRAIN in dataset.split_names else "all but those for testing"),
        skipped=looked.skipped,
        notes=tuple(notes),
    )


class _Looked:
    """What was seen of the images."""

    def __init__(self) -> None:
        self.indices = np.empty(0, np.int64)
        self.hashes: list[int] = []
        self.thumbnails = np.empty((0, 16, 16), np.float32)
        self.described: dict[str, dict[int, np.ndarray]] = {cue.name: {} for cue in CUES}
        self.facts: dict[int, dict[str, float | str]] = {}
        self.skipped: dict[str, str] = {}

    def numbers(self, rows: np.ndarray) -> list[tuple[Cue, np.ndarray]]:
        """Return each cue with the numbers (N, D) of some of the images, by position."""
        taken = [int(self.indices[row]) for row in rows]
        found = [(cue, np.stack([self.described[cue.name][index] for index in taken])) for cue in CUES]
        metadata = _coded([self.facts[index] for index in taken])
        return [*found, (METADATA, metadata)] if metadata.shape[1] else found


def _coded(facts: list[dict[str, float | str]]) -> np.ndarray:
    """Texts of files as numbers: for each text that more than one image has and not all, whether an image has it."""
    columns = []
    for name in TEXTS:
        values = np.array([str(each.get(name, "")) for each in facts])
        known, counts = np.unique(values, return_counts=True)
        if len(known) > 1:
            columns += [values == value for value, count in zip(known, counts, strict=True) if count > 1]
            columns.append(np.searchsorted(known, values))
    return np.stack(columns, 1).astype(np.float64) if columns else np.empty((len(facts), 0))


def _population(dataset: Dataset, split: str | None) -> np.ndarray:
    """Return the labelled items whose classes are told."""
    if split is not None:
        indices = dataset.indices(split)
    elif TRAIN in dataset.split_names:
        indices = dataset.indices(TRAIN)
    else:
        indices = dataset.learnable()
    return indices[dataset.labels[indices] >= 0]


def _choose(dataset: Dataset, split: str | None, most: int | None, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the items that the class is told by, those among which duplicates are looked for, and what to say of it."""
    population = _population(dataset, split)
    _check_enough(dataset.labels[population], dataset)
    told = draw(population, dataset.labels[population], most or MAX_TOLD, seed)
    everything = np.flatnonzero(dataset.labels >= 0)
    others = np.setdiff1d(everything, told)
    room = max(0, (most or MAX_COMPARED) - len(told))
    if len(others) > room:
        others = np.sort(np.random.default_rng(seed).choice(others, room, replace=False))
    compared = np.union1d(told, others)
    notes = list(dataset.notes)
    if len(compared) < len(everything):
        notes.append(f"Duplicates were looked for among {len(compared):,} of {len(everything):,} images.")
    rare = [k for k in np.unique(dataset.labels[population]) if (dataset.labels[population] == k).sum() < MIN_OF_CLASS]
    if rare:
        names = ", ".join(dataset.class_names[k] for k in rare[:5]) + (", …" if len(rare) > 5 else "")
        notes.append(f"Classes with fewer than {MIN_OF_CLASS} images were left out: {names}.")
    return told, compared, notes


def _check_enough(labels: np.ndarray, dataset: Dataset) -> None:
    where = dataset.source or "the dataset"
    classes, counts = np.unique(labels, return_counts=True)
    if not len(labels):
        raise DataError(f"{where} has no labelled images to tell the classes of; name a split that has labels.")
    if (counts >= MIN_OF_CLASS).sum() < 2:
        only = f"one class, {dataset.class_names[classes[0]]}" if len(classes) == 1 else f"{len(classes)} classes"
        raise DataError(
            f"An audit needs two classes with {MIN_OF_CLASS} labelled images each, and {where} shows {only}, "
            f"{counts.max()} images of the largest; add images, or name another split."
        )
    if counts[counts >= MIN_OF_CLASS].sum() < MIN_IMAGES:
        raise DataError(f"An audit needs {MIN_IMAGES} labelled images, and {where} has {len(labels)}; add images.")


def _go_on(monitor: Monitor) -> None:
    if monitor.stopped:
        raise DataError("The audit was stopped; nothing was found out.")


def _look(dataset: Dataset, told_by: np.ndarray, compared: np.ndarray, monitor: Monitor) -> _Looked:
    """Read each image once, and describe it."""
    looked, wanted, scale = _Looked(), set(told_by.tolist()), _scale(dataset, compared)

    def describe(index: int) -> tuple[int, Any]:
        try:
            pixels = _pixels(dataset.read(index), scale)
        except DataError as error:
            return index, error
        facts = file_facts(dataset.path(index)) if isinstance(dataset, FileDataset) else {}
        cues = None
        if index in wanted:
            picture = make_picture(pixels, facts)
            cues = {cue.name: cue.describe(picture) for cue in CUES}
        return index, (facts, cues, fingerprint(pixels))

    indices, thumbnails = [], []
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, (index, found) in enumerate(_in_order(pool, describe, compared.tolist())):
            monitor.progress(number + 1, len(compared), "looking at the images")
            _go_on(monitor)
            if isinstance(found, DataError):
                looked.skipped[dataset.keys[index]] = str(found)
                continue
            facts, cues, (hashed, thumbnail) = found
            indices.append(index)
            looked.hashes.append(hashed)
            thumbnails.append(thumbnail)
            if cues is not None:
                looked.facts[index] = facts
                for name, vector in cues.items():
                    looked.described[name][index] = vector
    if not indices:
        raise DataError(f"None of the {len(compared)} images can be read; the first: {next(iter(looked.skipped.values()))}")
    looked.indices, looked.thumbnails = np.array(indices, np.int64), np.stack(thumbnails)
    return looked


def _in_order(pool: ThreadPoolExecutor, work: Callable[[int], Any], items: Iterable[int]) -> Iterator[Any]:
    """Yield what the work gives for each item, in order, with a few of them under way at a time."""
    rest = iter(items)
    under_way = [pool.submit(work, item) for item in islice(rest, _AHEAD)]
    while under_way:
        yield under_way.pop(0).result()
        under_way += [pool.submit(work, item) for item in islice(rest, 1)]


def _scale(dataset: Dataset, indices: np.ndarray) -> float:
    """Return what white is, by the first images: 255, 65,535, or for other numbers the largest seen, 1 at least."""
    largest = 1.0
    for index in indices[:16]:
        try:
            image = dataset.read(int(index))
        except DataError:
            continue
        if image.dtype == np.uint8:
            return 255.0
        largest = max(largest, float(np.nanmax(image, initial=0.0)))
    return largest


def _pixels(image: np.ndarray, scale: float) -> np.ndarray:
    """Return an image as float32 (H, W, 3), 0 to 1."""
    pixels = np.clip(np.nan_to_num(image.astype(np.float32) / np.float32(scale)), 0, 1)
    return np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels[..., :3]


def _telling_pairs(dataset: Dataset, indices: np.ndarray, pairs: list[tuple[int, int]]) -> tuple[tuple[str, str], ...]:
    """Return the keys of pairs that stand in two splits or under two labels."""
    labels, splits = dataset.labels[indices], dataset.splits[indices]
    return tuple(
        (dataset.keys[int(indices[i])], dataset.keys[int(indices[j])])
        for i, j in pairs
        if labels[i] != labels[j] or splits[i] != splits[j]
    )
