"""The commands: everything the windows do, without a window.

Exit status 0: done. 2: bad input, said in one line on stderr. 1: a fault of ours. 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from napari_cam_feedback.errors import ConfigError, DataError, FeedbackError, describe

if TYPE_CHECKING:
    import numpy as np

    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.evaluate import Comparison, Evaluation
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.retune import RetuneResult, RetuneStep

PROGRAM = "napari-cam-feedback"
DEBUG_VARIABLE = "NAPARI_CAM_FEEDBACK_DEBUG"

app = typer.Typer(
    name=PROGRAM,
    help="Look at what an image classifier uses, paint what is irrelevant, retune it, and see whether that helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Model = Annotated[
    Path, typer.Argument(help="Model: a .safetensors of ours, or a state dict with --arch.", show_default=False)
]
Data = Annotated[
    Path,
    typer.Argument(help="Dataset: folder of class folders, .csv (path,label,split) or .npz.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the result as JSON to this file.", show_default=False)]
Arch = Annotated[
    str | None, typer.Option(help="Architecture, where the file does not say it: small-gap, residual-vgg, torchvision:NAME.")
]
Size = Annotated[
    tuple[int, int] | None, typer.Option(help="Height and width of the input, where the file does not say them.")
]
Mean = Annotated[str | None, typer.Option(help="Channel means, as 0.485,0.456,0.406, where the file does not say them.")]
Std = Annotated[str | None, typer.Option(help="Channel standard deviations, where the file does not say them.")]
Classes = Annotated[Path | None, typer.Option(help="Text file, one class name a line, where the model has none.")]
Layer = Annotated[str | None, typer.Option(help="Target layer by dotted name.")]
Masks = Annotated[
    Path | None,
    typer.Option(help="Folder of irrelevance masks, <key>.png; by default the masks that the dataset brings along."),
]

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=None if arguments is None else list(arguments), prog_name=PROGRAM, standalone_mode=False)
        return int(status or 0)
    except FeedbackError as error:
        return _fail(describe(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Stopped.", 130)
    except Exception as error:
        # Errors of usage come from typer's own copy of click, whose classes have no public name.
        if hasattr(error, "format_message"):
            message = str(error.format_message())
            if type(error).__name__ == "NoArgsIsHelpError":
                out.print(message, markup=False, highlight=False)
                return 2
            return _fail(f"{message.rstrip('.')}; see {PROGRAM} --help.", 2)
        if isinstance(error, OSError):
            return _fail(describe(error), 2)
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _fail(f"{describe(error)} Set {DEBUG_VARIABLE}=1 to see where.", 1)


def _fail(sentence: str, status: int) -> int:
    err.print(f"{PROGRAM}: {' '.join(sentence.split())}", markup=False, highlight=False)
    return status


# --- what the commands share -----------------------------------------------------------------------------------------


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise ConfigError(f"{option} must be numbers joined by commas, as 0.485,0.456,0.406, not {text!r}.") from None


def _open(
    model: Path,
    data: Path,
    *,
    device: str,
    seed: int,
    arch: str | None = None,
    size: tuple[int, int] | None = None,
    mean: str | None = None,
    std: str | None = None,
    classes: Path | None = None,
    layer: str | None = None,
) -> tuple[Classifier, Dataset]:
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.models import load_classifier

    names = None
    if classes is not None:
        try:
            names = [line.strip() for line in classes.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the class names in {classes}; give a text file with one name a line.") from error
    classifier = load_classifier(
        model,
        arch=arch,
        class_names=names,
        size=size,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        layer=layer,
        device=device,
    )
    # A split that was made for the training stays, or the model would be judged by images that it learnt from.
    split_seed = seed if classifier.split_seed is None else classifier.split_seed
    return classifier, open_dataset(data, seed=split_seed, class_names=classifier.class_names)


def _open_masks(folder: Path | None, dataset: Dataset) -> MaskStore | None:
    from napari_cam_feedback.feedback import MaskStore

    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the folder that holds the masks.")
    store = MaskStore(folder)
    if not any(key in store for key in dataset.keys):
        raise DataError(
            f"None of the masks in {folder} belongs to an image of the dataset; "
            "a mask's path is that of its image, as train/cat/1.png.png for train/cat/1.png."
        )
    return store


def _write_json(path: Path | None, value: Any) -> None:
    from napari_cam_feedback.files import write_json

    if path is not None:
        write_json(path, value)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < len(columns) - 3 or number == 0 else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    out.print(table)


def _show_evaluation(title: str, evaluation: Evaluation) -> None:
    from napari_cam_feedback.evaluate import show

    rows = []
    for name, result in evaluation.splits.items():
        reasons = result.right_reasons
        rows.append(
            [
                name,
                str(result.n),
                show(result.accuracy),
                show(reasons.masked_accuracy if reasons else None),
                show(reasons.flip_rate if reasons else None),
                show(reasons.mask_share if reasons else None),
            ]
        )
    columns = ["split", "images", "accuracy", "accuracy, mask refilled", "flip rate", "heatmap inside mask"]
    _table(title, columns, rows)
    _report_skipped(evaluation.skipped)


def _show_comparison(comparison: Comparison) -> None:
    from napari_cam_feedback.evaluate import MEASURES, show

    rows = []
    for row in comparison.rows:
        mark = {True: "better", False: "worse", None: ""}[row.better]
        rows.append(
            [
                row.split,
                MEASURES[row.measure][1],
                show(row.before),
                show(row.after),
                f"{show(row.change, signed=True)} {mark}",
            ]
        )
    _table("Before and after", ["split", "measure", "before", "after", "change"], rows)


class _RetuneBar:
    """A progress bar fed with the steps of a retune."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("measuring before", total=None)

    def __call__(self, step: RetuneStep) -> None:
        terms = "  ".join(f"{name} {value:.3f}" for name, value in step.losses.items() if name != "total")
        self._progress.update(self._task, total=step.iterations, completed=step.iteration, description=f"retuning  {terms}")
        if step.message:
            err.print(step.message, markup=False)


