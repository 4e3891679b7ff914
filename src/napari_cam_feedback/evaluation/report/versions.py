"""The whole report of a comparison in one call: pictures, painted images over time, filters, tables, and what it states."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, FeedbackError
from napari_cam_feedback.evaluation.flips import LOST, MOVED, WON
from napari_cam_feedback.evaluation.report.painted_history import PaintedHistory, draw_painted_history
from napari_cam_feedback.evaluation.report.pictures import Picture, choose_shown, picture_versions
from napari_cam_feedback.evaluation.report.telling import verdict_of
from napari_cam_feedback.evaluation.report.write import write_report
from napari_cam_feedback.evaluation.versions import VersionComparison
from napari_cam_feedback.explanations.filters.changes import FilterChanges, filter_changes
from napari_cam_feedback.explanations.filters.features import features_of
from napari_cam_feedback.feedback.masks.choose import KnownMasks, choose_masks
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, Part, takes_monitor

#: Images that are drawn unless another number is asked for.
PICTURES = 12


@takes_monitor
def report_versions(
    folder: str | os.PathLike[str],
    comparison: VersionComparison,
    models: Mapping[str, Classifier],
    dataset: Dataset,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    histories: Sequence[PaintedHistory] = (),
    facts: Mapping[str, str] | None = None,
    pictures: int = PICTURES,
    filters: bool = True,
    title: str | None = None,
    summary: str | None = None,
    remarks: Sequence[str] = (),
    monitor: Monitor = QUIET,
) -> Path | None:
    """Write the report of a comparison; see `write_report` for its files.

    Parameters
    ----------
    folder : path
        Made if need be.
    comparison : VersionComparison
        Of these models and this dataset.
    models : mapping
        Name to classifier, as they were compared.
    dataset : Dataset
        The images.
    masks : mapping, optional
        Key to (H, W) bool; by default the masks that the dataset brings along.
    histories : sequence of PaintedHistory
        Runs whose painted images are shown over the iterations.
    facts : mapping, optional
        What it states on how it was made (`report_facts`).
    pictures : int
        Draw at most so many images: painted ones, and ones of which the prediction changed.
    filters : bool
        Look at what became of the filters too, on the test images; takes another pass over its images.
    title, summary : str, optional
        Heading of the page, and what it came to; by default the verdict of each version (`verdict_of`).
    remarks : sequence of str
        Sentences that are said with what to do next.
    monitor : Monitor, optional
        Told of steps done and in all.
        Once stopped, the work ends and nothing is written.

    Returns
    -------
    Path or None
        The page; None if it was stopped.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    masks = KnownMasks(dataset) if masks is None else masks
    chosen = _chosen(comparison, dataset, masks, histories, pictures)
    total = len(chosen) + (len(models) if filters else 0) + 1
    done = 0
    notes = _notes(comparison)
    drawn: list[Picture] = []

    def step() -> bool:
        nonlocal done
        done += 1
        monitor.progress(done, total)
        return monitor.stopped

    for index in chosen:
        try:
            drawn.append(picture_versions(models, dataset, index, masks.get(dataset.keys[index])))
        except DataError as error:
            notes.append(str(error))
        if step():
            return None
    changes: dict[str, FilterChanges] = {}
    if filters and comparison.headline is not None:
        changes, said = _filter_changes(models, dataset, comparison.headline, step, monitor)
        notes += said
        if monitor.stopped:
            return None
    notes[:0] = remarks
    page = write_report(
        folder,
        title=title or f"{' and '.join(comparison.names[1:])} compared with {comparison.names[0]}",
        summary=summary or told_of(comparison),
        comparison=comparison,
        pictures=drawn,
        facts=facts,
        histories=[draw_painted_history(each) for each in histories if len(each.keys)],
        filters=changes,
        notes=notes,
    )
    step()
    return page


def told_of(comparison: VersionComparison) -> str:
    """Return the verdict on each version but the first, a sentence each."""
    if comparison.headline is None:
        return "Nothing could be compared."
    return " ".join(verdict_of(comparison, number) for number in range(1, len(comparison.names)))


