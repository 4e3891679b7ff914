"""Measuring a model that a run has found against the one before, on all splits, while the user looks at images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_cam_feedback.widgets.retune.run import UndecidedRun, measuring_sentence
from napari_cam_feedback.widgets.tasks.workers import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_cam_feedback.evaluation import Comparison, KeptPredictions
    from napari_cam_feedback.monitor import Monitor
    from napari_cam_feedback.retuning import RetuneResult
    from napari_cam_feedback.widgets.tasks.workers import Jobs

JOB = "compare"


class BeforeAndAfter:
    """Measures both models of a run in a worker; a new one replaces the one that it is at.

    Parameters
    ----------
    jobs : Jobs
        Of the session.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        # The model that one run ends with is that which the next begins with, and checkpoints share the one before.
        self._kept: KeptPredictions | None = None

    def start(
        self,
        run: UndecidedRun,
        take: Callable[[Monitor], RetuneResult],
        *,
        on_taken: Callable[[RetuneResult], None],
        on_text: Callable[[str], None],
        on_done: Callable[[Comparison], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """Begin.

        Parameters
        ----------
        run : UndecidedRun
            Whose model *before* it is.
        take : callable
            Called in the worker; returns the result with the model *after*.
        on_taken, on_text, on_done, on_failed : callable
            Take that result, how far it is, the comparison, and why there is none.
        """
        from napari_cam_feedback.evaluation import KeptPredictions, compare

        dataset = run.project.dataset
        kept = self._kept = self._kept or KeptPredictions()
        # Masks that came with the data tell about images that nobody painted.
        masks = None if dataset.has_known_masks else run.project.masks
        begun = 0.0
        labelled = [name for name in dataset.split_names if (dataset.labels[dataset.indices(name)] >= 0).any()]

        def work(monitor: Monitor) -> Generator[RetuneResult, None, Comparison]:
            result = take(monitor)
            yield result
            return compare(
                run.classifier,
                result.classifier,
                dataset,
                masks=masks,
                splits=labelled,
                detail=True,
                quick=True,
                kept=kept,
                monitor=monitor,
            )

        def measured(found: Progress) -> None:
            nonlocal begun
            begun = begun or time.monotonic()
            on_text(measuring_sentence(found.done, found.total, time.monotonic() - begun))

        self._jobs.start(
            JOB,
            work,
            on_step=on_taken,
            on_progress=measured,
            on_done=on_done,
            on_failed=on_failed,
            description="Measuring before and after",
            replace=True,
        )

    def stop(self) -> None:
        """Measure no further."""
        self._jobs.stop(JOB)