def _run_retune(start: Callable[[Callable[[RetuneStep], None]], T]) -> T:
    with _progress() as progress:
        return start(_RetuneBar(progress))


def _show_result(result: RetuneResult) -> None:
    colour = {"fixed": "green", "improved": "green", "harmed": "red"}.get(result.verdict.name, "yellow")
    out.print(f"[bold {colour}]{result.verdict.name.capitalize()}.[/] {escape(result.verdict.reason)}", highlight=False)
    if result.selected_iteration == 0:
        out.print(f"No step was better, so the model returned is the one given ({result.status}).", highlight=False)
    else:
        out.print(f"The model returned is that of iteration {result.selected_iteration} ({result.status}).", highlight=False)


# --- the commands ----------------------------------------------------------------------------------------------------


@app.command()
def demo(
    sample: Annotated[str, typer.Argument(help="tag-digits or symbols.")] = "tag-digits",
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write to; else a new one in demo-output.", show_default=False),
    ] = None,
    gui: Annotated[bool, typer.Option("--gui/--no-gui", help="Open napari on the result.")] = True,
    masks: Annotated[int, typer.Option(min=1, help="Images whose known masks stand in for the expert's.")] = 20,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Run the whole loop on a sample: look, paint (known masks), retune, compare; then open napari."""
    from napari_cam_feedback.demo import run_demo
    from napari_cam_feedback.evaluate import evaluate

    folder = out_dir or _new_folder(Path("demo-output"), sample)
    out.print(f"The sample {sample} hides a shortcut: look whether the model uses it.", markup=False)

    def look(classifier: Classifier, dataset: Dataset) -> None:
        _show_evaluation("Before the retune (the split test lies about the class)", evaluate(classifier, dataset, seed=seed))
        out.print(f"\nRetuning with the known masks of {masks} images …", highlight=False)

    done = _run_retune(
        lambda bar: run_demo(sample, folder, masks=masks, seed=seed, device=device, on_ready=look, on_step=bar)
    )
    _show_result(done.result)
    _show_comparison(done.comparison)
    out.print(f"\nReport: {done.report}\nPictures: {folder / 'pictures'}\nProject: {done.project.folder}", markup=False)
    _write_json(json_file, {**done.result.to_json(), "comparison": done.comparison.to_json()})
    if not gui:
        return
    if not _has_display():
        out.print("There is no display, so napari is not opened; open the report in a browser instead.")
        return
    _open_window(done.project.folder)


def _new_folder(parent: Path, name: str) -> Path:
    number, folder = 1, parent / name
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def _has_display() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_window(project: Path) -> None:
    try:
        from napari_cam_feedback.widgets.launch import open_project_window
    except ImportError:
        out.print("napari has no Qt here (pip install 'napari-cam-feedback[all]'), so no window is opened.", markup=False)
        return
    out.print("Opening napari; close its window to end.")
    open_project_window(project)


@app.command("sample")
def write_a_sample(
    sample: Annotated[str, typer.Argument(help="tag-digits or symbols.", show_default=False)],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)],
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write a sample: DIR/data with its masks, and DIR/model.safetensors."""
    from napari_cam_feedback.demo import prepare_sample

    with _progress() as progress:
        task = progress.add_task("writing the sample", total=None)
        data, model = prepare_sample(
            sample,
            out_dir,
            seed=seed,
            on_epoch=lambda step: progress.update(task, total=step.epochs, completed=step.epoch, description="training"),
        )
    out.print(f"Data: {data}\nModel: {model}", markup=False, highlight=False)
    _write_json(json_file, {"data": str(data), "model": str(model)})


