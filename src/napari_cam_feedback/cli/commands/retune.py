"""``retune``: fine-tune a model with masks, and judge the result."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.naming import naming
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
    Strategy,
    read_settings,
    takes_model_options,
)
from napari_cam_feedback.cli.parallel import agreed, launch
from napari_cam_feedback.cli.show import (
    progress,
    remark,
    retune_progress,
    show_comparison,
    show_result,
    show_skipped,
    stopped_sentence,
    write_json,
)
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt
from napari_cam_feedback.errors import ConfigError, RetuneError, describe, name_settings
from napari_cam_feedback.monitor import Part

#: File of a run's folder from which it is resumed.
RUN_STATE = "state.pt"
#: File of what a run takes out, where that lies over whole images; as `projects.runs` writes it.
STYLE = "style.safetensors"
#: Seconds at least between two writings of it.
SECONDS_BETWEEN = 20.0

if TYPE_CHECKING:
    import numpy as np

    from napari_cam_feedback.auditing import NextShortcut
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.options import ModelOptions
    from napari_cam_feedback.retuning import RetuneConfig, RunState, Style


@takes_model_options()
def retune(
    model: Model,
    data: Data,
    options: ModelOptions,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the run's files.", show_default=False)],
    masks: Masks = None,
    with_dir: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="DIR",
            help="Images with what cannot be painted, as a colour cast, blur or noise; with --masks, both are taken out.",
            show_default=False,
        ),
    ] = None,
    without_dir: Annotated[
        Path | None,
        typer.Option("--without", metavar="DIR", help="Images like those of --with, but without it.", show_default=False),
    ] = None,
    colours: Annotated[
        bool, typer.Option("--colours", help="Take out brightness and colour of images as a whole; with --masks, both.")
    ] = False,
    n_masks: Annotated[int | None, typer.Option(min=1, help="Use at most so many masks, spread over the classes.")] = None,
    method: Annotated[str | None, typer.Option(help="auto, a method, or several joined by +.", show_default="auto")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file, as a run's config.json.", show_default=False)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; repeatable.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.", show_default="0")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the stopped run in --out, with the same model and data.")
    ] = False,
    everything: All = False,
    look_on: Annotated[
        bool, typer.Option("--next/--no-next", help="Look for the next shortcut, which the new model leans on.")
    ] = True,
    device: Device = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = "32-true",
    full: Full = False,
    json_file: Json = None,
) -> None:
    """Retune a classifier so that it stops using what the masks cover, and judge the result.

    What cannot be painted is shown by images with it and without it, some 30 each (--with and --without), or is their
    brightness and colour (--colours).

    Ctrl-C stops it; the best model so far is saved, and --resume goes on from there.
    """
    from napari_cam_feedback.auditing import next_shortcuts
    from napari_cam_feedback.evaluation import compare
    from napari_cam_feedback.models.parallel import take_from_first
    from napari_cam_feedback.projects import save_run
    from napari_cam_feedback.retuning import load_run_state, more_masks, run_to_end, unused_remark
    from napari_cam_feedback.retuning import retune as start_retune

    _check_style(with_dir, without_dir, colours=colours, resume=resume)
    if resume:
        config, run_state = _run_to_resume(out_dir, config, settings, method, seed), load_run_state(out_dir / RUN_STATE)
    else:
        _check_new(out_dir)
        run_state = None
    chosen = _retune_config(config, settings or [], method, seed)
    fabric = launch(device, devices, nodes, strategy, precision)
    with agreed(fabric):
        opened = open_model_and_data(model, data, options, device=str(fabric.device), seed=chosen.seed)
        classifier, dataset = opened.classifier, opened.dataset
        shown = None if with_dir is None or without_dir is None else (with_dir, without_dir)
        beside = None if config is None or masks is not None else config.parent / STYLE
        style = _style(shown, beside, classifier, dataset, colours=colours)
        store = open_masks(masks, dataset)
        of_run = open_masks(_masks_beside(config), dataset) if masks is None else None
        # Beside a style, what the data bring along is taken out only where that is asked for.
        masked = style is None or masks is not None or n_masks is not None or of_run is not None
        chosen_store = store if of_run is None else of_run
        painted = _some_masks(chosen_store, dataset, n_masks, chosen.seed) if masked else {}
    if of_run is not None:
        if fabric.is_global_zero:
            remark(f"The masks are those of that run, {of_run.folder}.")
        # Judged by what the data bring along, as far as they do, as the run was.
        store = None if dataset.has_known_masks else of_run
    keeper = RunStateKeeper(out_dir, chosen, painted, style) if fabric.is_global_zero else None
    # One wish to stop ends both: whoever stops a run is not kept waiting for a comparison, which comes when it is resumed.
    with stop_on_interrupt() as stop:
        with progress("measuring before", opened.assumed, unused_remark(chosen), stop=stop) as bar:
            steps = start_retune(
                classifier,
                dataset,
                painted,
                chosen,
                monitor=Part(bar, silent=True),
                resume=run_state,
                on_run_state=keeper,
                fabric=fabric,
                trust=options.trust,
                complete=False,
                style=style,
            )
            try:
                result = run_to_end(steps, retune_progress(bar, chosen))
            except RetuneError as error:
                if not stop():
                    raise
                remark(describe(error, naming()))
                raise CommandStopped from error
        take_from_first(result.classifier.module, fabric)
        with progress("comparing before and after", stop=stop) as bar:
            comparison = compare(
                classifier,
                result.classifier,
                dataset,
                masks=store,
                seed=chosen.seed,
                max_masked=len(dataset) if everything else None,
                detail=True,
                quick=not everything,
                monitor=bar,
                fabric=fabric,
            )
    if keeper is None:
        return
    further: tuple[NextShortcut, ...] = ()
    if look_on and result.run_state is None and not comparison.before.stopped:
        with stop_on_interrupt() as stop, progress("looking for the next shortcut", stop=stop) as bar:
            further = next_shortcuts(result.classifier, dataset, painted, seed=chosen.seed, monitor=bar)
    more = more_masks(dataset, painted, [result.to_json()])
    extra = {
        "next": [each.to_json() for each in further],
        "more_masks": more.to_json(),
        "command": shlex.join(sys.argv),
        "started_from": classifier.fingerprint(),
    }
    save_run(out_dir, result, comparison, masks=painted, extra=extra)
    keeper.end(result.run_state)
    # The comparison reads images of every split, those that the retune learnt from among them.
    skipped = {**result.skipped, **comparison.before.skipped}
    show_skipped(skipped)
    show_result(result, out_dir, full=full)
    for each in further:
        said = name_settings(each.sentence, each.fields, naming())
        out.print(f"[bold yellow]Next.[/] {escape(said)}", highlight=False)
    if more.sentence:
        out.print(more.sentence, markup=False, highlight=False)
    if comparison.before.splits:
        show_comparison(comparison, full=full)
    out.print(f"Run: {out_dir}", markup=False, highlight=False)
    write_json(
        json_file,
        {
            **result.to_json(),
            **{name: extra[name] for name in ("next", "more_masks")},
            "comparison": comparison.to_json(),
            "skipped": skipped,
        },
    )
    if result.run_state is not None:
        remark(f"Stopped after {result.run_state.iteration} steps; --resume goes on from there.")
        raise CommandStopped
    if comparison.before.stopped:
        remark(f"{stopped_sentence(comparison.before)} The model is saved all the same.")
        raise CommandStopped


class RunStateKeeper:
    """Writes a run's state into its folder, so that it can be resumed even if the program is killed.

    Parameters
    ----------
    folder : Path
        The run's.
    config : RetuneConfig
        Its settings, written beside.
    masks : dict
        Its masks, written beside.
    style : Style or None
        What is taken out in place of those, written beside.
    """

    def __init__(self, folder: Path, config: RetuneConfig, masks: dict[str, np.ndarray], style: Style | None) -> None:
        self._folder, self._config, self._masks, self._style = folder, config, masks, style
        self._written = 0.0
        self._begun = False

    def __call__(self, run_state: RunState) -> None:
        """Write it, unless one was written a moment ago: a large network's state takes a while."""
        if time.monotonic() - self._written > SECONDS_BETWEEN:
            self._write(run_state)
            self._written = time.monotonic()

    def end(self, run_state: RunState | None) -> None:
        """Leave the state of a run that was stopped, and none of one that ended."""
        if run_state is None:
            (self._folder / RUN_STATE).unlink(missing_ok=True)
        else:
            self._write(run_state)

    def _write(self, run_state: RunState) -> None:
        from napari_cam_feedback.files import write_json as write
        from napari_cam_feedback.projects.runs import MASKS, copy_masks
        from napari_cam_feedback.retuning import save_run_state
        from napari_cam_feedback.retuning.images.style_file import save_style

        # The settings first: by them a folder is known that was left by a run which was killed.
        write(self._folder / "config.json", self._config.model_dump(mode="json"))
        if not self._begun:
            copy_masks(self._masks, self._folder / MASKS)
            if self._style is not None:
                save_style(self._style, self._folder / STYLE)
            self._begun = True
        save_run_state(run_state, self._folder / RUN_STATE)


