"""Writing the maps of a whole split into files as they are made, by one process or by several."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.explanations.maps.files import Add, npz_file, tiff_folder
from napari_cam_feedback.explanations.maps.pictures import map_table, picture_folder
from napari_cam_feedback.explanations.maps.split import ItemMap, Targets, are_several, check_any, iterate_maps
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.layers.interrupt import Interrupted, interruptible
from napari_cam_feedback.models.parallel import agreed, any_of, gather_rows, gather_skipped, world_of
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.steps import run_to_end

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Round:
    """A batch of each process.

    Attributes
    ----------
    n : int
        Items in all.
    own : list of ItemMap
        This process's.
    merged : list of ItemMap
        In the first of several processes those of all, in the dataset's order; else none.
    """

    n: int
    own: list[ItemMap]
    merged: list[ItemMap]


def rounds_of(
    batches: Iterator[list[ItemMap]], classifier: Classifier, dataset: Dataset, *, merge: bool, fabric: Fabric | None
) -> Iterator[Round]:
    """Yield the batches of all processes, one of each at a time; memory does not grow with their number.

    What travels are the maps at the target layer's size, which is little.

    Parameters
    ----------
    batches : iterator
        Of `iterate_maps`, with the same Fabric.
    classifier, dataset
        As there.
    merge : bool
        Whether the first process is to have the maps of all.
    fabric : Fabric or None
        Launched.
    """
    if fabric is None or fabric.world_size == 1:
        yield from (Round(len(batch), batch, []) for batch in batches)
        return
    while True:
        with agreed(fabric):
            own = next(batches, None)
        if own is None:
            return
        if merge:
            tables = [gather_rows(table, fabric) for table in _tables(own)]
            n = len(tables[0])
            merged = _items(tables, own, classifier, dataset) if fabric.is_global_zero else []
        else:
            n, merged = len(gather_rows(np.zeros(len(own)), fabric)), []
        yield Round(n, own, merged)


def _tables(items: list[ItemMap]) -> list[np.ndarray]:
    """The items as arrays: index, height, width and class predicted; classes explained; probabilities; maps."""
    if not items:
        return [np.empty(shape, kind) for shape, kind in (((0, 0), int), ((0, 0), int), ((0, 0), "f4"), ((0,) * 4, "f4"))]
    return [
        np.array([(item.index, *item.size, item.predicted) for item in items], np.int64),
        np.stack([item.targets for item in items]).astype(np.int64),
        np.stack([item.probabilities for item in items]).astype(np.float32),
        np.stack([item.raw for item in items]).astype(np.float32),
    ]


def _items(tables: list[np.ndarray], own: list[ItemMap], classifier: Classifier, dataset: Dataset) -> list[ItemMap]:
    names = classifier.class_names
    method = own[0].method if own else ""
    return [
        ItemMap(
            int(index),
            dataset.keys[int(index)],
            targets,
            tuple(names[int(target)] for target in targets),
            method,
            raw,
            (int(height), int(width)),
            classifier.preprocessing,
            int(predicted),
            probabilities,
        )
        for (index, height, width, predicted), targets, probabilities, raw in zip(*tables, strict=True)
    ]


@dataclass(frozen=True)
class MapsWritten:
    """What `write_maps` has written.

    Attributes
    ----------
    path : Path
        The ``.npz`` file or the folder; else the folder of pictures, else the table.
    n : int
        Items whose maps are there.
    total : int
        Items of the split.
    skipped : dict
        Key and sentence for each image that could not be read.
    stopped : bool
        Whether it was stopped before the end. A folder then has whole files of some items; an ``.npz`` or a table is not
        written, and what was at its place stays.
    """

    path: Path
    n: int
    total: int
    skipped: dict[str, str]
    stopped: bool = False


@takes_monitor
def write_maps(
    classifier: Classifier,
    dataset: Dataset,
    path: str | Path | None,
    *,
    method: str | None = None,
    target: Targets = "predicted",
    split: str | None = "test",
    batch_size: int = 64,
    pictures: str | Path | None = None,
    table: str | Path | None = None,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> MapsWritten:
    """Write the attribution map of every image of a split into files, as it is made.

    Memory does not grow with the number of images.

    Parameters
    ----------
    classifier, dataset, method, target, split, batch_size
        As for `explain`.
    path : path or None
        An ``.npz`` (`npz_file`), or else a folder, for one TIFF an image (`tiff_folder`); None for neither.
    pictures : path, optional
        Folder for a PNG of each image with its maps over it (`picture_folder`).
    table : path, optional
        CSV with a row for each map (`map_table`).
    monitor : Monitor, optional
        Told of images done and in all; asked at each layer of the network (of several processes, between their batches)
        whether to stop, see `MapsWritten`.
    fabric : Fabric, optional
        Launched, to share the images among its processes, and for its precision. Each process writes the TIFFs and pictures
        of its images; the first one writes the ``.npz`` and the table, as one process would.

    Raises
    ------
    DataError
        There is no such split, no image of it can be read, its images do not fit one array, or a file would lie outside
        the folder.
    ModelError, ConfigError
        The method or the class does not suit the model, or its target layer has no places; or nothing is to be written.
    StorageError
        A file cannot be written.
    """
    steps = writing_maps(
        classifier,
        dataset,
        path,
        method=method,
        target=target,
        split=split,
        batch_size=batch_size,
        pictures=pictures,
        table=table,
        monitor=monitor,
        fabric=fabric,
    )
    return run_to_end(steps)


@takes_monitor
def writing_maps(
    classifier: Classifier,
    dataset: Dataset,
    path: str | Path | None,
    *,
    method: str | None = None,
    target: Targets = "predicted",
    split: str | None = "test",
    batch_size: int = 64,
    pictures: str | Path | None = None,
    table: str | Path | None = None,
    monitor: Monitor = QUIET,
    fabric: Fabric | None = None,
) -> Generator[tuple[int, int], None, MapsWritten]:
    """Do what `write_maps` does, yielding the images done and in all after each batch."""
    check_fits(classifier, dataset)
    chosen = [Path(each) for each in (path, pictures, table) if each is not None]
    if not chosen:
        raise ConfigError("Nothing is to be written; name a file or a folder for the maps, pictures or the table.")
    indices = dataset.indices(split)
    cache = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    batches = iterate_maps(
        classifier, dataset, indices, method=method, target=target, batch_size=batch_size, cache=cache, fabric=fabric
    )
    as_npz = path is not None and Path(path).suffix == ".npz"
    by_item = pictures is not None or (path is not None and not as_npz)
    rank, world = world_of(fabric)
    alone = world == 1
    rounds = rounds_of(batches, classifier, dataset, merge=as_npz or table is not None, fabric=fabric)
    done = 0
    try:
        # Of several processes none may leave the others waiting within a batch.
        with nullcontext() if monitor is QUIET or not alone else interruptible(classifier.module, monitor):
            # What does not work at all is found out before anything is written.
            first = next((each for each in rounds if each.n), Round(0, [], []))
            check_any(first.n, indices, split, cache)
            with ExitStack() as files:
                own: list[Add] = []
                # What is one file is written by the first process.
                merged: list[Add] = own if alone else []
                with agreed(fabric):
                    if path is not None and not as_npz:
                        own.append(files.enter_context(tiff_folder(path, _keys(dataset, indices))))
                    if pictures is not None:
                        own.append(files.enter_context(picture_folder(pictures, dataset, _keys(dataset, indices))))
                    if path is not None and as_npz and rank == 0:
                        key_of, several = dataset.keys.__getitem__, are_several(target)
                        merged.append(files.enter_context(npz_file(path, len(indices), key_of, several=several)))
                    if table is not None and rank == 0:
                        merged.append(files.enter_context(map_table(table, dataset, classifier.class_names)))
                for each in chain([first], rounds):
                    if not alone and any_of(monitor.stopped, fabric):
                        raise Interrupted
                    before = done
                    with agreed(fabric):
                        for item in each.own:
                            if alone and monitor.stopped:
                                raise Interrupted
                            for add in own:
                                add(item)
                            done += 1
                        for item in each.merged:
                            for add in merged:
                                add(item)
                    done = before + each.n
                    monitor.progress(done + len(cache.skipped), len(indices))
                    yield done + len(cache.skipped), len(indices)
                with agreed(fabric):
                    files.close()
    except Interrupted:
        # What was begun of one file is gone with its temporary file.
        skipped = gather_skipped(cache.skipped, fabric)
        return MapsWritten(chosen[0], done if by_item else 0, len(indices), skipped, stopped=True)
    return MapsWritten(chosen[0], done, len(indices), gather_skipped(cache.skipped, fabric))


def _keys(dataset: Dataset, indices: np.ndarray) -> Iterator[str]:
    return (dataset.keys[int(index)] for index in indices)
