"""One retune, measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.retuning.cases import Case
from benchmarks.retuning.models import trained
from napari_cam_feedback.data import Dataset
from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.evaluate import Evaluation, evaluate
from napari_cam_feedback.models import Classifier
from napari_cam_feedback.retune import make_config, retune, run_to_end


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
    """One retune; accuracies are on ``test``, where the shortcut lies, unless the name says otherwise.

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

    @property
    def gain(self) -> float:
        """Accuracy won on ``test``."""
        return self.after - self.before


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
        before = evaluate(naive, dataset, splits=["test", "test-clean"])
        reference = None if honest is None else evaluate(honest, dataset, splits=["test"]).splits["test"].accuracy
        yield Setup(case, seed, dataset, naive, before, reference)


def measure(setup: Setup, masks: Mapping[str, np.ndarray], **settings: Any) -> Outcome | str:
    """Retune and measure; where the method cannot be used with the network, return the sentence that says why."""
    case, watched = setup.case, setup.case.watched
    config = make_config({"seed": setup.seed, **settings})
    start = time.perf_counter()
    try:
        result = run_to_end(retune(setup.naive, setup.dataset, masks, config, trust=True))
    except FeedbackError as error:
        return str(error)
    seconds = time.perf_counter() - start
    after = evaluate(result.classifier, setup.dataset, splits=["test", "test-clean"]).splits
    old, new = setup.before.splits["test"], after["test"]
    gap = None if setup.reference is None else setup.reference - old.accuracy
    return Outcome(
        data=case.name,
        seed=setup.seed,
        method=config.method,
        masks=len(masks),
        before=old.accuracy,
        after=new.accuracy,
        reference=setup.reference,
        gap_closed=(new.accuracy - old.accuracy) / gap if gap else None,
        flip_before=old.right_reasons.flip_rate if old.right_reasons else None,
        flip_after=new.right_reasons.flip_rate if new.right_reasons else None,
        clean_before=setup.before.splits["test-clean"].accuracy,
        clean_after=after["test-clean"].accuracy,
        f1_before=old.per_class[watched].f1 if watched else None,
        f1_after=new.per_class[watched].f1 if watched else None,
        verdict=result.verdict.name,
        status=result.status,
        seconds=seconds,
    )
