"""The record of one run on disk: its settings, its history, its results, and where wanted the model."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from napari_cam_feedback import __version__
from napari_cam_feedback.evaluate import Comparison
from napari_cam_feedback.files import write_json, write_text
from napari_cam_feedback.models import save_classifier
from napari_cam_feedback.project.versions import now
from napari_cam_feedback.retune import RetuneResult


def save_run(
    folder: str | os.PathLike[str],
    result: RetuneResult,
    comparison: Comparison | None = None,
    *,
    extra: dict[str, Any] | None = None,
    weights: bool = True,
) -> None:
    """Write a run: ``config.json``, ``history.csv``, ``painted.csv``, ``result.json``, ``model.safetensors``, checkpoints.

    Parameters
    ----------
    folder : path
        Made if need be.
    result : RetuneResult
        The run.
    comparison : Comparison, optional
        Before and after on whole splits, for ``result.json``.
    extra : dict, optional
        Further plain values for ``result.json``.
    weights : bool
        Whether to write the classifier too, and the other checkpoints of the front.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    folder = Path(folder)
    write_json(folder / "config.json", result.config.model_dump(mode="json"))
    write_text(folder / "history.csv", _table(result.history))
    write_text(folder / "painted.csv", _table(result.painted_history))
    content = {
        **result.to_json(),
        **(extra or {}),
        "comparison": None if comparison is None else comparison.to_json(),
        "program": __version__,
        "time": now(),
    }
    write_json(folder / "result.json", content)
    if weights:
        save_classifier(result.classifier, folder / "model.safetensors")
        for checkpoint in result.checkpoints:
            iteration = checkpoint.check.iteration
            # The start is the model that the person has, and the one returned is there already.
            if iteration not in (0, result.selected_iteration):
                save_classifier(result.classifier_at(iteration), folder / "checkpoints" / f"{iteration:05d}.safetensors")


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
