"""``masks propose``, ``masks accept`` and ``masks reject``: masks for images like those that are painted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import open_masks, open_model_and_data
from napari_cam_feedback.cli.options import Data, Device, Json, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import progress, show_skipped, show_table, write_json
from napari_cam_feedback.errors import ConfigError, DataError

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import ProposalStore
    from napari_cam_feedback.models.options import ModelOptions

#: Proposals that are listed before only their number is said.
_LISTED = 20

Folder = Annotated[Path, typer.Argument(help="Folder of proposed masks, as propose wrote it.", show_default=False)]
Keys = Annotated[list[str] | None, typer.Argument(help="Images whose proposals are meant.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All proposals.")]
AtLeast = Annotated[float | None, typer.Option(min=0, max=1, help="All of at least this score.", show_default=False)]


@takes_model_options()
def propose(
    model: Model,
    data: Data,
    options: ModelOptions,
    masks: Annotated[Path, typer.Option(help="Folder of the masks painted so far.", show_default=False)],
    out_dir: Annotated[
        Path,
        typer.Option("--out", help="Folder of proposals; in a project's folder it is called proposals.", show_default=False),
    ],
    kind: Annotated[str, typer.Option(help="template, place, filters, or auto: template, else place.")] = "auto",
    split: Annotated[
        list[str] | None, typer.Option(help="Repeatable; else all but those for testing.", show_default=False)
    ] = None,
    least: Annotated[float | None, typer.Option(min=0, max=1, help="Least score.", show_default="by kind")] = None,
    most: Annotated[int, typer.Option(min=1, help="Images looked at, at most; of more, as many are drawn.")] = 5000,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Propose masks for images that are not painted, from those that are; none counts before it is accepted."""
    from napari_cam_feedback.data.cache import InputCache
    from napari_cam_feedback.feedback import ProposalStore, propose_masks
    from napari_cam_feedback.feedback.suggestions.suggest import candidate_items

    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    classifier, dataset = opened.classifier, opened.dataset
    painted = open_masks(masks, dataset)
    assert painted is not None
    store = ProposalStore(out_dir)
    inputs = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    with progress("looking for what was painted", opened.assumed) as bar:
        found = propose_masks(
            classifier,
            dataset,
            painted,
            kind=kind,
            indices=candidate_items(dataset, split or None),
            least=least,
            most=most,
            seed=seed,
            inputs=inputs,
            monitor=bar,
        )
        written = store.add(found, classifier=classifier.fingerprint(), masks=painted)
    _list(store, written)
    show_skipped(inputs.skipped)
    rows = [{"key": key, **store.about(key).model_dump()} for key in store if key in set(written)]
    write_json(json_file, {"proposed": rows, "out": str(out_dir), "skipped": dict(inputs.skipped)})


def accept(
    folder: Folder,
    keys: Keys = None,
    masks: Annotated[
        Path, typer.Option(help="Folder of masks that they become part of; none that is there is replaced.")
    ] = ...,  # type: ignore[assignment]
    every: Every = False,
    at_least: AtLeast = None,
    json_file: Json = None,
) -> None:
    """Make proposed masks masks."""
    from napari_cam_feedback.feedback import MaskStore

    store = _opened(folder)
    target = MaskStore(masks)
    wanted = _chosen(store, keys, every, at_least)
    done = store.accept(wanted, target)
    kept = [key for key in wanted if key not in set(done)]
    said = f"{_masks(len(done))} accepted into {masks}."
    if kept:
        said += f" {len(kept)} of the images had a mask already, which was kept."
    out.print(said, markup=False, highlight=False)
    write_json(json_file, {"accepted": done, "kept": kept, "left": store.keys()})


def reject(folder: Folder, keys: Keys = None, every: Every = False, json_file: Json = None) -> None:
    """Drop proposed masks; they are not proposed again."""
    store = _opened(folder)
    wanted = _chosen(store, keys, every, None)
    store.reject(wanted)
    out.print(f"{_masks(len(wanted))} rejected; {len(store)} left.", markup=False, highlight=False)
    write_json(json_file, {"rejected": wanted, "left": store.keys()})


def _opened(folder: Path) -> ProposalStore:
    from napari_cam_feedback.feedback import ProposalStore
    from napari_cam_feedback.feedback.proposals.store import INDEX_NAME

    if not (folder / INDEX_NAME).is_file():
        raise DataError(f"There are no proposed masks in {folder}; make some with masks propose.")
    return ProposalStore(folder)


def _chosen(store: ProposalStore, keys: list[str] | None, every: bool, at_least: float | None) -> list[str]:
    if keys:
        missing = [key for key in keys if key not in store]
        if missing:
            raise DataError(f'No mask is proposed for "{missing[0]}"; the first proposed is {next(iter(store), "none")}.')
        return list(dict.fromkeys(keys))
    if at_least is not None:
        return [key for key in store if store.about(key).score >= at_least]
    if not every:
        raise ConfigError("Say which proposals are meant: name their images, or give --all.")
    return store.keys()


def _list(store: ProposalStore, written: list[str]) -> None:
    shown = [key for key in store if key in set(written)][:_LISTED]
    rows = [[f"{store.about(key).score:.2f}", store.about(key).kind, key, store.about(key).reason] for key in shown]
    if rows:
        show_table("Proposed masks", ["score", "by", "image", "why"], rows, numbers=0)
    more = len(written) - len(shown)
    if more > 0:
        out.print(f"and {more} more", highlight=False)
    said = "No mask proposed" if not written else f"{_masks(len(written))} proposed"
    out.print(f"{said}; none counts before it is accepted. Folder: {store.folder}", markup=False, highlight=False)


def _masks(count: int) -> str:
    return "1 mask" if count == 1 else f"{count} masks"
