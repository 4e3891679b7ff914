"""Maps of a whole split, batch by batch: as a stream, or in memory at the layer's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.explanations.maps.files import npz_file
from napari_cam_feedback.explanations.maps.registry import default_method, get_method
from napari_cam_feedback.explanations.targets import Target, class_index, resolve_target
from napari_cam_feedback.models.classifier import Classifier, check_fits
from napari_cam_feedback.models.parallel import autocast, own_blocks, world_of
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: One class for each image, as `Target` says it; or the same several for all: ``all``, or names and indices.
Targets = Target | Sequence[Target]

# Maps that a batch may hold: with many classes, fewer images go together.
_MAPS_AT_ONCE = 640
# Maps are enlarged within so much memory, in bytes.
_BLOCK = 32 << 20


@dataclass(frozen=True, slots=True)
class ItemMap:
    """The map of one item, or its maps for several classes, held at the target layer's size.

    Attributes
    ----------
    index, key : int, str
        Which item.
    targets : ndarray
        (T,) int64, classes explained; T = 1 unless several were asked for.
    class_names : tuple of str
        Their names.
    method : str
        How they were explained.
    raw : ndarray
        (T, h, w) float32, signed, at the target layer's size.
    size : tuple of int
        (H, W) of the image.
    preprocessing : Preprocessing
        Of the classifier; places the maps on the image.
    predicted : int
        The class predicted; -1 where nobody noted it.
    probabilities : ndarray
        (T,) float32, of the classes explained.
    """

    index: int
    key: str
    targets: np.ndarray
    class_names: tuple[str, ...]
    method: str
    raw: np.ndarray
    size: tuple[int, int]
    preprocessing: Preprocessing
    predicted: int = -1
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def target(self) -> int:
        """The class explained; of several, the first."""
        return int(self.targets[0])

    @property
    def map(self) -> np.ndarray:
        """(H, W) float32, signed, in image pixels; of several classes, the first's."""
        return self._enlarged(self.raw[:1])[0]

    @property
    def maps(self) -> np.ndarray:
        """(T, H, W) float32, signed, in image pixels."""
        return self._enlarged(self.raw)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield `maps` in parts (t, H, W) of little memory."""
        step = max(1, _BLOCK // max(1, 4 * self.size[0] * self.size[1]))
        for start in range(0, len(self.raw), step):
            yield self._enlarged(self.raw[start : start + step])

    def _enlarged(self, raw: np.ndarray) -> np.ndarray:
        return self.preprocessing.to_image(torch.from_numpy(raw), self.size).numpy()


class ImageMaps(Sequence[np.ndarray]):
    """Maps in image pixels, each enlarged when it is asked for: (H, W) float32, or (T, H, W) of several classes."""

    def __init__(self, items: Sequence[ItemMap], *, several: bool) -> None:
        self._items, self._several = items, several

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> ImageMaps: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | ImageMaps:
        if isinstance(index, slice):
            return ImageMaps(self._items[index], several=self._several)
        item = self._items[index]
        return item.maps if self._several else item.map


@dataclass
class Explanations:
    """Maps of many items, in the dataset's order, held at the target layer's size and enlarged when asked for.

    Attributes
    ----------
    items : list of ItemMap
        What is held.
    skipped : dict
        Key and sentence for each image that could not be read.
    several : bool
        Whether each item has the maps of the same several classes.
    """

    items: list[ItemMap] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    several: bool = False

    @property
    def keys(self) -> list[str]:
        """Items."""
        return [item.key for item in self.items]

    @property
    def targets(self) -> list[int]:
        """Class explained, for each item; or the several classes, the same for all items."""
        if self.several:
            return [int(target) for item in self.items[:1] for target in item.targets]
        return [item.target for item in self.items]

    @property
    def maps(self) -> ImageMaps:
        """For each item (H, W) float32, signed, in image pixels; or (T, H, W) of several classes."""
        return ImageMaps(self.items, several=self.several)

    def save_npz(self, path: str | Path) -> None:
        """Write ``maps``, ``keys`` and ``targets``; see `npz_file`, also for what it raises."""
        keys = {item.index: item.key for item in self.items}
        with npz_file(path, len(self.items), keys.__getitem__, several=self.several) as add:
            for item in self.items:
                add(item)


def are_several(target: Targets) -> bool:
    """Tell whether each image is to get the maps of the same several classes."""
    return target == "all" or not isinstance(target, str | int)


def resolve_targets(target: Targets, class_names: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """Return the classes to explain for each of N images, (N, T) int64, -1 where it is the predicted one.

    Parameters
    ----------
    target : str, int or sequence
        As `resolve_target` takes it; or ``"all"``; or several class names or indices.
    class_names : sequence of str
        The K classes.
    labels : ndarray
        (N,) int64.

    Raises
    ------
    ConfigError
        There is no such class, or ``true``, ``predicted`` or ``all`` is one of several.
    """
    if target == "all":
        chosen = np.arange(len(class_names))
    elif isinstance(target, str | int):
        return resolve_target(target, class_names, labels)[:, None]
    else:
        alone = [each for each in target if each in ("true", "predicted", "all") and each not in class_names]
        if alone:
            raise ConfigError(f"{alone[0]!r} stands alone; to have several maps an image, name classes only.")
        chosen = np.array([class_index(each, class_names) for each in target], np.int64)
    return np.broadcast_to(chosen, (len(labels), len(chosen)))


def iterate_maps(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    *,
    method: str | None = None,
    target: Targets = "predicted",
    batch_size: int = 64,
    cache: InputCache | None = None,
    fabric: Fabric | None = None,
) -> Iterator[list[ItemMap]]:
    """Yield the maps of a batch of items at a time; memory does not grow with their number.

    With many classes a batch has fewer than `batch_size` items. Where the target layer has no places, a ModelError says so.
    With a Fabric of several processes these are this process's batches; each process yields as many, the last of them
    possibly empty.
    """
    classifier.check_places()
    method = method or default_method(classifier)
    explainer = get_method(method)
    cache = cache or InputCache(dataset, classifier.preprocessing, max_bytes=0)
    names = classifier.class_names
    count = resolve_targets(target, names, np.zeros(1, np.int64)).shape[1]
    size = max(1, min(batch_size, _MAPS_AT_ONCE // max(1, count)))
    for picked, inputs in _own_batches(cache, indices, size, fabric):
        if not len(picked):
            yield []
            continue
        classes = resolve_targets(target, names, dataset.labels[picked])
        with autocast(fabric):
            found = explainer(classifier, inputs, torch.from_numpy(classes.copy()))
        raw, explained = found.maps.float().cpu().numpy(), found.classes.cpu().numpy()
        probabilities = found.logits.float().softmax(1).cpu().numpy()
        yield [
            ItemMap(
                int(index),
                dataset.keys[int(index)],
                explained[n],
                tuple(names[int(k)] for k in explained[n]),
                method,
                raw[n],
                dataset.image_size(int(index)),
                classifier.preprocessing,
                int(probabilities[n].argmax()),
                probabilities[n, explained[n]],
            )
            for n, index in enumerate(picked)
        ]


def _own_batches(
    cache: InputCache, indices: np.ndarray, size: int, fabric: Fabric | None
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    world = world_of(fabric)[1]
    if world == 1:
        yield from cache.batches(indices, size)
        return
    nothing = np.empty(0, np.int64), torch.empty(0)
    blocks = own_blocks(indices, size, fabric)
    for _, block in blocks:
        yield next(cache.batches(block, size), nothing)
    if len(blocks) < -(-len(indices) // (size * world)):
        yield nothing


@takes_monitor
def explain(
    classifier: Classifier,
    dataset: Dataset,
    *,
    method: str | None = None,
    target: Targets = "predicted",
    split: str | None = "test",
    batch_size: int = 64,
    monitor: Monitor = QUIET,
) -> Explanations:
    """Make the attribution map of every image of a split.

    The maps are held at the target layer's size, which is little, and enlarged when they are read. For more images than
    that suits, `write_maps` puts them into files, and `iterate_maps` gives them batch by batch; both within memory that
    does not grow with the number of images.

    Parameters
    ----------
    classifier : Classifier
        What to explain.
    dataset : Dataset
        Images.
    method : str, optional
        A key of `METHODS`; by default ``cam`` where the model allows it, else ``gradcam``.
    target : str, int or sequence
        ``true``, ``predicted``, a class name or index; or ``all`` or several classes, for a map of each.
    split : str, optional
        None for all.
    batch_size : int
        Images at a time.
    monitor : Monitor, optional
        Told of images done and in all.
        Once stopped, the work ends with what there is.

    Raises
    ------
    DataError
        There is no such split, or no image of it can be read.
    ModelError, ConfigError
        The method or the class does not suit the model, or its target layer has no places.
    """
    check_fits(classifier, dataset)
    indices = dataset.indices(split)
    cache = InputCache(dataset, classifier.preprocessing, max_bytes=0)
    result = Explanations(skipped=cache.skipped, several=are_several(target))
    batches = iterate_maps(classifier, dataset, indices, method=method, target=target, batch_size=batch_size, cache=cache)
    for batch in batches:
        result.items += batch
        monitor.progress(len(result.items) + len(result.skipped), len(indices))
        if monitor.stopped:
            break
    check_any(len(result.items), indices, split, cache)
    return result


def check_any(done: int, indices: np.ndarray, split: str | None, cache: InputCache) -> None:
    """Raise DataError where there are images and none could be read."""
    if len(indices) and not done:
        raise DataError(f"No image of the split {split} could be read: {next(iter(cache.skipped.values()), '')}")
