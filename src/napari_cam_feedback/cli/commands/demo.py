"""``demo``: the whole loop on a sample; ``sample``: only its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.options import Device, Full, Json, Seed
from napari_cam_feedback.cli.show import (
    progress,
    remark,
    retune_progress,
    show_comparison,
    show_evaluation,
    show_result,
    training_progress,
    write_json,
)
from napari_cam_feedback.files import unused

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.models import Classifier


def demo(
    sample: Annotated[str, typer.Argument(help="tag-digits, symbols, baggage, crosses or clothes.")] = "tag-digits",
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; else a new one in demo-output.", show_default=False)
    ] = None,
    gui: Annotated[bool, typer.Option("--gui/--no-gui", help="Open napari on the result.")] = True,
    masks: Annotated[int, typer.Option(min=1, help="Images whose known masks stand in for the expert's.")] = 20,
    seed: Seed = 0,
    device: Device = "auto",
    full: Full = False,
    json_file: Json = None,
) -> None:
    """Run the whole loop on a sample: look, paint (known masks), retune, compare; then open napari."""
    from napari_cam_feedback.demo import run_demo
    from napari_cam_feedback.doctor.window import has_display
    from napari_cam_feedback.evaluation import evaluate
    from napari_cam_feedback.retuning import RetuneConfig
    from napari_cam_feedback.sample_models import model_remark

    folder = out_dir or unused(Path("demo-output") / sample)
    out.print(f"The sample {sample} hides a shortcut: look whether the model uses it.", markup=False)
    remark(model_remark(sample))

    def look(classifier: Classifier, dataset: Dataset) -> None:
        # The comparison at the end measures all splits; with photographs each of them takes a while.
        before = evaluate(classifier, dataset, splits=["test", "test-clean"], seed=seed)
        show_evaluation("Before the retune (the split test lies about the class)", before, rest="", full=full)
        out.print(f"\nRetuning with the known masks of {masks} images …", highlight=False)

    with progress("preparing and measuring") as bar:
        done = run_demo(
            sample,
            folder,
            masks=masks,
            seed=seed,
            device=device,
            on_epoch=training_progress(bar),
            on_ready=look,
            on_step=retune_progress(bar, RetuneConfig()),
        )
    show_result(done.result, folder / "run", full=full)
    show_comparison(done.comparison, rest="", full=full)
    out.print(f"\nReport: {done.report}\nPictures: {folder / 'pictures'}\nProject: {done.project.folder}", markup=False)
    write_json(json_file, {**done.result.to_json(), "comparison": done.comparison.to_json()})
    if not gui:
        return
    if not has_display():
        out.print("There is no display, so napari is not opened; open the report in a browser instead.")
        return
    _open_window(done.project.folder)


def _open_window(project: Path) -> None:
    try:
        from napari_cam_feedback.widgets.launch import open_project_window
    except ImportError:
        out.print("napari has no Qt here (pip install 'napari-cam-feedback[all]'), so no window is opened.", markup=False)
        return
    out.print("Opening napari; close its window to end.")
    open_project_window(project)


def write_a_sample(
    sample: Annotated[str, typer.Argument(help="tag-digits, symbols, baggage, crosses or clothes.", show_default=False)],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)],
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write a sample: DIR/data with its masks, and DIR/model.safetensors."""
    from napari_cam_feedback.sample_models import model_remark, prepare_sample

    remark(model_remark(sample))
    with progress("writing the sample") as bar:
        data, model = prepare_sample(sample, out_dir, seed=seed, device=device, on_epoch=training_progress(bar))
    out.print(f"Data: {data}\nModel: {model}", markup=False, highlight=False)
    write_json(json_file, {"data": str(data), "model": str(model)})
