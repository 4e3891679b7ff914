"""``predict``: every image's prediction as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_model_and_data
from napari_cam_feedback.cli.options import (
    Data,
    Device,
    Devices,
    Json,
    Model,
    Nodes,
    Precision,
    Seed,
    Strategy,
    takes_model_options,
)
from napari_cam_feedback.cli.parallel import agreed, launch
from napari_cam_feedback.cli.show import progress, show_skipped, write_json
from napari_cam_feedback.errors import DataError

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions


@takes_model_options()
def predict(
    model: Model,
    data: Data,
    options: ModelOptions,
    out_file: Annotated[Path, typer.Option("--out", help="CSV file to write.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Whose images; by default all.", show_default=False)] = None,
    seed: Seed = 0,
    device: Device = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = "32-true",
    json_file: Json = None,
) -> None:
    """Write every image's prediction and class probabilities as CSV."""
    from napari_cam_feedback.evaluation import predict as predict_items

    fabric = launch(device, devices, nodes, strategy, precision)
    with agreed(fabric):
        opened = open_model_and_data(model, data, options, device=str(fabric.device), seed=seed, maps=False)
    with progress("predicting", opened.assumed) as bar:
        found = predict_items(opened.classifier, opened.dataset, split=split, monitor=bar, fabric=fabric)
        if found.skipped and not len(found.indices):
            raise DataError(f"None of the images could be read: {next(iter(found.skipped.values()))}")
        if not fabric.is_global_zero:
            return
        found.save_csv(out_file, opened.dataset)
    show_skipped(found.skipped)
    labelled = found.labels >= 0
    accuracy = float((found.predicted == found.labels)[labelled].mean()) if labelled.any() else None
    said = "" if accuracy is None else f", accuracy {accuracy:.3f}"
    out.print(f"{len(found.indices)} predictions in {out_file}{said}.", markup=False, highlight=False)
    write_json(json_file, {"n": len(found.indices), "accuracy": accuracy, "skipped": found.skipped})
