"""All filters of the target layer over a whole split: activations, contributions, ranking, curve; and tables of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError, FeedbackError, StorageError, describe
from napari_cam_feedback.explanations.filters.accuracy_curve import AccuracyCurve, accuracy_curve
from napari_cam_feedback.explanations.filters.changes import SILENT
from napari_cam_feedback.explanations.filters.features import Features, features_of
from napari_cam_feedback.explanations.filters.marks import FilterMarks
from napari_cam_feedback.explanations.filters.ranking import FilterRanking, rank_filters
from napari_cam_feedback.explanations.filters.statistics import MaskActivation, class_contributions, class_histograms
from napari_cam_feedback.explanations.filters.store import read_arrays, write_arrays
from napari_cam_feedback.files import csv_text, write_text
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, Part, takes_monitor

#: Classes up to which contributions are found without a linear head; each costs some gradients.
MAX_GRADIENT_CLASSES = 50


@dataclass(frozen=True, eq=False)
class FilterSurvey:
    """What there is to know of the filters over a split.

    Attributes
    ----------
    features : Features
        Of the split.
    validation : Features or None
        Of the validation split, on which the curve was tried; None where there is none.
    contributions : ndarray or None
        (K, F) float32, to each class's logit over the images of the class, see `class_contributions`; NaN for classes
        without images. None where they cannot be told.
    ranking : FilterRanking or None
        None where it could not be made, or was stopped.
    curve : AccuracyCurve or None
        None where it could not be made, or was stopped.
    notes : tuple of str
        A sentence for each thing that could not be made.
    """

    features: Features
    validation: Features | None = None
    contributions: np.ndarray | None = None
    ranking: FilterRanking | None = None
    curve: AccuracyCurve | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def activation(self) -> np.ndarray:
        """(F,) float64, mean activation over the images."""
        return self.features.mean.mean(0, dtype=np.float64)

    @cached_property
    def dead(self) -> np.ndarray:
        """(F,) bool, filters that are silent in every image."""
        # Where neither mean nor maximum leaves 0 there is nothing below 0 either.
        sizes = [np.maximum(table.max(0), -table.min(0)) for table in (self.features.mean, self.features.maximum)]
        return np.maximum(*sizes) <= SILENT * float(sizes[1].max(initial=0.0))

    def contribution(self, label: int | None = None) -> np.ndarray | None:
        """Return each filter's contribution to a class, (F,) float32; without a class its largest to any."""
        if self.contributions is None:
            return None
        if label is not None:
            return self.contributions[label]
        known = self.contributions[~np.isnan(self.contributions).all(1)]
        return known.max(0) if len(known) else None

    @property
    def best(self) -> np.ndarray:
        """(F,) int64, filters by the ranking, else by contribution, else by activation; the first are worth a look."""
        if self.ranking is not None:
            return self.ranking.order
        contribution = self.contribution()
        return np.argsort(-(self.activation if contribution is None else contribution), kind="stable")


@takes_monitor
def survey_filters(
    classifier: Classifier,
    dataset: Dataset,
    split: str = "train",
    *,
    validation: str = "val",
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    monitor: Monitor = QUIET,
) -> FilterSurvey:
    """Look at all images of a split once, and rank the filters.

    Parameters
    ----------
    classifier : Classifier
        Whose filters.
    dataset : Dataset
        Images.
    split : str
        Whose images.
    validation : str
        The split on which the accuracy curve is tried; without it there is no curve.
    cache : path, optional
        Folder of results kept, which know the weights and the images that they belong to.
    seed : int
        Of the ranking.
    monitor : Monitor, optional
        Told what is done, and images or steps done and in all.
        Once stopped, the work ends with what there is, and a note says so.

    Raises
    ------
    DataError
        There is no such split, or no image of it can be read.
    ModelError
        The classifier is for other classes.
    StorageError
        The results cannot be kept.
    """
    images = Part(monitor, "Looking at the images")
    features = features_of(classifier, dataset, split, cache=cache, monitor=images)
    if not features.complete:
        total = len(dataset.indices(split))
        return FilterSurvey(features, notes=(f"Stopped after {len(features)} of {total} images; look again to go on.",))
    other: Features | None = None
    notes: list[str] = []
    if validation in dataset.split_names and validation != split:
        try:
            other = features_of(
                classifier, dataset, validation, cache=cache, monitor=Part(monitor, "Looking at the validation images")
            )
        except DataError as error:
            notes.append(f"There is no accuracy curve. {describe(error)}")
    else:
        notes.append(f"There is no accuracy curve, since there are no images to try it on beside {split}; add a split val.")
    if other is not None and not other.complete:
        return FilterSurvey(features, notes=("Stopped before the filters were ranked; look again to go on.",))
    file = None if cache is None else _kept_path(Path(cache), features, other)
    kept = None if file is None else _kept(file, features, other, seed)
    if kept is not None:
        return FilterSurvey(features, other, *kept, notes=tuple(notes))
    contributions = _contributions(classifier, dataset, features, notes)
    ranking: FilterRanking | None = None
    curve: AccuracyCurve | None = None
    try:
        ranking = rank_filters(features, seed=seed, monitor=Part(monitor, "Ranking the filters"))
        if ranking is not None and other is not None:
            curve = accuracy_curve(
                features, other, ranking.order, seed=seed, monitor=Part(monitor, "Trying numbers of filters")
            )
    except DataError as error:
        notes.append(describe(error))
    if monitor.stopped:
        notes.append("Stopped before all was done; look again to go on.")
    elif file is not None and ranking is not None:
        _keep(file, contributions, ranking, curve, other)
    return FilterSurvey(features, other, contributions, ranking, curve, tuple(notes))


