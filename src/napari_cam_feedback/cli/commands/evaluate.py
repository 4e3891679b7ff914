"""``evaluate``: how good a model is, and whether for the right reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_masks, open_model_and_data
from napari_cam_feedback.cli.options import (
    All,
    Data,
    Device,
    Devices,
    Full,
    Json,
    Masks,
    Model,
    Nodes,
    Precision,
    Seed,
    Strategy,
    takes_model_options,
)
from napari_cam_feedback.cli.parallel import agreed, launch
from napari_cam_feedback.cli.show import (
    ends,
    progress,
    remark,
    show_evaluation,
    show_skipped,
    show_table,
    stopped_sentence,
    write_json,
)
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt

if TYPE_CHECKING:
    from napari_cam_feedback.auditing import ExternalReport
    from napari_cam_feedback.models.options import ModelOptions


@takes_model_options()
def evaluate(
    model: Model,
    data: Data,
    options: ModelOptions,
    masks: Masks = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Repeatable; else all that have labels.", show_default=False)
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(
            help="Other data of the same classes, as of a second hospital: what drops there is named.", show_default=False
        ),
    ] = None,
    everything: All = False,
    seed: Seed = 0,
    device: Device = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = "32-true",
    full: Full = False,
    json_file: Json = None,
) -> None:
    """Measure accuracy, per class, confusion, and right reasons on every split.

    With --external, the same on other data, side by side by measures that need no mask.
    Of many large masked images a sample is refilled; --all takes all of them. Ctrl-C shows what was measured until then.
    """
    from napari_cam_feedback.auditing import evaluate_external
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.evaluation import evaluate as evaluate_splits

    fabric = launch(device, devices, nodes, strategy, precision)
    with agreed(fabric):
        opened = open_model_and_data(model, data, options, device=str(fabric.device), seed=seed)
        store = open_masks(masks, opened.dataset)
        names = opened.classifier.class_names
        other = None if external is None else open_dataset(external, seed=seed, class_names=names)
    with stop_on_interrupt() as stop, progress("evaluating", opened.assumed, stop=stop) as bar:
        found = evaluate_splits(
            opened.classifier,
            opened.dataset,
            masks=store,
            splits=split or None,
            seed=seed,
            max_masked=len(opened.dataset) if everything else None,
            monitor=bar,
            fabric=fabric,
        )
    report = None
    if other is not None and not found.stopped:
        with stop_on_interrupt() as stop, progress("comparing with the other data", stop=stop) as bar:
            report = evaluate_external(
                opened.classifier,
                opened.dataset,
                other,
                split=split[0] if split and len(split) == 1 else None,
                seed=seed,
                monitor=bar,
                fabric=fabric,
            )
    if not fabric.is_global_zero:
        return
    show_evaluation(Path(model).name, found, full=full)
    if report is not None:
        _show_external(report)
    write_json(json_file, found.to_json() | ({} if report is None else {"external": report.to_json()}))
    if found.stopped:
        remark(stopped_sentence(found))
        raise CommandStopped


def _show_external(report: ExternalReport) -> None:
    from napari_cam_feedback.evaluation import show

    rows = [
        [row.name, show(row.own), show(row.external), ends(row.change, signed=True), "worse" if row.worse else ""]
        for row in report.rows
    ]
    columns = ["measure", report.split, "other data", "95 % interval of the change", ""]
    show_table("Its own data and other data", columns, rows, numbers=4)
    out.print(report.summary, markup=False, highlight=False)
    for sentence in report.drops:
        out.print(f"  {sentence}", markup=False, highlight=False)
    for note in report.notes:
        remark(note)
    show_skipped(report.skipped)
