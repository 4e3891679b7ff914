"""One retune, measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.retuning.cases import Case
from benchmarks.retuning.changes import change_of
from benchmarks.retuning.models import trained
from napari_cam_feedback.data import Dataset
from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.evaluation import Evaluation, SplitResult, evaluate
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.retuning import RetuneResult, make_config, retune, run_to_end

#: Where the shortcut conflicts with the class, and where there is none.
SPLITS = ("test", "test-clean")


@dataclass(frozen=True)
class Setup:
    """What is retuned, and what it is compared with.

    Attributes
    ----------
    case : Case
        Where it is from.
    seed : int
        Of images, weights, choice of masks and retune.
    dataset : Dataset
        With the shortcut.
    naive : Classifier
        Trained on it.
    before : Evaluation
        Of that.
    reference : float or None
        Accuracy on ``test`` of the same network trained without the shortcut; None where nobody asked for it.
    """

    case: Case
    seed: int
    dataset: Dataset
    naive: Classifier
    before: Evaluation
    reference: float | None


@dataclass(frozen=True)
class Outcome:
    """One retune; accuracies are on ``test``, where the shortcut conflicts with the class, unless the name says otherwise.

    Attributes
    ----------
    gap_closed : float or None
        (after - before) / (reference - before).
    flip_before, flip_after : float
        Flip rates on the masked test images.
    clean_before, clean_after : float
        Accuracy on ``test-clean``.
    f1_before, f1_after : float or None
        F1 of the class that the case watches.
    verdict, status : str
        As the retune has them.
    seconds : float
        Of the retune alone.
    test_low, test_high, clean_low, clean_high : float
        Paired 95 % intervals of the changes on ``test`` and ``test-clean`` (`Change`).
    counted_before, counted_after : int or None
        How often the class that the case counts is predicted on ``test``.
    iterations : int
        Steps taken.
    learning_rate : float or None
        That at the end of the run; None where the method takes no steps.
    selected_iteration, selected_share : int, float
        Where the weights returned were (`RetuneResult`).
    """

    data: str
    seed: int
    method: str
    masks: int
    before: float
    after: float
    reference: float | None
    gap_closed: float | None
    flip_before: float | None
    flip_after: float | None
    clean_before: float
    clean_after: float
    f1_before: float | None
    f1_after: float | None
    verdict: str
    status: str
    seconds: float
    test_low: float
    test_high: float
    clean_low: float
    clean_high: float
    counted_before: int | None
    counted_after: int | None
    iterations: int
    learning_rate: float | None
    selected_iteration: int
    selected_share: float

    @property
    def gain(self) -> float:
        """Accuracy won on ``test``."""
        return self.after - self.before

    @property
    def clean_gain(self) -> float:
        """Accuracy won on ``test-clean``."""
        return self.clean_after - self.clean_before

    @property
    def drop(self) -> float:
        """What the shortcut takes from the accuracy after the retune, below 0: that on ``test`` less that without it."""
        return self.after - self.clean_after

    @property
    def no_effect(self) -> float:
        """1 where the verdict is *no effect*, else 0."""
        return float(self.verdict == "no effect")


def setups(case: Case, seeds: tuple[int, ...], *, compare: bool = True, unbiased: bool = False) -> Iterator[Setup]:
    """Yield what is to be retuned, seed by seed.

    Parameters
    ----------
    case : Case
        Data and network.
    seeds : tuple of int
        One each.
    compare : bool
        Train the reference, too.
    unbiased : bool
        Retune the model trained without the shortcut instead.
    """
    for seed in seeds:
        dataset = case.data(seed)
        honest = trained(case, case.data(seed, shortcut=False), seed) if compare or unbiased else None
        naive = honest if unbiased and honest is not None else trained(case, dataset, seed)
        before = evaluate(naive, dataset, splits=SPLITS, detail=True)
        reference = None if honest is None else evaluate(honest, dataset, splits=["test"]).splits["test"].accuracy
        yield Setup(case, seed, dataset, naive, before, reference)


def measure(setup: Setup, masks: Mapping[str, np.ndarray], **settings: Any) -> Outcome | str:
    """Retune and measure; where the method cannot be used with the network, return the sentence that says why."""
    try:
        result, seconds = timed_retune(setup, setup.dataset, masks, **settings)
    except FeedbackError as error:
        return str(error)
    return outcome_of(setup, result, len(masks), seconds)


def timed_retune(
    setup: Setup, dataset: Dataset, masks: Mapping[str, np.ndarray], **settings: Any
) -> tuple[RetuneResult, float]:
    """Retune on a dataset, that of the setup or a changed one; return the result and the seconds that it took."""
    config = make_config({"seed": setup.seed, **settings})
    start = time.perf_counter()
    result = run_to_end(retune(setup.naive, dataset, masks, config, trust=True))
    return result, time.perf_counter() - start


def outcome_of(setup: Setup, result: RetuneResult, masks: int, seconds: float) -> Outcome:
    """Measure the classifier that a retune with so many masks returned, on the setup's dataset."""
    case, watched = setup.case, setup.case.watched
    after = evaluate(result.classifier, setup.dataset, splits=SPLITS, detail=True).splits
    old, new = setup.before.splits["test"], after["test"]
    gap = None if setup.reference is None else setup.reference - old.accuracy
    test, clean = (change_of(setup.before.splits[name], after[name]) for name in SPLITS)
    return Outcome(
        data=case.name,
        seed=setup.seed,
        method=result.config.method,
        masks=masks,
        before=old.accuracy,
        after=new.accuracy,
        reference=setup.reference,
        gap_closed=(new.accuracy - old.accuracy) / gap if gap else None,
        flip_before=old.right_reasons.flip_rate if old.right_reasons else None,
        flip_after=new.right_reasons.flip_rate if new.right_reasons else None,
        clean_before=clean.before,
        clean_after=clean.after,
        f1_before=old.per_class[watched].f1 if watched else None,
        f1_after=new.per_class[watched].f1 if watched else None,
        verdict=result.verdict.name,
        status=result.status,
        seconds=seconds,
        test_low=test.low,
        test_high=test.high,
        clean_low=clean.low,
        clean_high=clean.high,
        counted_before=_count(case, old),
        counted_after=_count(case, new),
        iterations=int(result.resolved["iterations"]),
        learning_rate=result.resolved["learning_rate"],
        selected_iteration=result.selected_iteration,
        selected_share=result.selected_share,
    )


def _count(case: Case, found: SplitResult) -> int | None:
    """How often the class that the case counts was predicted."""
    if case.counted is None:
        return None
    return int(found.confusion[:, list(found.per_class).index(case.counted)].sum())
