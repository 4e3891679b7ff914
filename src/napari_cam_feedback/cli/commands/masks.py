"""``masks``: making irrelevance masks without painting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.commands import mask_files, proposals
from napari_cam_feedback.cli.opening import open_model_and_data
from napari_cam_feedback.cli.options import Commands, Data, Device, Json, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, show_skipped, write_json
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.monitor import Part

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions

masks = Commands(help="Make irrelevance masks without painting; bring in, hand out and merge masks.", no_args_is_help=True)


@takes_model_options()
def from_filter(
    model: Model,
    data: Data,
    options: ModelOptions,
    number: Annotated[int, typer.Option("--filter", min=0, help="The filter.", show_default=False)],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of masks; those that are there are kept as they are.", show_default=False)
    ],
    percentile: Annotated[float, typer.Option(help="A pixel is masked where the filter's map is above it.")] = 70.0,
    over: Annotated[str, typer.Option(help="Percentile of each image's map (image), or of all (split).")] = "image",
    split: Annotated[str, typer.Option(help="Whose images.")] = "train",
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many images, those in which the filter is most active.", show_default="all"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write a mask of where a filter is active, for every image of a split."""
    from napari_cam_feedback.data.cache import InputCache
    from napari_cam_feedback.explanations import features_of, top_images
    from napari_cam_feedback.feedback import MaskStore, filter_masks, save_filter_masks
    from napari_cam_feedback.feedback.proposals.from_filter import author_of

    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    classifier, dataset = opened.classifier, opened.dataset
    inputs = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    store = MaskStore(out_dir)
    indices = dataset.indices(split)
    # Asked before anything is computed, so that a wrong number or percentile is said at once.
    filter_masks(classifier, dataset, (), number, percentile=percentile, over=over)  # type: ignore[arg-type]
    with progress("making masks", opened.assumed) as bar:
        if top is not None:
            features = features_of(classifier, dataset, split, inputs=inputs, monitor=Part(bar, "looking at the images"))
            indices = top_images(features, number, top)
        found = filter_masks(
            classifier,
            dataset,
            indices,
            number,
            percentile=percentile,
            over=over,  # type: ignore[arg-type]
            split=split,
            seed=seed,
            inputs=inputs,
            monitor=Part(bar, "making masks"),
        )
        saved = save_filter_masks(found, store, author=author_of(number))
    if not (saved.written or saved.kept or saved.empty):
        reason = next(iter(inputs.skipped.values()), "it has none.")
        raise DataError(f"No image of the split {split} could be read: {reason}")
    show_skipped(inputs.skipped)
    out.print(f"{saved.sentence} Folder: {out_dir}", markup=False, highlight=False)
    write_json(
        json_file,
        {
            "written": saved.written,
            "kept": saved.kept,
            "empty": saved.empty,
            "out": str(out_dir),
            "skipped": dict(inputs.skipped),
        },
    )


masks.command("from-filter")(from_filter)
masks.command("import")(mask_files.import_)
masks.command("export")(mask_files.export)
masks.command("merge")(mask_files.merge)
masks.command("propose")(proposals.propose)
masks.command("accept")(proposals.accept)
masks.command("reject")(proposals.reject)


@masks.callback()
def _only_group() -> None:
    """Make irrelevance masks without painting; bring in, hand out and merge masks."""
