"""``train``: a classifier from random weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.options import ARCHS, Data, Device, Json, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, remark, show_skipped, write_json
from napari_cam_feedback.cli.stopping import Stopped, stop_on_interrupt
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset, Preprocessing
    from napari_cam_feedback.models import TrainConfig
    from napari_cam_feedback.models.options import ModelOptions


@takes_model_options(without=("arch", "weights", "download"), panel="The network, where the default does not suit")
def train(
    data: Data,
    options: ModelOptions,
    out_file: Annotated[Path, typer.Option("--out", help="Model file to write, .safetensors.", show_default=False)],
    arch: Annotated[str, typer.Option(help=ARCHS)] = "small-gap",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", help="Adam's largest step.")] = 1e-3,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Train a classifier from scratch. Ctrl-C ends it with the best epoch so far."""
    from napari_cam_feedback.data import InputCache, open_dataset
    from napari_cam_feedback.models import build_classifier, pick_device, save_classifier, train_classifier
    from napari_cam_feedback.models.architectures import resolve

    if out_file.suffix != ".safetensors":
        raise ConfigError(f"--out must end in .safetensors, not {out_file.name}.")
    config = _train_config(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    where = pick_device(device)
    # A version that is kept elsewhere must still find the file that makes its network.
    arch = resolve(arch)
    dataset = open_dataset(data, seed=seed, class_names=options.class_names)
    preprocessing = _preprocessing(dataset, arch, options)
    classifier = build_classifier(
        arch,
        dataset.class_names,
        preprocessing,
        target_layer=options.layer,
        grid=options.grid,
        seed=seed,
        trust=options.trust,
    ).to(where)
    if dataset.made_split:
        out.print(f"The dataset has no splits; a split into {', '.join(dataset.split_names)} was drawn with seed {seed}.")
    last = None
    with progress("training") as bar, stop_on_interrupt() as stop:
        cache = InputCache(dataset, classifier.preprocessing)
        steps = train_classifier(classifier, dataset, config, cache=cache, stop=stop)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                classifier = end.value
                break
            if stop():
                # What is left of this epoch was not trained, so it counts only if an earlier one is there.
                continue
            last = step
            known = "" if step.val_accuracy is None else f"  validation {step.val_accuracy:.3f}"
            bar(step.epoch, epochs, f"training  loss {step.loss:.3f}  accuracy {step.train_accuracy:.3f}{known}")
        stopped = stop()
    show_skipped(cache.skipped)
    if last is None:
        remark("Stopped before the first epoch was done; nothing was written.")
        raise Stopped
    save_classifier(classifier, out_file)
    best = classifier.info["training"]["epoch"]
    said = f"; stopped after epoch {last.epoch}" if stopped else ""
    out.print(f"Saved {out_file} (epoch {best} of {epochs}{said}).", markup=False, highlight=False)
    done = {"model": str(out_file), "epoch": best, "last": asdict(last), "config": config.model_dump()}
    write_json(json_file, {**done, "skipped": cache.skipped})
    if stopped:
        raise Stopped


def _train_config(**settings: Any) -> TrainConfig:
    from pydantic import ValidationError

    from napari_cam_feedback.models import TrainConfig

    try:
        return TrainConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"The setting {first['loc'][0]} cannot be {first['input']}: {first['msg'].lower()}.") from error


def _preprocessing(dataset: Dataset, arch: str, options: ModelOptions) -> Preprocessing:
    """What suits the dataset and the architecture, but for what the person said."""
    from napari_cam_feedback.models import default_preprocessing
    from napari_cam_feedback.models.options import make_options
    from napari_cam_feedback.models.presets import choose_preprocessing

    found = default_preprocessing(dataset, value_range=options.value_range)
    if arch.startswith(("torchvision:", "timm:")) and options.channels is None:
        options = make_options(options, channels=3)
    return choose_preprocessing("the network", arch, found.model_dump(), options)