# What a run writes before its model, which makes it whole.
_BEFORE_THE_MODEL = {"config.json", "history.csv", "painted.csv", "masks", STYLE, "result.json"}


def _check_new(folder: Path) -> None:
    """Refuse a folder that holds something, but for what a run left that was killed before it could be resumed."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".tmp-")} if folder.is_dir() else {""}
    if RUN_STATE in names:
        raise ConfigError(f"{folder} holds a run that was stopped; go on with it by --resume, or choose a new folder.")
    if names and not ("config.json" in names and names <= _BEFORE_THE_MODEL):
        raise ConfigError(f"{folder} is not empty; choose a new folder for the run.")
    if names:
        _retune_config(folder / "config.json", [], None, None)  # raises where it is none of a run
        shutil.rmtree(folder / "masks", ignore_errors=True)
        (folder / STYLE).unlink(missing_ok=True)
        remark(f"{folder} holds what is left of a run that was killed; it is begun anew.")


def _run_to_resume(folder: Path, *said: object) -> Path:
    """Return the settings' file of a run that was stopped."""
    if any(said):
        raise ConfigError("A run is resumed with its own settings; leave out --config, --set, --method and --seed.")
    if not (folder / RUN_STATE).is_file():
        raise ConfigError(f"There is no stopped run in {folder}; name its folder with --out, or leave out --resume.")
    return folder / "config.json"


