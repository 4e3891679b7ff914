"""Maps of a whole split, batch by batch, for scripts and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import tifffile

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explain.methods import default_method, get_method
from napari_cam_feedback.explain.targets import Target, resolve_target
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.torch_loader import torch

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ItemMap:
    """The map of one item.

    Attributes
    ----------
    index, key : int, str
        Which item.
    target : int
        Class explained.
    map : ndarray
        (H, W) float32, signed, in image pixels.
    """

    index: int
    key: str
    target: int
    map: np.ndarray


@dataclass
class Explanations:
    """Maps of many items, in the dataset's order.

    Attributes
    ----------
    keys : list of str
        Items.
    targets : list of int
        Class explained, for each item.
    maps : list of ndarray
        (H, W) float32 signed maps in image pixels.
    skipped : dict
        Key and sentence for each image that could not be read.
    """

    keys: list[str] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def save_npz(self, path: str | Path) -> None:
        """Write ``maps`` (N, H, W) float32, ``keys`` and ``targets``.

        Raises
        ------
        DataError
            The images are of several sizes; write to a folder then.
        """
        if len({m.shape for m in self.maps}) > 1:
            raise DataError("The images are of different sizes, so their maps do not fit one array; give a folder as --out.")
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                maps=np.stack(self.maps) if self.maps else np.empty((0, 0, 0), np.float32),
                keys=np.array(self.keys, dtype=np.str_),
                targets=np.array(self.targets, np.int64),
            )

    def save_folder(self, folder: str | Path) -> None:
        """Write one float32 TIFF per item, ``<folder>/<key>.tif``.

        Raises
        ------
        DataError
            A key, or a link in the folder, leads out of the folder; nothing is written then.
        StorageError
            A file cannot be written.
        """
        places = [_place(Path(folder), key) for key in self.keys]
        for place, signed in zip(places, self.maps, strict=True):
            with atomic_path(place) as temporary:
                tifffile.imwrite(temporary, signed)


def _place(folder: Path, key: str) -> Path:
    """Return the file of an item's map; refuse one that would lie outside the folder."""
    # A project moves between systems, so a key must stay inside however its slashes are read.
    for path in (PurePosixPath(key), PureWindowsPath(key)):
        if path.anchor or ".." in path.parts or not path.parts or "\0" in key:
            raise DataError(f"The map of {key!r} would be written outside {folder}; rename that image in the dataset.")
    place = folder / f"{key}.tif"
    if not place.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{place.parent} leads out of {folder} by a link; remove the link or choose another folder as --out."
        )
    return place


def iterate_maps(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    *,
    method: str | None = None,
    target: Target = "predicted",
    batch_size: int = 64,
    cache: InputCache | None = None,
) -> Iterator[list[ItemMap]]:
    """Yield the maps of a batch of items at a time; memory does not grow with their number."""
    explainer = get_method(method or default_method(classifier))
    cache = cache or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    preprocessing = classifier.preprocessing
    for picked, inputs in cache.batches(indices, batch_size):
        classes = resolve_target(target, classifier.class_names, dataset.labels[picked])
        found = explainer(classifier, inputs, torch.from_numpy(classes)[:, None])
        maps = found.maps[:, 0].float().cpu()
        yield [
            ItemMap(
                int(index),
                dataset.keys[int(index)],
                int(found.classes[n, 0]),
                preprocessing.to_image(maps[n], dataset.image_size(int(index))).numpy(),
            )
            for n, index in enumerate(picked)
        ]


def explain(
    classifier: Classifier,
    dataset: Dataset,
    *,
    method: str | None = None,
    target: Target = "predicted",
    split: str | None = "test",
    batch_size: int = 64,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Explanations:
    """Make the attribution map of every image of a split.

    Parameters
    ----------
    classifier : Classifier
        What to explain.
    dataset : Dataset
        Images.
    method : str, optional
        A key of `METHODS`; by default ``cam`` where the model allows it, else ``gradcam``.
    target : str or int
        ``true``, ``predicted``, a class name or index.
    split : str, optional
        None for all.
    batch_size : int
        Images at a time.
    progress : callable, optional
        Called with images done and in all.
    stop : callable, optional
        Asked before each batch; True ends with what there is.

    Raises
    ------
    DataError
        There is no such split, or no image of it can be read.
    ModelError, ConfigError
        The method or the class does not suit the model.
    """
    check_fits(classifier, dataset)
    indices = dataset.indices(split)
    cache = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    result = Explanations(skipped=cache.skipped)
    batches = iterate_maps(classifier, dataset, indices, method=method, target=target, batch_size=batch_size, cache=cache)
    for batch in batches:
        for item in batch:
            result.keys.append(item.key)
            result.targets.append(item.target)
            result.maps.append(item.map)
        if progress is not None:
            progress(len(result.keys) + len(result.skipped), len(indices))
        if stop is not None and stop():
            break
    if len(indices) and not result.keys:
        raise DataError(f"No image of the split {split} could be read: {next(iter(result.skipped.values()), '')}")
    return result
