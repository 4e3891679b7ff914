"""``retune``: fine-tune a model with masks, and judge the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_masks, open_model_and_data
from napari_cam_feedback.cli.options import Data, Device, Json, Masks, Model, takes_model_options
from napari_cam_feedback.cli.show import (
    progress,
    retune_progress,
    show_comparison,
    show_result,
    show_skipped,
    write_json,
)
from napari_cam_feedback.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.models.options import ModelOptions


@takes_model_options()
def retune(
    model: Model,
    data: Data,
    options: ModelOptions,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the run's files.", show_default=False)],
    masks: Masks = None,
    n_masks: Annotated[int | None, typer.Option(min=1, help="Use at most so many masks, spread over the classes.")] = None,
    method: Annotated[str | None, typer.Option(help="auto, a method, or several joined by +.", show_default="auto")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file, as a run's config.json.", show_default=False)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; repeatable.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.", show_default="0")] = None,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Retune a classifier so that it stops using what the masks cover, and judge the result."""
    from napari_cam_feedback.evaluate import compare
    from napari_cam_feedback.project import save_run
    from napari_cam_feedback.retune import retune as start_retune
    from napari_cam_feedback.retune import run_to_end

    chosen = _retune_config(config, settings or [], method, seed)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ConfigError(f"{out_dir} is not empty; choose a new folder for the run.")
    opened = open_model_and_data(model, data, options, device=device, seed=chosen.seed)
    classifier, dataset = opened.classifier, opened.dataset
    store = open_masks(masks, dataset)
    painted = _some_masks(store, dataset, n_masks, chosen.seed)
    with progress("measuring before", opened.assumed) as bar:
        result = run_to_end(start_retune(classifier, dataset, painted, chosen), retune_progress(bar))
    with progress("comparing") as bar:
        comparison = compare(
            classifier,
            result.classifier,
            dataset,
            masks=store,
            seed=chosen.seed,
            progress=bar,
        )
    save_run(out_dir, result, comparison)
    # The comparison reads every labelled image, those that the retune learnt from among them.
    skipped = {**result.skipped, **comparison.before.skipped}
    show_skipped(skipped)
    show_result(result)
    show_comparison(comparison)
    out.print(f"Run: {out_dir}", markup=False, highlight=False)
    write_json(json_file, {**result.to_json(), "comparison": comparison.to_json(), "skipped": skipped})


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
