"""``explain``: the attribution maps of a split as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_model_and_data
from napari_cam_feedback.cli.options import Data, Device, Json, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, show_skipped, write_json

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions


@takes_model_options()
def explain(
    model: Model,
    data: Data,
    options: ModelOptions,
    out_path: Annotated[Path, typer.Option("--out", help=".npz file, or folder for one TIFF an image.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Option(
            help="cam, gradcam, gradcam++, hirescam, layercam, xgradcam, scorecam or ablationcam; "
            "by default cam where the model allows it, else gradcam."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="true, predicted, or a class; all, or several classes (repeat the option), for a map of each.",
            show_default="predicted",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Whose images.")] = "test",
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write the signed attribution map of every image of a split."""
    from napari_cam_feedback.explain.map_writing import write_maps

    targets = target or ["predicted"]
    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    with progress("explaining", opened.assumed) as bar:
        found = write_maps(
            opened.classifier,
            opened.dataset,
            out_path,
            method=method,
            target=targets if len(targets) > 1 else targets[0],
            split=split,
            progress=bar,
        )
    show_skipped(found.skipped)
    out.print(f"{found.n} maps in {found.path}.", markup=False, highlight=False)
    write_json(json_file, {"n": found.n, "out": str(found.path), "skipped": found.skipped})
