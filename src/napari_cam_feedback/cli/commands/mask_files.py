"""``masks import``, ``masks export`` and ``masks merge``: masks of other programs and of other people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.options import Data, Json
from napari_cam_feedback.cli.show import progress, remark, show_table, write_json
from napari_cam_feedback.cli.stopping import CommandStopped, stop_on_interrupt
from napari_cam_feedback.errors import ConfigError, DataError, MaskError

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.feedback.exchange.merging import MaskDifferences

MAX_CONFLICTS = 40
#: Files of a folder without an index that are looked at, whether they are masks at all.
MAX_FILES_CHECKED = 5


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of PNG or TIFF files, an .npz, COCO's .json, or a pickled dictionary of masks (.pkl).",
            show_default=False,
        ),
    ],
    data: Data,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of masks, or a project; masks that are there are kept.", show_default=False)
    ],
    split: Annotated[
        str | None, typer.Option(help="Only its images; masks that are numbered count them from 0.", show_default="all")
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Of a COCO file, only what is of this category.", show_default="all")
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Bring masks of another size to their image's.")] = False,
    invert: Annotated[bool, typer.Option("--invert", help="Irrelevant is what is black.")] = False,
    background: Annotated[
        int | None, typer.Option(min=0, help="Of images, the value of what is not painted.", show_default="0")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who painted them.", show_default=False)] = None,
    json_file: Json = None,
) -> None:
    """Bring masks of other programs to the images that they are named after."""
    from napari_cam_feedback.data import open_dataset
    from napari_cam_feedback.feedback.exchange.formats import PICKLES
    from napari_cam_feedback.feedback.exchange.importing import find_masks, import_masks
    from napari_cam_feedback.feedback.masks.matching import OF_ANOTHER_SPLIT

    dataset = open_dataset(data)
    for note in dataset.notes:
        remark(note)
    store = _open_store(out_dir)
    with stop_on_interrupt() as stop, progress("reading masks", stop=stop) as bar:
        found = find_masks(
            source, dataset, split=split, category=category, resize=resize, invert=invert, background=background, monitor=bar
        )
        result = import_masks(found, store, author=author)
        stopped = stop()
    elsewhere = [name for name, why in found.unmatched.items() if why == OF_ANOTHER_SPLIT]
    for name in elsewhere:
        del found.unmatched[name]
    first, *others = result.sentences
    if elsewhere:
        count = "1 mask is of an image" if len(elsewhere) == 1 else f"{len(elsewhere)} masks are of images"
        others.insert(0, f"{count} of other splits than {split}, and left out.")
    for line in others:
        remark(line)
    if found.other_size:
        remark("--resize brings masks of another size to their image's")
    out.print(f"{first} Folder: {store.folder}", markup=False, highlight=False)
    write_json(json_file, {**result.to_json(), "other_split": elsewhere, "out": str(store.folder)})
    if stopped:
        raise CommandStopped
    if not (result.written or result.same or result.kept or others):
        what = "its dictionary is empty" if source.suffix.lower() in PICKLES else "nothing in it could be one"
        raise MaskError(f"There are no masks in {source}: {what}; name another file or folder.")
    if not (result.written or result.same or result.kept):
        raise MaskError(
            f"None of the masks in {source} could be used; see above, and check their names, or --split for numbers."
        )


def export(
    masks: Annotated[Path, typer.Argument(help="Folder of masks, or a project.", show_default=False)],
    target: Annotated[Path, typer.Option("--out", help="A new folder for png and tiff, else a file.", show_default=False)],
    kind: Annotated[
        str | None, typer.Option("--format", help="png, tiff, npz or coco.", show_default="by the ending of --out")
    ] = None,
    uncompressed: Annotated[
        bool, typer.Option("--uncompressed", help="In a COCO file, lists of runs instead of compressed text.")
    ] = False,
    json_file: Json = None,
) -> None:
    """Write masks for other programs."""
    from napari_cam_feedback.feedback.exchange.formats import export_masks

    store = _existing(masks)
    kind = kind or _kind_of(target)
    with stop_on_interrupt() as stop, progress("writing masks", stop=stop) as bar:
        written = export_masks(store, target, kind, compressed=not uncompressed, monitor=bar)
        stopped = stop()
    out.print(f"{len(written)} {'mask' if len(written) == 1 else 'masks'}: {target}", markup=False, highlight=False)
    write_json(json_file, {"written": written, "out": str(target), "format": kind})
    if stopped:
        raise CommandStopped


def _kind_of(target: Path) -> str:
    """Return how masks are written by the name that the user gave, which is a folder's where it has no ending."""
    kind = {".npz": "npz", ".json": "coco", "": "png"}.get(target.suffix.lower(), "png" if target.is_dir() else None)
    if kind is None:
        raise ConfigError(
            f"Masks cannot be written as {target.name}; let the name after --out end in .npz or .json (COCO), or say "
            "--format png or --format tiff, for a folder."
        )
    return kind


