"""``explain``: the attribution maps of a split as files."""

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
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions


# Endings that nobody gives to a folder.
_NOT_FOLDERS = (".csv", ".json", ".npy", ".png", ".tif", ".tiff", ".txt", ".zip")


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
    pictures: Annotated[
        Path | None,
        typer.Option(help="Also draw each image with its maps over it, as PNG, into this folder.", show_default=False),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="Also write a table: classes, probability, whether anything speaks for the class, and where most.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = "32-true",
    json_file: Json = None,
) -> None:
    """Write the signed attribution map of every image of a split."""
    from napari_cam_feedback.explanations.maps.writing import write_maps

    if out_path.suffix.lower() in _NOT_FOLDERS and not out_path.is_dir():
        raise ConfigError(
            f"--out takes an .npz file, or a folder for one TIFF an image, and {out_path.name} is neither; "
            "for a table add --csv, for pictures --pictures."
        )
    targets = target or ["predicted"]
    fabric = launch(device, devices, nodes, strategy, precision)
    with agreed(fabric):
        opened = open_model_and_data(model, data, options, device=str(fabric.device), seed=seed)
    with progress("explaining", opened.assumed) as bar:
        found = write_maps(
            opened.classifier,
            opened.dataset,
            out_path,
            method=method,
            target=targets if len(targets) > 1 else targets[0],
            split=split,
            pictures=pictures,
            table=table,
            monitor=bar,
            fabric=fabric,
        )
    if not fabric.is_global_zero:
        return
    show_skipped(found.skipped)
    out.print(f"{found.n} maps in {found.path}.", markup=False, highlight=False)
    if pictures is not None:
        out.print(f"{found.n} pictures in {pictures}.", markup=False, highlight=False)
    if table is not None:
        out.print(f"Table: {table}", markup=False, highlight=False)
    more = {name: str(path) for name, path in (("pictures", pictures), ("csv", table)) if path is not None}
    write_json(json_file, {"n": found.n, "out": str(found.path), **more, "skipped": found.skipped})
