"""``experiment``: a table of methods, numbers of masks and seeds from a file of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.options import Device, Json
from napari_cam_feedback.cli.show import progress, remark, write_json
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt


def experiment(
    file: Annotated[Path, typer.Argument(help="What to do, a TOML file.", show_default=False)],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write; what is done there is not done again.")],
    data: Annotated[Path | None, typer.Option(help="The dataset, where the file names none or another.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks; else those that the dataset brings along.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model to retune; else one is trained for each seed.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Once or more; else those of the file.")] = None,
    painted: Annotated[list[int] | None, typer.Option("--n-masks", help="Once or more; else as in the file.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Let the model's own code run.")] = False,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Train, retune by several methods, and print the table. Ctrl-C ends it; the same command goes on from there."""
    from napari_cam_feedback.experiments import latex_table, markdown_table, read_experiment, run_experiment, summarise
    from napari_cam_feedback.files import write_text
    from napari_cam_feedback.steps import run_to_end

    config = read_experiment(
        file,
        data=None if data is None else str(data),
        masks=None if masks is None else str(masks),
        model=None if model is None else str(model),
        seeds=tuple(seeds) if seeds else None,
        painted=tuple(painted) if painted else None,
    )
    with stop_on_interrupt() as stop, progress(config.title, stop=stop) as bar:
        rows = run_to_end(run_experiment(config, out_dir, device=device, trust=trust, monitor=bar))
        stopped = stop()
    table = summarise(config, rows)
    if table:
        text = markdown_table(table)
        write_text(out_dir / "table.md", f"# {config.title}\n\n{text}")
        write_text(out_dir / "table.tex", latex_table(config, table))
        out.print(text, markup=False, highlight=False)
    out.print(f"Runs and tables: {out_dir}", markup=False, highlight=False)
    write_json(json_file, {"config": config.model_dump(mode="json"), "runs": rows})
    if stopped:
        remark("Stopped; the same command goes on from there.")
        raise CommandStopped
