"""``train``: a classifier from random weights, or from a network that was trained before."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.options import ARCHS, Data, Device, Json, read_settings, takes_model_options
from napari_cam_feedback.cli.show import Bar, progress, remark, show_skipped, write_json
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    from napari_cam_feedback.models.options import ModelOptions
    from napari_cam_feedback.training import TrainStep

TRANSFER = "From a network that was trained before"
_PHASES = {"all": "training", "head": "new head", "fine-tune": "fine-tuning"}


def _setting(*names: str, text: str, default: str, panel: str | None = None, **more: Any) -> Any:
    """An option whose default is that of the settings, or of the file of settings."""
    return typer.Option(*names, help=text, show_default=default or False, rich_help_panel=panel, **more)


@takes_model_options(without=("arch", "weights", "download"), panel="The network, where the default does not suit")
def train(
    data: Data,
    options: ModelOptions,
    out_file: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Model to write, .safetensors; <name>_training beside it records how it was made.",
            show_default=False,
        ),
    ],
    arch: Annotated[str | None, typer.Option(help=ARCHS, show_default="small-gap")] = None,
    epochs: Annotated[int | None, _setting(text="Passes over the training images.", default="20", min=0)] = None,
    batch_size: Annotated[int | None, _setting(text="Images a step.", default="64", min=2)] = None,
    learning_rate: Annotated[
        float | None, _setting("--learning-rate", "--lr", text="Adam's largest step.", default="0.001")
    ] = None,
    patience: Annotated[
        int | None, _setting(text="End when validation got no better for so many epochs; 0: never.", default="0", min=0)
    ] = None,
    augment: Annotated[
        bool | None, _setting("--augment/--no-augment", text="Turn, shift, zoom and brighten the images.", default="no")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Repeat a training: its record's config.json; other options go before it.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, key=value; repeatable.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None,
        _setting(
            text="Model to start from: a file, torchvision:NAME, efficientnet-lite0, or with --arch torchvision:NAME one "
            "of its weights.",
            default="",
            panel=TRANSFER,
            metavar="MODEL",
        ),
    ] = None,
    download: Annotated[
        bool, _setting("--download", text="Fetch torchvision's weights if need be.", default="", panel=TRANSFER)
    ] = False,
    head_epochs: Annotated[
        int | None, _setting(text="Passes in which only the new head learns.", default="5", panel=TRANSFER, min=0)
    ] = None,
    freeze: Annotated[
        list[str] | None,
        _setting(
            text="Part that keeps its weights throughout, as layer1; repeatable.", default="", panel=TRANSFER, metavar="PART"
        ),
    ] = None,
    seed: Annotated[int | None, _setting(text="Seed of everything random.", default="0", min=0)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model of that name, and its record, where there is one.")
    ] = False,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Train a classifier. Ctrl-C ends it with the best epoch so far.

    With --weights, the head of a network that was trained before is dropped, and a new one put on. It learns alone first;
    then the whole network learns at a tenth of the learning rate, the statistics of batch norm fixed throughout.
    """
    from napari_cam_feedback.models import make_options
    from napari_cam_feedback.training import make_recipe, open_training, read_recipe
    from napari_cam_feedback.training.config import make_train_config
    from napari_cam_feedback.training.record import record_folder
    from napari_cam_feedback.training.run import check_model_path

    out_file = check_model_path(out_file, data, weights)
    there = next((path for path in (out_file, record_folder(out_file)) if path.exists()), None)
    if there is not None and not overwrite:
        raise ConfigError(f"{there} exists; choose another name for the model, or add --overwrite.")
    base = None if config is None else read_recipe(config)
    said = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "augment": augment,
        "head_epochs": head_epochs,
        "freeze": freeze,
        "seed": seed,
    }
    values = {} if base is None else base.training.model_dump()
    values |= read_settings(settings or []) | {name: value for name, value in said.items() if value is not None}
    options = make_options(options, arch=arch)
    recipe = make_recipe(weights, options, make_train_config(values), base)
    training = open_training(data, recipe, device=device, trust=options.trust, download=download)
    for note in training.dataset.notes:
        remark(note)
    if training.split_remark is not None:
        out.print(training.split_remark, markup=False, highlight=False)
    with stop_on_interrupt() as stop, progress("training", stop=stop) as bar:
        shown = _Shown(bar)
        for step in training.run(monitor=shown):
            shown.epoch(step)
    show_skipped(training.skipped)
    if not training.steps:
        remark("Stopped before the first epoch was done; nothing was written.")
        raise CommandStopped
    record = training.save(out_file, command=shlex.join(sys.argv))
    assert training.result is not None
    last, best = training.steps[-1], training.result.info["training"]["epoch"]
    stopped = f"; stopped after epoch {last.epoch}" if training.stopped else ""
    if training.chance_remark is not None:
        out.print(training.chance_remark, markup=False, highlight=False)
    out.print(f"Saved {out_file} (epoch {best} of {last.epochs}{stopped}).", markup=False, highlight=False)
    write_json(
        json_file,
        {
            "model": str(out_file),
            "record": str(record),
            "epoch": best,
            "last": asdict(last),
            "history": [asdict(step) for step in training.steps],
            "config": training.recipe.training.model_dump(mode="json"),
            "remark": training.chance_remark,
            "skipped": training.skipped,
        },
    )
    if training.stopped:
        raise CommandStopped


class _Shown:
    """The monitor of a training: shows epochs done on a bar, and how far the present one is."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._done = 0
        self._total = 0
        self._last = "training"
        self._shown = time.monotonic()

    def epoch(self, step: TrainStep) -> None:
        """Show what an epoch came to."""
        known = "" if step.val_accuracy is None else f"  validation {step.val_accuracy:.3f}"
        self._last = f"{_PHASES[step.phase]}  loss {step.loss:.3f}  accuracy {step.train_accuracy:.3f}{known}"
        self._done, self._total, self._shown = step.epoch, step.epochs, time.monotonic()
        self._bar.progress(step.epoch, step.epochs, self._last)

    @property
    def stopped(self) -> bool:
        """Whether the user wants to stop."""
        return self._bar.stopped

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Show how many images of the epoch are done, once a second: most epochs are shorter."""
        now = time.monotonic()
        if now - self._shown < 1:
            return
        self._shown = now
        self._bar.progress(self._done, self._total, f"{self._last}  {done / total:4.0%} of {message}")
