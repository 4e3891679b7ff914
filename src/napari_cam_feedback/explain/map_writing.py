"""Writing the maps of a whole split into files as they are made."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.explain.map_files import npz_file, tiff_folder
from napari_cam_feedback.explain.split_maps import Progress, Targets, are_several, check_any, iterate_maps
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.interrupt import Interrupted, interruptible


@dataclass(frozen=True)
class MapsWritten:
    """What `write_maps` has written.

    Attributes
    ----------
    path : Path
        The ``.npz`` file or the folder.
    n : int
        Items whose maps are there.
    total : int
        Items of the split.
    skipped : dict
        Key and sentence for each image that could not be read.
    stopped : bool
        Whether it was stopped before the end. A folder then has whole files of some items; an ``.npz`` is not written,
        and what was at its place stays.
    """

    path: Path
    n: int
    total: int
    skipped: dict[str, str]
    stopped: bool = False


def write_maps(
    classifier: Classifier,
    dataset: Dataset,
    path: str | Path,
    *,
    method: str | None = None,
    target: Targets = "predicted",
    split: str | None = "test",
    batch_size: int = 64,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> MapsWritten:
    """Write the attribution map of every image of a split into files, as it is made.

    Memory does not grow with the number of images.

    Parameters
    ----------
    classifier, dataset, method, target, split, batch_size, progress
        As for `explain`.
    path : path
        An ``.npz`` (`npz_file`), or else a folder, for one TIFF an image (`tiff_folder`).
    stop : callable, optional
        Asked at each layer of the network; True ends, see `MapsWritten`.

    Raises
    ------
    DataError
        There is no such split, no image of it can be read, its images do not fit one array, or a file would lie outside
        the folder.
    ModelError, ConfigError
        The method or the class does not suit the model.
    StorageError
        A file cannot be written.
    """
    steps = writing_maps(
        classifier, dataset, path, method=method, target=target, split=split, batch_size=batch_size, stop=stop
    )
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None:
            progress(done, total)


def writing_maps(
    classifier: Classifier,
    dataset: Dataset,
    path: str | Path,
    *,
    method: str | None = None,
    target: Targets = "predicted",
    split: str | None = "test",
    batch_size: int = 64,
    stop: Callable[[], bool] | None = None,
) -> Generator[tuple[int, int], None, MapsWritten]:
    """Do what `write_maps` does, yielding the images done and in all after each batch."""
    check_fits(classifier, dataset)
    path = Path(path)
    indices = dataset.indices(split)
    cache = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    batches = iterate_maps(classifier, dataset, indices, method=method, target=target, batch_size=batch_size, cache=cache)
    npz = path.suffix == ".npz"
    done = 0
    try:
        with nullcontext() if stop is None else interruptible(classifier.module, stop):
            # What does not work at all is found out before anything is written.
            first = next(batches, [])
            check_any(len(first), indices, split, cache)
            files = (
                npz_file(path, len(indices), dataset.keys.__getitem__, several=are_several(target))
                if npz
                else tiff_folder(path, (dataset.keys[int(index)] for index in indices))
            )
            with files as add:
                for batch in chain([first], batches):
                    for item in batch:
                        if stop is not None and stop():
                            raise Interrupted
                        add(item)
                        done += 1
                    yield done + len(cache.skipped), len(indices)
    except Interrupted:
        # What was begun of an .npz is gone with its temporary file.
        return MapsWritten(path, 0 if npz else done, len(indices), cache.skipped, stopped=True)
    return MapsWritten(path, done, len(indices), cache.skipped)