def merge(
    mine: Annotated[Path, typer.Argument(help="Folder of masks, or a project.", show_default=False)],
    theirs: Annotated[Path, typer.Argument(help="Somebody else's.", show_default=False)],
    out_dir: Annotated[Path, typer.Option("--out", help="A new folder for the merged masks.", show_default=False)],
    conflicts: Annotated[
        str | None,
        typer.Option(
            help="Where both painted and differ: mine, theirs, union, intersection or newest.",
            show_default="say so and stop",
        ),
    ] = None,
    choose: Annotated[
        list[str] | None, typer.Option(help="KEY=CHOICE for one image; repeatable.", show_default=False)
    ] = None,
    json_file: Json = None,
) -> None:
    """Merge the masks of two people into a new folder; both stay as they are.

    Where they differ, a table shows by how much (IoU, intersection over union), who painted and when.
    """
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.feedback.exchange.merging import compare_masks, merge_masks

    ours, others = _existing(mine), _existing(theirs)
    for each in (ours, others):
        if each.folder.resolve() == out_dir.resolve():
            raise ConfigError(f"{out_dir} holds masks to be merged; choose a new folder, so that none is lost.")
    choices = dict(_choice(text) for text in choose or [])
    with stop_on_interrupt() as stop, progress("comparing", stop=stop) as bar:
        found = compare_masks(ours, others, monitor=bar)
        if stop():
            raise CommandStopped
    _show_differences(found)
    with stop_on_interrupt() as stop, progress("writing masks", stop=stop) as bar:
        result = merge_masks(
            ours, others, MaskStore(out_dir), conflicts=conflicts, choices=choices, found=found, monitor=bar
        )
        stopped = stop()
    for key in result.empty:
        remark(f"{key}: the two masks have no pixel in common, so it has none now")
    count = len(result.taken) - len(result.empty)
    out.print(f"{count} {'mask' if count == 1 else 'masks'}. Folder: {out_dir}", markup=False, highlight=False)
    write_json(json_file, {**found.to_json(), "taken": result.taken, "empty": result.empty, "out": str(out_dir)})
    if stopped:
        raise CommandStopped


def _show_differences(found: MaskDifferences) -> None:
    rows = [
        ["only mine", str(len(found.only_mine))],
        ["only theirs", str(len(found.only_theirs))],
        ["the same", str(len(found.equal))],
        ["different", str(len(found.conflicts))],
    ]
    show_table("Images with a mask", ["", "images"], rows, numbers=1)
    conflicts = sorted(found.conflicts.values(), key=lambda each: (each.iou is not None, each.iou, each.key))
    shown = [
        [
            each.key,
            "sizes differ" if each.iou is None else f"{each.iou:.2f}",
            *(f"{side.painted} px, {side.author or '?'}, {(side.time or '?')[:16]}" for side in (each.mine, each.theirs)),
        ]
        for each in conflicts[:MAX_CONFLICTS]
    ]
    if shown:
        show_table("Conflicts, the worst first", ["image", "IoU", "mine", "theirs"], shown, numbers=0)
    if len(conflicts) > MAX_CONFLICTS:
        out.print(f"and {len(conflicts) - MAX_CONFLICTS} more", highlight=False)
    for key, sentence in found.unreadable.items():
        remark(f"left out: {key}: {sentence}")


def _choice(text: str) -> tuple[str, str]:
    key, sign, choice = text.rpartition("=")
    if not sign:
        raise ConfigError(f"--choose needs KEY=CHOICE, as train/cat/1.png=theirs, not {text!r}.")
    return key, choice


def _open_store(folder: Path) -> MaskStore:
    """Open a folder of masks, made when the first is written; of a project, its masks."""
    from napari_cam_feedback.feedback import MaskStore

    return MaskStore(folder / "masks" if (folder / "project.json").is_file() else folder)


def _existing(folder: Path) -> MaskStore:
    """Open masks that must be there; pictures that are no masks, as a dataset's, are not taken for some."""
    from napari_cam_feedback.feedback.masks.index import INDEX_NAME

    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name a folder that holds masks, or a project.")
    store = _open_store(folder)
    if not len(store):
        raise DataError(f"There are no masks in {folder}; name a folder that holds masks (<key>.png), or a project.")
    picture = None if (store.folder / INDEX_NAME).is_file() else _no_mask(store)
    if picture is not None:
        inner = folder / "masks"
        hint = f"name {inner}" if inner.is_dir() else "name a folder that holds masks, or a project"
        raise DataError(
            f"{folder} holds pictures that are no masks: {picture} has more than two values, and a mask is black and white; "
            f"{hint}."
        )
    return store


def _no_mask(store: MaskStore) -> str | None:
    """Return the first of some files that is a picture of something, not a mask; None where all may be masks."""
    import numpy as np

    from napari_cam_feedback.data.pixels.images import open_image

    keys = sorted(store)
    for key in keys[:: max(1, len(keys) // MAX_FILES_CHECKED)]:
        file = store.file(key)
        if file is None:
            continue
        try:
            with open_image(file) as image:
                several = len(np.unique(np.asarray(image))) > 2
        except Exception:  # as Pillow raises for broken files
            continue  # said when it is read
        if several:
            return file.relative_to(store.folder).as_posix()
    return None
