"""``concepts``: whether classes depend on concepts that a user shows by images (TCAV)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_masks, open_model_and_data
from napari_cam_feedback.cli.options import Device, Json, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, remark, show_skipped, show_table, write_json
from napari_cam_feedback.cli.stopping import stop_on_interrupt
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.explanations import ConceptResult, ConceptSet, ConceptTestConfig
    from napari_cam_feedback.models.options import ModelOptions

SETTINGS = "How it is tested"


def _setting(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=SETTINGS, **more)


@takes_model_options(without=("layer",))
def concepts(
    model: Model,
    data: Annotated[Path, typer.Option("--data", help="Dataset whose classes are tested.", show_default=False)],
    options: ModelOptions,
    concept_dir: Annotated[
        Path | None,
        typer.Option(
            "--concepts", metavar="DIR", help="Folder with a folder of images for each concept.", show_default=False
        ),
    ] = None,
    random_dir: Annotated[
        Path | None,
        typer.Option(
            "--random",
            metavar="DIR",
            help="Folder of random images, best 200 or more, like the concepts' in everything else.",
            show_default="the dataset's images of the other classes",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks, <key>.png: what is painted there is a concept too.", show_default=False),
    ] = None,
    painted_name: Annotated[str, typer.Option(help="What the concept of --masks is called.")] = "painted",
    tested: Annotated[
        list[str] | None, typer.Option("--class", metavar="C", help="A class; repeatable.", show_default="all")
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="L",
            help="A layer, by dotted name; repeatable.",
            show_default="the last whose gradients differ between images",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Where the classes' images are from.", show_default="all splits")] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for concepts.csv, concepts.json, concepts.npz and chart.png.", show_default=False
        ),
    ] = None,
    strict: Annotated[
        bool,
        _setting(
            "--strict/--no-strict",
            text="A concept must also be unusual among random concepts; without, the test is that of Kim et al. 2018.",
        ),
    ] = True,
    runs: Annotated[int, _setting(text="Random sets that each concept is told from.")] = 20,
    random_runs: Annotated[int, _setting(text="Random concepts that concepts are compared with.")] = 100,
    set_size: Annotated[
        int | None, _setting(text="Images a set.", show_default="up to 50, as the fewest images of a concept allow")
    ] = None,
    images: Annotated[int, _setting(text="Most images of each concept and class.")] = 200,
    random_images: Annotated[int, _setting(text="Most random images.")] = 600,
    alpha: Annotated[float, _setting(text="Corrected p below which a concept is significant.")] = 0.05,
    correction: Annotated[
        str, _setting(text="Of p for the number of tests: bonferroni or benjamini-hochberg.")
    ] = "bonferroni",
    pooling: Annotated[
        str, _setting(text="none: every place counts; mean: over places; auto: only where memory asks for it.")
    ] = "auto",
    inverse_penalty: Annotated[float, _setting("--inverse-penalty", "-C", text="C of the logistic classifiers.")] = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Test whether classes depend on concepts, such as a colour or a marker, that you show by images (TCAV)."""
    config = _config(
        {
            "strict": strict,
            "runs": runs,
            "random_runs": random_runs,
            "set_size": set_size,
            "images": images,
            "random_images": random_images,
            "alpha": alpha,
            "correction": correction,
            "pooling": pooling,
            "inverse_penalty": inverse_penalty,
            "seed": seed,
        }
    )
    if concept_dir is None and masks is None:
        raise ConfigError("There is no concept to test; give --concepts DIR, or --masks DIR for what is painted.")

    from napari_cam_feedback.explanations import concepts as test
    from napari_cam_feedback.explanations import read_concept, read_concepts
    from napari_cam_feedback.explanations.tcav.report import save_concepts

    chosen = [] if concept_dir is None else read_concepts(concept_dir)
    random = None if random_dir is None else read_concept(random_dir)
    if layers:
        # So a grid of tokens is of the layer that is tested, and none is assumed.
        options = options.model_copy(update={"layer": layers[0]})
    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    chosen += _painted(painted_name, opened.dataset, masks)
    with stop_on_interrupt() as stop, progress("testing concepts", opened.assumed, stop=stop) as bar:
        result = test(
            opened.classifier,
            opened.dataset,
            chosen,
            random,
            config,
            classes=tested,
            layers=layers,
            split=split,
            monitor=bar,
        )
    if result is None:
        raise KeyboardInterrupt
    _show(result)
    for warning in result.warnings:
        remark(warning)
    show_skipped(result.skipped)
    written = [] if out_dir is None else save_concepts(result, out_dir)
    if out_dir is not None:
        out.print(f"{len(written)} files in {out_dir}.", markup=False, highlight=False)
    write_json(json_file, {**result.to_json(), "out": None if out_dir is None else str(out_dir), "files": written})


def _config(values: dict[str, Any]) -> ConceptTestConfig:
    from pydantic import ValidationError

    from napari_cam_feedback.explanations.tcav.config import ConceptTestConfig

    try:
        return ConceptTestConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"{option} cannot be {first['input']}: {first['msg'].lower()}.") from error


def _painted(name: str, dataset: Dataset, folder: Path | None) -> list[ConceptSet]:
    from napari_cam_feedback.explanations import painted_concept

    store = open_masks(folder, dataset)
    return [] if store is None else [painted_concept(name, dataset, store)]


def _show(result: ConceptResult) -> None:
    """Print a table for each layer, with a line for each concept and class."""
    from napari_cam_feedback.explanations.tcav.report import decisive_p, meaning

    columns = ["concept", "class", "score", "random", "p corrected", "effect", "CAV accuracy"]
    for layer in dict.fromkeys(row.layer for row in result.rows):
        rows = [
            [
                row.concept,
                row.class_name,
                f"{row.score:.2f}",
                f"{row.random_score:.2f}",
                f"{decisive_p(result, row):.2g}",
                row.effect if row.significant else "no",
                f"{row.cav_accuracy:.2f}",
            ]
            for row in result.rows
            if row.layer == layer
        ]
        # The name is in the title, where it is not cut off.
        show_table(f"TCAV scores at layer {escape(layer)}", columns, rows, numbers=5)
    out.print(meaning(result), markup=False, highlight=False)