@app.command()
def train(
    data: Data,
    out_file: Annotated[Path, typer.Option("--out", help="Model file to write, .safetensors.", show_default=False)],
    arch: Annotated[str, typer.Option(help="small-gap, residual-vgg or torchvision:NAME.")] = "small-gap",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", help="Adam's largest step.")] = 1e-3,
    size: Size = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Train a classifier from scratch."""
    from pydantic import ValidationError

    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.models import (
        TrainConfig,
        build_classifier,
        default_preprocessing,
        pick_device,
        save_classifier,
        train_classifier,
    )

    if out_file.suffix != ".safetensors":
        raise ConfigError(f"--out must end in .safetensors, not {out_file.name}.")
    try:
        config = TrainConfig(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"The setting {first['loc'][0]} cannot be {first['input']}: {first['msg'].lower()}.") from error
    dataset = open_dataset(data, seed=seed)
    preprocessing = default_preprocessing(dataset)
    if arch.startswith("torchvision:") and preprocessing.channels == 1:
        three = {"channels": 3, "mean": preprocessing.mean * 3, "std": preprocessing.std * 3}
        preprocessing = preprocessing.model_copy(update=three)
    if size is not None:
        preprocessing = preprocessing.model_copy(update={"size": size})
    classifier = build_classifier(arch, dataset.class_names, preprocessing, seed=seed).to(pick_device(device))
    if dataset.made_split:
        out.print(f"The dataset has no splits; a split into {', '.join(dataset.split_names)} was drawn with seed {seed}.")
    last = None
    with _progress() as progress:
        task = progress.add_task("training", total=epochs)
        steps = train_classifier(classifier, dataset, config)
        while True:
            try:
                last = next(steps)
            except StopIteration as end:
                classifier = end.value
                break
            known = "" if last.val_accuracy is None else f"  validation {last.val_accuracy:.3f}"
            progress.update(
                task,
                completed=last.epoch,
                description=f"training  loss {last.loss:.3f}  accuracy {last.train_accuracy:.3f}{known}",
            )
    save_classifier(classifier, out_file)
    best = classifier.info["training"]["epoch"]
    out.print(f"Saved {out_file} (epoch {best} of {epochs}).", markup=False, highlight=False)
    final = asdict(last) if last else None
    _write_json(json_file, {"model": str(out_file), "epoch": best, "last": final, "config": config.model_dump()})


@app.command()
def predict(
    model: Model,
    data: Data,
    out_file: Annotated[Path, typer.Option("--out", help="CSV file to write.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Whose images; by default all.", show_default=False)] = None,
    arch: Arch = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    layer: Layer = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write every image's prediction and class probabilities as CSV."""
    from napari_cam_feedback.evaluate import predict as predict_items

    options = {"arch": arch, "size": size, "mean": mean, "std": std, "classes": classes, "layer": layer}
    classifier, dataset = _open(model, data, device=device, seed=seed, **options)  # type: ignore[arg-type]
    with _progress() as progress:
        found = predict_items(classifier, dataset, split=split, progress=_bar(progress, "predicting"))
    found.save_csv(out_file, dataset)
    _report_skipped(found.skipped)
    labelled = found.labels >= 0
    accuracy = float((found.predicted == found.labels)[labelled].mean()) if labelled.any() else None
    said = "" if accuracy is None else f", accuracy {accuracy:.3f}"
    out.print(f"{len(found.indices)} predictions in {out_file}{said}.", markup=False, highlight=False)
    _write_json(json_file, {"n": len(found.indices), "accuracy": accuracy, "skipped": found.skipped})


@app.command()
def explain(
    model: Model,
    data: Data,
    out_path: Annotated[Path, typer.Option("--out", help=".npz file, or folder for one TIFF an image.", show_default=False)],
    method: Annotated[str | None, typer.Option(help="cam or gradcam; by default cam where the model allows it.")] = None,
    target: Annotated[str, typer.Option(help="true, predicted, or a class.")] = "predicted",
    split: Annotated[str, typer.Option(help="Whose images.")] = "test",
    arch: Arch = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    layer: Layer = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write the signed attribution map of every image of a split."""
    from napari_cam_feedback.explain import explain as explain_split

    options = {"arch": arch, "size": size, "mean": mean, "std": std, "classes": classes, "layer": layer}
    classifier, dataset = _open(model, data, device=device, seed=seed, **options)  # type: ignore[arg-type]
    with _progress() as progress:
        found = explain_split(
            classifier, dataset, method=method, target=target, split=split, progress=_bar(progress, "explaining")
        )
    if out_path.suffix == ".npz":
        found.save_npz(out_path)
    else:
        found.save_folder(out_path)
    _report_skipped(found.skipped)
    out.print(f"{len(found.keys)} maps in {out_path}.", markup=False, highlight=False)
    _write_json(json_file, {"n": len(found.keys), "out": str(out_path), "skipped": found.skipped})


@app.command()
def retune(
    model: Model,
    data: Data,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the run's files.", show_default=False)],
    masks: Masks = None,
    n_masks: Annotated[int | None, typer.Option(min=1, help="Use at most so many masks, spread over the classes.")] = None,
    method: Annotated[str | None, typer.Option(help="auto, a method, or several joined by +.", show_default="auto")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file, as a run's config.json.", show_default=False)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; repeatable.", show_default=False)] = None,
    arch: Arch = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    layer: Layer = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="0")] = None,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Retune a classifier so that it stops using what the masks cover, and judge the result."""
    from napari_cam_feedback.evaluate import compare
    from napari_cam_feedback.project import save_run
    from napari_cam_feedback.retune import retune as start_retune
    from napari_cam_feedback.retune import run_to_end

    chosen = _retune_config(config, settings or [], method, seed)
    if out_dir.exists() and any(out_dir.iterdir()):
        raise ConfigError(f"{out_dir} is not empty; choose a new folder for the run.")
    options = {"arch": arch, "size": size, "mean": mean, "std": std, "classes": classes, "layer": layer}
    classifier, dataset = _open(model, data, device=device, seed=chosen.seed, **options)  # type: ignore[arg-type]
    store = _open_masks(masks, dataset)
    painted = _some_masks(store, dataset, n_masks, chosen.seed)
    result = _run_retune(lambda bar: run_to_end(start_retune(classifier, dataset, painted, chosen), bar))
    with _progress() as progress:
        comparison = compare(
            classifier, result.classifier, dataset, masks=store, seed=chosen.seed, progress=_bar(progress, "comparing")
        )
    save_run(out_dir, result, comparison)
    _show_result(result)
    _show_comparison(comparison)
    out.print(f"Run: {out_dir}", markup=False, highlight=False)
    _write_json(json_file, {**result.to_json(), "comparison": comparison.to_json()})


def _retune_config(file: Path | None, settings: list[str], method: str | None, seed: int | None) -> Any:
    import json

    from napari_cam_feedback.files import read_json
    from napari_cam_feedback.retune import make_config

    values: dict[str, Any] = {}
    if file is not None:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ConfigError(f"{file} must hold a JSON object of settings, as a run's config.json does.")
        values.update(content)
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise ConfigError(f"--set needs key=value, as iterations=100, not {setting!r}.")
        try:
            values[name.strip()] = json.loads(text)
        except ValueError:
            values[name.strip()] = text
    values |= {key: value for key, value in (("method", method), ("seed", seed)) if value is not None}
    return make_config(values)


def _some_masks(store: MaskStore | None, dataset: Dataset, count: int | None, seed: int) -> dict[str, np.ndarray]:
    from napari_cam_feedback.feedback import choose_masks, known_masks

    if store is None:
        return known_masks(dataset, count, seed=seed)
    return choose_masks(store, dataset, count, seed=seed)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    masks: Masks = None,
    split: Annotated[list[str] | None, typer.Option(help="Repeatable; else all.", show_default=False)] = None,
    arch: Arch = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    layer: Layer = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Measure accuracy, per class, confusion, and right reasons on every split."""
    from napari_cam_feedback.evaluate import evaluate as evaluate_splits

    options = {"arch": arch, "size": size, "mean": mean, "std": std, "classes": classes, "layer": layer}
    classifier, dataset = _open(model, data, device=device, seed=seed, **options)  # type: ignore[arg-type]
    store = _open_masks(masks, dataset)
    with _progress() as progress:
        found = evaluate_splits(
            classifier, dataset, masks=store, splits=split, seed=seed, progress=_bar(progress, "evaluating")
        )
    _show_evaluation(model.name, found)
    _write_json(json_file, found.to_json())


def _bar(progress: Progress, description: str) -> Callable[[int, int], None]:
    task = progress.add_task(description, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _report_skipped(skipped: dict[str, str]) -> None:
    for key, sentence in list(skipped.items())[:5]:
        err.print(f"left out: {key}: {sentence}", markup=False, highlight=False)
    if len(skipped) > 5:
        err.print(f"left out: {len(skipped) - 5} more images that cannot be read", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