def summarise(comparison: VersionComparison, number: int | None = None) -> str:
    """Return in a sentence or two what became of accuracy and, where it was measured, of right reasons.

    Parameters
    ----------
    comparison : VersionComparison
        Two or more versions.
    number : int, optional
        Of which version (1 to V - 1); by default of all.
    """
    parts = []
    split = comparison.headline
    if split is None:
        return "Nothing could be compared."
    for place, (rows, flips) in enumerate(zip(comparison.rows, comparison.flips, strict=True), 1):
        if number not in (None, place):
            continue
        name = comparison.names[place]
        found = {row.measure: row for row in rows if row.split == split}
        told = []
        for measure, words in (
            ("accuracy", "accuracy"),
            ("flip_rate", "share of predictions that hang on the painted part"),
        ):
            row = found.get(measure)
            if row is not None and row.change is not None:
                sure = ", which may be chance" if row.mark == "unsure" else ""
                told.append(f"{words} {row.texts[0]} → {row.texts[1]}{sure}")
        changed = f"{flips.count(WON)} images are right now that were wrong, {flips.count(LOST)} wrong that were right"
        parts.append(f"{name} against {comparison.names[0]}, on {split}: {'; '.join(told)}. In all splits, {changed}.")
    return " ".join(parts)


def _notes(comparison: VersionComparison) -> list[str]:
    notes = []
    if all(found.right_reasons is None for found in comparison.evaluations[0].splits.values()):
        notes.append(
            "No image has a mask, so nothing could be measured on whether the models are right for the right reasons."
        )
    skipped = {key for each in comparison.evaluations for key in each.skipped}
    if skipped:
        some = ", ".join(sorted(skipped)[:3]) + (", …" if len(skipped) > 3 else "")
        notes.append(f"Left out, since they cannot be read: {len(skipped)} ({some}).")
    results = comparison.evaluations[0].splits
    masked = [
        f"{reasons.n}{f' of {found.masked}' if reasons.n < found.masked else ''} in {name}"
        for name, found in results.items()
        if (reasons := found.right_reasons) is not None
    ]
    if masked:
        notes.append(f"Masked images on which right reasons were measured: {', '.join(masked)}.")
    return notes


def _chosen(
    comparison: VersionComparison,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray],
    histories: Sequence[PaintedHistory],
    count: int,
) -> list[int]:
    """Choose the images to draw, of the splits compared: painted ones of the runs, else of the masks; flips of each kind."""
    keys = dict.fromkeys(key for history in histories for key in history.keys if key in dataset.keys)
    painted = [index for key in keys if dataset.splits[index := dataset.index_of(key)] in comparison.splits]
    if not painted:
        for split in comparison.splits:
            some = choose_masks(masks, dataset, count, indices=dataset.indices(split), seed=comparison.seed)
            painted += [dataset.index_of(key) for key in some]
    kinds: list[list[int]] = []
    for flips in comparison.flips:
        kinds += [flips.indices[flips.kinds == kind].tolist() for kind in (WON, LOST, MOVED)]
    return choose_shown(painted, kinds, count, (dataset.splits, dataset.labels))


def _filter_changes(
    models: Mapping[str, Classifier], dataset: Dataset, split: str, step: Callable[[], bool], monitor: Monitor
) -> tuple[dict[str, FilterChanges], list[str]]:
    """Return the change of each model's filters from the first one's, and why where it cannot be told."""
    names, silent = list(models), Part(monitor, silent=True)
    found: dict[str, FilterChanges] = {}
    notes: list[str] = []
    try:
        first = features_of(models[names[0]], dataset, split, monitor=silent)
        if step():
            return {}, []
        for name in names[1:]:
            try:
                found[name] = filter_changes(first, features_of(models[name], dataset, split, monitor=silent))
            except FeedbackError as error:
                notes.append(f"The filters of {name} are not compared: {error}")
            if step():
                return {}, []
    except FeedbackError as error:
        notes.append(f"The filters are not compared: {error}")
    return found, notes
