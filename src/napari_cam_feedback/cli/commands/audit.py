"""``audit``: which shortcuts a dataset offers, and which of them a model uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_model_and_data
from napari_cam_feedback.cli.options import Data, Device, Json, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, remark, show_skipped, show_table, write_json
from napari_cam_feedback.cli.stopping import stop_on_interrupt

if TYPE_CHECKING:
    from napari_cam_feedback.auditing import AuditReport
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.options import ModelOptions

#: Pairs of images that are nearly the same that are listed before only their number is said.
MAX_PAIRS = 10


@takes_model_options()
def audit(
    data: Data,
    options: ModelOptions,
    model: Annotated[
        str | None,
        typer.Argument(help="Model, as of evaluate; then it is told how much it uses each finding.", show_default=False),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split whose classes are told; else train.", show_default=False)
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=20,
            help="Images looked at, at most; else 2,000 to tell the class by, 5,000 for duplicates.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.html, with pictures.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Say by what else than their content the classes can be told, before anyone looks at a heatmap.

    Border, corners, surroundings, size, colour, sharpness, compression, text, metadata; and images that stand twice.
    """
    from napari_cam_feedback.auditing import audit as audit_dataset
    from napari_cam_feedback.auditing import write_report
    from napari_cam_feedback.data import open_dataset

    classifier: Classifier | None = None
    assumed: str | None = None
    if model is None:
        dataset = open_dataset(data, seed=seed)
    else:
        opened = open_model_and_data(model, data, options, device=device, seed=seed)
        classifier, dataset, assumed = opened.classifier, opened.dataset, opened.assumed
    with stop_on_interrupt() as stop, progress("looking at the images", assumed, stop=stop) as bar:
        found = audit_dataset(dataset, classifier, split=split, most=most, seed=seed, monitor=bar)
        if report is not None:
            write_report(report, found, dataset)
    _show(found)
    if report is not None:
        out.print(f"Report: {report / 'report.html'}", markup=False, highlight=False)
    for note in found.notes:
        if assumed is None or note not in assumed:
            remark(note)
    show_skipped(found.skipped)
    write_json(json_file, found.to_json())


def _show(found: AuditReport) -> None:
    out.print(found.summary, markup=False, highlight=False)
    used = any(finding.used_by_model is not None for finding in found.findings)
    if found.findings:
        rows = [
            [
                finding.cue,
                f"{finding.accuracy:.2f}",
                f"{finding.low:.2f} to {finding.high:.2f}",
                f"{finding.chance:.2f}",
                *([("-" if finding.used_by_model is None else f"{finding.used_by_model:.0%}")] if used else []),
            ]
            for finding in found.findings
        ]
        columns = ["told by", "right", "interval", "by chance", *(["changes predictions"] if used else [])]
        show_table("Cues that tell the class", columns, rows, numbers=len(columns) - 1)
        for finding in found.findings:
            out.print(f"{finding.cue}: {finding.advice}", markup=False, highlight=False)
    if found.duplicates:
        show_table("Nearly the same", ["image", "and"], [list(pair) for pair in found.duplicates[:MAX_PAIRS]], numbers=0)
        if len(found.duplicates) > MAX_PAIRS:
            out.print(
                f"{len(found.duplicates) - MAX_PAIRS:,} pairs more; --json FILE has all.", markup=False, highlight=False
            )