def _check_style(with_dir: Path | None, without_dir: Path | None, *, colours: bool, resume: bool) -> None:
    if (with_dir is None) != (without_dir is None):
        missing = "--without" if without_dir is None else "--with"
        raise ConfigError(f"Images with it and images without it are both needed; give {missing} DIR, too.")
    if with_dir is None and not colours:
        return
    if resume:
        raise ConfigError("A run is resumed against what it was begun with; leave out --with, --without and --colours.")
    if colours and with_dir is not None:
        raise ConfigError("A run is against one style: give --with and --without, or --colours.")


def _style(
    shown: tuple[Path, Path] | None, beside: Path | None, classifier: Classifier, dataset: Dataset, *, colours: bool
) -> Style | None:
    """Return what is to be taken out where that lies over whole images: as shown, or as in the run of the settings."""
    from napari_cam_feedback.explanations.tcav.sets import ImageFolder
    from napari_cam_feedback.retuning import find_colours, find_style
    from napari_cam_feedback.retuning.images.style_file import load_style

    if colours:
        return find_colours(classifier.preprocessing, dataset)
    if shown is not None:
        with_it, without = map(ImageFolder, shown)
        return find_style(classifier.preprocessing, with_it, without, dataset)
    return load_style(beside) if beside is not None and beside.is_file() else None


def _masks_beside(config: Path | None) -> Path | None:
    """Return the folder of the masks of the run that a file of settings is of; None where it is of none."""
    if config is None or not any((config.parent / name).is_file() for name in ("result.json", RUN_STATE)):
        return None
    masks = config.parent / "masks"
    return masks if masks.is_dir() else None


def _retune_config(file: Path | None, settings: list[str], method: str | None, seed: int | None) -> Any:
    from napari_cam_feedback.files import read_json
    from napari_cam_feedback.retuning import make_config, settings_of

    values: dict[str, Any] = {}
    if file is not None:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ConfigError(f"{file} must hold a JSON object of settings, as a run's config.json does.")
        values.update(settings_of(content))
    values |= read_settings(settings, "iterations=100")
    values |= {key: value for key, value in (("method", method), ("seed", seed)) if value is not None}
    return make_config(values)


def _some_masks(store: MaskStore | None, dataset: Dataset, count: int | None, seed: int) -> dict[str, np.ndarray]:
    from napari_cam_feedback.feedback import choose_masks, known_masks

    if store is None:
        return known_masks(dataset, count, seed=seed)
    # Of test images, and of those without a label, nothing is learnt.
    return choose_masks(store, dataset, count, indices=dataset.learnable(), seed=seed)
