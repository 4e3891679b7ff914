"""``compare``: two or more models, or versions of a project, on the same images; tables, pictures and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_cam_feedback.cli.app import PROGRAM, out
from napari_cam_feedback.cli.opening import open_masks, open_model_and_data
from napari_cam_feedback.cli.options import All, Device, Full, Json, Seed, takes_model_options
from napari_cam_feedback.cli.parallel import arguments
from napari_cam_feedback.cli.show import (
    ends,
    progress,
    remark,
    show_numbers,
    show_sample,
    show_skipped,
    show_table,
    write_json,
)
from napari_cam_feedback.errors import ConfigError, FeedbackError

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.evaluation import ComparisonRow, PaintedHistory, VersionComparison
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.options import ModelOptions


@dataclass(frozen=True)
class _Compared:
    """What is compared: models by name with their files, the data, masks with where they are, and runs to be drawn."""

    models: dict[str, Classifier]
    files: dict[str, str | Path]
    dataset: Dataset
    masks: Any
    masks_from: Path | None
    runs: list[tuple[str, Path]]
    assumed: str | None = None


@takes_model_options()
def compare(
    options: ModelOptions,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for report.html, tables and pictures.", show_default=False)],
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL_A MODEL_B [MORE…] DATA",
            help="Models, the first being what the others are compared with, and the dataset; with --project versions, as "
            "v001 v002, by default its first and its current one.",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of irrelevance masks, <key>.png; by default those of the data, else those of the project."
        ),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="Compare versions of this project, on its own data.", show_default=False)
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="What to call a model; once for each, in their order.", show_default="its file's name"),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a run whose painted images are shown over the iterations; repeatable.",
            show_default="those that made the models",
        ),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Repeatable; else all that have labels.", show_default=False)
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Images to draw: painted ones, and changed predictions.")] = 12,
    filters: Annotated[bool, typer.Option(help="Compare the filters too.")] = True,
    everything: All = False,
    seed: Seed = 0,
    device: Device = "auto",
    full: Full = False,
    json_file: Json = None,
) -> None:
    """Compare two or more models on the same images, and write a report.

    Accuracy, classes and confusion on every split; whether the models are right for the right reasons, with intervals; which
    predictions changed; heatmaps side by side; the painted images over the run; filters.
    """
    from napari_cam_feedback.evaluation import (
        advice,
        compare_models,
        key_numbers,
        read_painted_history,
        report_facts,
        report_versions,
        verdict_of,
    )

    if project is None:
        found = _models(given or [], name or [], options, masks, device, seed)
    else:
        found = _versions(project, given or [], name or [], options, masks, device)
    _check_out(out_dir, found.dataset)
    runs = [(each.name or str(each), each) for each in run] if run else found.runs
    histories: list[PaintedHistory] = [read_painted_history(folder, title) for title, folder in runs]
    with progress("comparing", found.assumed) as bar:
        comparison = compare_models(
            found.models,
            found.dataset,
            masks=found.masks,
            splits=split or None,
            seed=seed,
            max_masked=len(found.dataset) if everything else None,
            monitor=bar,
        )
    facts = report_facts(
        found.models, found.dataset, files=found.files, masks=found.masks_from, seed=seed, command=[PROGRAM, *arguments()]
    )
    with progress("writing the report") as bar:
        page = report_versions(
            out_dir,
            comparison,
            found.models,
            found.dataset,
            masks=found.masks,
            histories=histories,
            facts=facts,
            pictures=pictures,
            filters=filters,
            monitor=bar,
        )
    show_skipped({key: text for each in comparison.evaluations for key, text in each.skipped.items()})
    for number, (other, rows) in enumerate(zip(comparison.names[1:], comparison.rows, strict=True), 1):
        if comparison.headline is not None:
            out.print(verdict_of(comparison, number), markup=False, highlight=False)
            show_numbers(key_numbers(comparison, number))
            out.print(f"Next: {advice(comparison, number)}", markup=False, highlight=False)
        if full:
            _show_rows(comparison.names[0], other, rows)
    show_sample(comparison.evaluations[0])
    if full:
        _show_flips(comparison)
    out.print(f"Report: {page}", markup=False, highlight=False)
    write_json(json_file, {**comparison.to_json(), "facts": facts, "report": str(page)})


def _models(
    given: Sequence[str], names: Sequence[str], options: ModelOptions, masks: Path | None, device: str, seed: int
) -> _Compared:
    """Open models and data as the user named them."""
    if len(given) < 3:
        raise ConfigError(
            "A comparison needs at least two models and, last, the data: compare MODEL_A MODEL_B DATA --out DIR."
        )
    *paths, data = given
    called = _names(paths, names)
    models: dict[str, Classifier] = {}
    assumed: dict[str, None] = {}
    dataset: Dataset | None = None
    for title, path in zip(called, paths, strict=True):
        opened = open_model_and_data(path, Path(data), options, device=device, seed=seed)
        models[title] = opened.classifier
        if opened.assumed:
            assumed[opened.assumed] = None
        if dataset is None:
            dataset = opened.dataset
        elif dataset.made_split and opened.dataset.split_seed != dataset.split_seed:
            remark(
                f"{title} was trained on another split (seed {opened.dataset.split_seed}) than {called[0]} (seed "
                f"{dataset.split_seed}), whose split is used: it may have learnt from images that it is tested on here."
            )
    assert dataset is not None
    files: dict[str, str | Path] = dict(zip(called, paths, strict=True))
    return _Compared(
        models, files, dataset, open_masks(masks, dataset), masks, _runs(files, dataset), "\n".join(assumed) or None
    )


def _versions(
    folder: Path, given: Sequence[str], names: Sequence[str], options: ModelOptions, masks: Path | None, device: str
) -> _Compared:
    """Open versions of a project."""
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.projects.comparing import known_or_painted, runs_between

    project = Project.open(folder)
    versions = list(given) or list(dict.fromkeys((project.available[0].id, project.current.id)))
    if len(versions) < 2 or len(set(versions)) < len(versions):
        has = ", ".join(version.id for version in project.available)
        raise ConfigError(f"A comparison needs at least two different versions; {folder} has {has}.")
    called = _names(versions, names)
    for version in versions:
        project.weights(version)
    models = {
        title: project.classifier(version, device=device, trust=options.trust)
        for title, version in zip(called, versions, strict=True)
    }
    if options.layer is not None:
        models = {title: each.with_layer(options.layer, grid=options.grid) for title, each in models.items()}
    files: dict[str, str | Path] = {title: project.weights(version) for title, version in zip(called, versions, strict=True)}
    runs = runs_between(project, versions)
    if masks is not None:
        return _Compared(models, files, project.dataset, open_masks(masks, project.dataset), masks, runs)
    store, where = known_or_painted(project)
    return _Compared(models, files, project.dataset, store, where, runs)


def _runs(files: dict[str, str | Path], dataset: Dataset) -> list[tuple[str, Path]]:
    """Return name and folder of the runs that made these models, where that can be told from where the files are."""
    from napari_cam_feedback.evaluation.report.painted_history import PAINTED_FILE
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.projects.comparing import runs_between

    found: list[tuple[str, Path]] = []
    versions: dict[Path, list[str]] = {}
    for name, file in files.items():
        path = Path(file).absolute()
        if (path.parent / PAINTED_FILE).is_file():
            found.append((name, path.parent))
        elif path.parent.name == "versions" and Project.exists(path.parent.parent):
            versions.setdefault(path.parent.parent, []).append(path.stem)
    for folder, names in versions.items():
        try:
            found += runs_between(Project.open(folder, dataset), names)
        except FeedbackError as error:
            # The curves are an extra; the models themselves are there.
            remark(f"What led to the versions of {folder} cannot be shown: {error}")
    return found


def _names(paths: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return what the models are called: as the user says, else by as much of their paths as tells them apart."""
    if names:
        if len(names) != len(paths) or len(set(names)) < len(names):
            raise ConfigError(f"--name must be given {len(paths)} times, each time another, or not at all.")
        return list(names)
    if len(set(paths)) < len(paths):
        raise ConfigError("A model is named twice; a comparison needs different models.")
    parts = [Path(path).with_suffix("").parts if Path(path).suffix == ".safetensors" else Path(path).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(each[-length:]) for each in parts]
        if len(set(found)) == len(found):
            return found
    return list(paths)


def _check_out(folder: Path, dataset: Dataset) -> None:
    """Refuse a folder in which the pictures of the report would be found as images, or a file."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --out.")
    source = dataset.source
    if source is not None and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{folder} lies among the images of {source}; choose a folder outside of it.")


def _show_rows(first: str, second: str, rows: Sequence[ComparisonRow]) -> None:
    from napari_cam_feedback.evaluation import MEASURES, show

    for split in dict.fromkeys(row.split for row in rows):
        shown = []
        for row in rows:
            if row.split == split:
                measure, between = MEASURES[row.measure].short, ends(row.interval, signed=True)
                shown.append([measure, *row.texts, show(row.change, signed=True), between, row.mark])
        columns = ["measure", "before", "after", "change", "95 % interval", ""]
        show_table(f"{split}: {second} compared with {first}", columns, shown, numbers=5)


def _show_flips(comparison: VersionComparison) -> None:
    from napari_cam_feedback.evaluation import KINDS

    rows = [
        [name, *(str(flips.count(kind)) for kind in range(len(KINDS)))]
        for name, flips in zip(comparison.names[1:], comparison.flips, strict=True)
    ]
    show_table("Changed predictions", ["model", *KINDS], rows, numbers=len(KINDS))