def _contributions(classifier: Classifier, dataset: Dataset, features: Features, notes: list[str]) -> np.ndarray | None:
    if not (features.labels >= 0).any():
        notes.append("Contributions to classes need labelled images; none of these has a label.")
        return None
    few = len(features.class_names) <= MAX_GRADIENT_CLASSES
    try:
        found = class_contributions(classifier, features, dataset if few else None)
    except FeedbackError as error:
        notes.append(describe(error))
        return None
    if found is None:
        notes.append(
            f"Contributions are told for up to {MAX_GRADIENT_CLASSES} classes where a model has no linear head after "
            "global pooling; look at them image by image."
        )
    return found


# What is kept -------------------------------------------------------------------------------------

_SCORES = ("mutual_information", "forest", "one_variable", "l1", "mean_rank", "order")


def _kept_path(folder: Path, features: Features, validation: Features | None) -> Path:
    other = "none" if validation is None else validation.data[:16]
    return folder / f"ranking-{features.classifier[:16]}-{features.data[:16]}-{other}.npz"


def _keep(
    file: Path,
    contributions: np.ndarray | None,
    ranking: FilterRanking,
    curve: AccuracyCurve | None,
    validation: Features | None,
) -> None:
    arrays = {name: _or_empty(getattr(ranking, name)) for name in _SCORES}
    arrays["contributions"] = _or_empty(contributions)
    arrays["counts"] = _or_empty(None if curve is None else curve.counts)
    arrays["accuracy"] = _or_empty(None if curve is None else curve.accuracy)
    about: dict[str, Any] = {
        "classifier": ranking.classifier,
        "data": ranking.data,
        "validation": None if validation is None else validation.data,
        "layer": ranking.layer,
        "seed": ranking.seed,
        "curve": None
        if curve is None
        else {name: getattr(curve, name) for name in ("full", "standard_error", "cut", "images", "head")},
    }
    write_arrays(file, arrays, about)


def _kept(
    file: Path, features: Features, validation: Features | None, seed: int
) -> tuple[np.ndarray | None, FilterRanking, AccuracyCurve | None] | None:
    if not file.is_file():
        return None
    try:
        arrays, about = read_arrays(file, (*_SCORES, "contributions", "counts", "accuracy"))
        other = None if validation is None else validation.data
        made_of = (about["classifier"], about["data"], about["validation"], about["layer"], about["seed"])
        if made_of != (features.classifier, features.data, other, features.layer, seed):
            return None  # names of files are shortened, so the whole digests decide
        ranking = FilterRanking(
            **{name: arrays[name] for name in _SCORES if name != "l1"},
            l1=arrays["l1"] if arrays["l1"].size else None,
            classifier=features.classifier,
            data=features.data,
            layer=features.layer,
            seed=seed,
        )
        curve = None
        if about["curve"] is not None:
            curve = AccuracyCurve(counts=arrays["counts"], accuracy=arrays["accuracy"], **about["curve"])
    except (StorageError, KeyError, TypeError):
        return None  # broken; it is made again
    return (arrays["contributions"] if arrays["contributions"].size else None), ranking, curve


def _or_empty(array: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if array is None else array


def save_overview(
    survey: FilterSurvey,
    path: str | os.PathLike[str],
    *,
    under: MaskActivation | None = None,
    marks: FilterMarks | None = None,
) -> None:
    """Write ``filter,place,activation,contribution,to_class,dead,under_masks,mark``, a row a filter.

    What is not known is left empty. ``contribution`` is the largest to any class, ``to_class`` that class;
    ``under_masks`` is `MaskActivation.excess`.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    activation, dead, contribution = survey.activation, survey.dead, survey.contribution()
    names, table = survey.features.class_names, survey.contributions
    place = None if survey.ranking is None else survey.ranking.place
    rows = []
    for number in range(survey.features.filters):
        to_class = ""
        if contribution is not None and table is not None:
            to_class = names[int(np.nanargmax(table[:, number]))]
        rows.append(
            [
                number,
                "" if place is None else int(place[number]),
                _shown(activation[number]),
                "" if contribution is None else _shown(contribution[number]),
                to_class,
                int(dead[number]),
                "" if under is None else _shown(under.excess[number]),
                "" if marks is None else marks.marks.get(number, ""),
            ]
        )
    columns = ("filter", "place", "activation", "contribution", "to_class", "dead", "under_masks", "mark")
    _write(path, columns, rows)


def save_contributions(contributions: np.ndarray, class_names: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write a row a filter and a column a class, empty for classes without images; raises StorageError."""
    rows = ([n, *(_shown(value) for value in contributions[:, n])] for n in range(contributions.shape[1]))
    _write(path, ("filter", *class_names), rows)


def save_histograms(features: Features, numbers: Iterable[int], path: str | os.PathLike[str]) -> None:
    """Write ``filter,class,from,to,images``, a row a bin that is not empty; raises StorageError."""
    rows: list[list[Any]] = []
    for number in numbers:
        found = class_histograms(features, number)
        for label, bin_ in zip(*np.nonzero(found.counts), strict=True):
            low, high = found.edges[bin_], found.edges[bin_ + 1]
            rows.append([number, features.class_names[label], _shown(low), _shown(high), int(found.counts[label, bin_])])
    _write(path, ("filter", "class", "from", "to", "images"), rows)


def _shown(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _write(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    write_text(path, csv_text(columns, rows))
