"""``suggest``: which images to paint next, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_model_and_data
from napari_cam_feedback.cli.options import Data, Device, Json, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, remark, show_skipped, show_table, write_json
from napari_cam_feedback.monitor import Part

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions


@takes_model_options()
def suggest(
    model: Model,
    data: Data,
    options: ModelOptions,
    n: Annotated[int, typer.Option("--n", min=1, help="How many images.")] = 20,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks painted so far; these images, and others like them, need no paint.", show_default=False
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(help="Project folder: its masks, and its marks of filters as irrelevant, count.", show_default=False),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Repeatable; else all but those for testing.", show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Attribution method, as of explain; by default cam, else gradcam.", show_default=False)
    ] = None,
    most: Annotated[int, typer.Option(min=2, help="Images looked at, at most; of more, as many are drawn.")] = 10_000,
    csv_file: Annotated[
        Path | None, typer.Option("--out", help="Also write the list as CSV to this file.", show_default=False)
    ] = None,
    clusters: Annotated[
        Path | None,
        typer.Option(help="Also draw the groups of like heatmaps into this folder, with clusters.csv.", show_default=False),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Say which images to paint next, and why."""
    from napari_cam_feedback.explanations import load_marks
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.feedback import suggest as suggest_images
    from napari_cam_feedback.feedback.suggestions.pictures import save_clusters

    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    painted: set[str] = set()
    for folder in (masks, None if project is None else project / "masks"):
        if folder is not None:
            store = MaskStore(_existing(folder))
            painted |= {key for key in opened.dataset.keys if key in store}
    marks = None if project is None else load_marks(project, opened.classifier)
    with progress("looking at the images", opened.assumed) as bar:
        found = suggest_images(
            opened.classifier,
            opened.dataset,
            painted,
            n,
            splits=split or None,
            marks=marks,
            method=method,
            most=most,
            seed=seed,
            monitor=bar,
        )
        written: list[str] = []
        if clusters is not None:
            written = save_clusters(
                clusters,
                opened.dataset,
                found.clusters,
                found.class_names,
                value_range=opened.classifier.preprocessing.value_range,
                monitor=Part(bar, "drawing the groups"),
            )
    if csv_file is not None:
        found.save_csv(csv_file)
    rows = [[str(item.rank), f"{item.score:.2f}", item.key, item.reason] for item in found.items]
    show_table("Paint next", ["", "score", "image", "why"], rows, numbers=0)
    if written:
        out.print(f"{len(found.clusters)} groups of like heatmaps: {clusters}", markup=False, highlight=False)
    remark(found.remark)
    show_skipped(found.skipped)
    write_json(json_file, {**found.to_json(), "painted": len(painted), "files": written})


def _existing(folder: Path) -> Path:
    from napari_cam_feedback.errors import DataError

    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the folder that holds the masks.")
    return folder
