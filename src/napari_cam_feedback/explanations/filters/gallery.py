"""The gallery of a filter: images from its least to its greatest activation, shown where it is active; also as a picture.

After Ferrada 2019, section 7.1.2: equal bins between the least and the greatest mean activation over a split, some random
images from each, each visible only where the filter's map passes Otsu's threshold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.explanations.display import thumbnail
from napari_cam_feedback.explanations.filters.features import Features, batch_for
from napari_cam_feedback.explanations.filters.statistics import check_filter
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, takes_monitor
from napari_cam_feedback.torch_loader import torch

_OTSU_BINS = 256


@dataclass(frozen=True)
class GalleryPlan:
    """Which images a gallery shows.

    Attributes
    ----------
    edges : ndarray
        (B + 1,) float64, bounds of the bins of mean activation.
    counts : ndarray
        (B,) int64, images of the split in each bin.
    rows : tuple of ndarray
        For each bin the rows of the features chosen from it, by rising activation; may be empty.
    """

    edges: np.ndarray
    counts: np.ndarray
    rows: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Tile:
    """One image of a gallery.

    Attributes
    ----------
    bin : int
        0 for the least active.
    place : int
        Its place in the bin, from 0.
    index, key : int, str
        The item.
    label : int or None
        True class, where known.
    predicted : int
        Class predicted.
    activation : float
        Mean activation of the filter in the image.
    image : ndarray
        (h, w, 3) uint8, the image made small (never larger than it is).
    mask : ndarray
        (h, w) bool, where the filter's map passes Otsu's threshold; all False where the map is constant, and all that the
        network sees where the layer has no places.
    """

    bin: int
    place: int
    index: int
    key: str
    label: int | None
    predicted: int
    activation: float
    image: np.ndarray
    mask: np.ndarray

    def shown(self, dim: float = 0.0) -> np.ndarray:
        """Return the image (h, w, 3) uint8 where the mask is; elsewhere darkened to the share `dim` (0: black)."""
        return np.where(self.mask[..., None], self.image, (self.image * np.float32(dim)).astype(np.uint8))


@dataclass(frozen=True)
class Gallery:
    """The gallery of one filter.

    Attributes
    ----------
    filter : int
        Its number.
    plan : GalleryPlan
        Bins and choice.
    tiles : tuple of Tile
        By bin, then by rising activation.
    complete : bool
        False where it was stopped.
    """

    filter: int
    plan: GalleryPlan
    tiles: tuple[Tile, ...]
    complete: bool = True


def plan_gallery(features: Features, number: int, *, bins: int = 9, per_bin: int = 9, seed: int = 0) -> GalleryPlan:
    """Choose the images of a gallery.

    Parameters
    ----------
    features : Features
        Of the split.
    number : int
        Filter.
    bins, per_bin : int
        Bins of equal width, and images from each at most.
    seed : int
        The choice depends on it, the filter and the features alone.

    Raises
    ------
    ConfigError
        There is no such filter.
    """
    check_filter(number, features.filters)
    values = features.mean[:, number].astype(np.float64)
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high, bins + 1)
    # Equal values, as of a dead filter, are all in the first bin; the greatest value is in the last one.
    width = (high - low) / bins
    member = (
        np.clip(((values - low) / width).astype(np.int64), 0, bins - 1) if width > 0 else np.zeros(len(values), np.int64)
    )
    rng = np.random.default_rng([seed, number])
    chosen = []
    for n in range(bins):
        rows = rng.permutation(np.flatnonzero(member == n))[:per_bin]
        chosen.append(rows[np.argsort(values[rows], kind="stable")])
    return GalleryPlan(edges, np.bincount(member, minlength=bins), tuple(chosen))


def iterate_tiles(
    classifier: Classifier,
    dataset: Dataset,
    features: Features,
    number: int,
    plan: GalleryPlan,
    *,
    size: int = 96,
    inputs: InputCache | None = None,
) -> Iterator[list[Tile]]:
    """Yield the tiles of a gallery, a batch at a time; images that cannot be read any more are left out.

    Parameters
    ----------
    classifier : Classifier
        That the features are of.
    dataset : Dataset
        Images.
    features : Features
        Of the split.
    number : int
        Filter.
    plan : GalleryPlan
        What to show.
    size : int
        The longer side of a tile, in pixels, at most. Maps are made at this resolution, not at the image's.
    inputs : InputCache, optional
        Inputs read before.
    """
    preprocessing = classifier.preprocessing
    inputs = inputs or InputCache(dataset, preprocessing, max_bytes=0)
    where = {int(features.indices[row]): (n, p, int(row)) for n, rows in enumerate(plan.rows) for p, row in enumerate(rows)}
    for picked, batch in inputs.batches(where, min(batch_for(preprocessing.size), 27)):
        logits, activations = classifier.forward_with_activations(batch)
        maps = activations[:, number].float().cpu()
        predicted = logits.argmax(1).cpu().numpy()
        tiles = []
        for n, index in enumerate(picked.tolist()):
            image = thumbnail(dataset.read(index), size, preprocessing.value_range)
            in_bin, place, row = where[index]
            item = dataset.item(index)
            tiles.append(
                Tile(
                    bin=in_bin,
                    place=place,
                    index=index,
                    key=item.key,
                    label=item.label,
                    predicted=int(predicted[n]),
                    activation=float(features.mean[row, number]),
                    image=image,
                    mask=active_area(maps[n], preprocessing, (image.shape[0], image.shape[1])),
                )
            )
        yield tiles


@takes_monitor
def gallery(
    classifier: Classifier,
    dataset: Dataset,
    features: Features,
    number: int,
    *,
    bins: int = 9,
    per_bin: int = 9,
    size: int = 96,
    seed: int = 0,
    inputs: InputCache | None = None,
    monitor: Monitor = QUIET,
) -> Gallery:
    """Make the gallery of a filter; parameters are as of `plan_gallery` and `iterate_tiles`.

    Raises
    ------
    ConfigError
        There is no such filter.
    """
    plan = plan_gallery(features, number, bins=bins, per_bin=per_bin, seed=seed)
    total = sum(len(rows) for rows in plan.rows)
    tiles: list[Tile] = []
    complete = True
    for batch in iterate_tiles(classifier, dataset, features, number, plan, size=size, inputs=inputs):
        tiles += batch
        monitor.progress(len(tiles), total)
        if len(tiles) < total and monitor.stopped:
            complete = False
            break
    return Gallery(number, plan, tuple(tiles), complete)


def active_area(map_: torch.Tensor, preprocessing: Preprocessing, image_size: tuple[int, int]) -> np.ndarray:
    """Return where a filter's map passes Otsu's threshold, bool (H, W) in image pixels.

    A feature that has no place (a map of 1x1) is one of the whole image: all that the network sees.

    Parameters
    ----------
    map_ : Tensor
        (h, w) float activations of one filter.
    preprocessing : Preprocessing
        How the input lies on the image; what the network does not see is outside, and has no say in the threshold.
    image_size : tuple of int
        (H, W).
    """
    from skimage.filters import threshold_otsu  # takes a while to load

    if map_.numel() == 1:
        return seen_area(preprocessing, image_size)
    values = preprocessing.to_image(map_, image_size).numpy()
    seen = seen_area(preprocessing, image_size)
    inside = values[seen]
    # Of a constant map bilinear weights leave rounding errors, no contrast.
    spread = float(np.ptp(inside)) if inside.size else 0.0
    if spread <= 1e-5 * float(np.abs(inside).max(initial=0.0)):
        return np.zeros(image_size, bool)
    # The threshold is the middle of one of the histogram's bins, which belongs below it as a whole.
    return (values > threshold_otsu(inside, nbins=_OTSU_BINS) + spread / (2 * _OTSU_BINS)) & seen


def seen_area(preprocessing: Preprocessing, image_size: tuple[int, int]) -> np.ndarray:
    """Return the image pixels that the network sees, bool (H, W): all of them but for a centre crop."""
    return preprocessing.to_image(torch.ones(1, 1), image_size).numpy() > 0.5


_GAP = 4
_MARGIN = 92
_BACKGROUND = (32, 34, 38)
_TEXT = (220, 220, 220)


@dataclass(frozen=True)
class ContactSheet:
    """A picture of a gallery.

    Attributes
    ----------
    image : ndarray
        (H, W, 3) uint8.
    boxes : tuple of (Tile, tuple of int)
        Each tile and its (top, left, bottom, right) in the picture.
    """

    image: np.ndarray
    boxes: tuple[tuple[Tile, tuple[int, int, int, int]], ...]

    def save_png(self, path: str | os.PathLike[str]) -> None:
        """Write the picture, atomically; raises StorageError."""
        with atomic_path(path) as temporary:
            Image.fromarray(self.image).save(temporary, format="PNG")


def contact_sheet(gallery: Gallery, *, cell: int = 72, dim: float = 0.25) -> ContactSheet:
    """Lay a gallery out as a picture, the most active bin at the top.

    Parameters
    ----------
    gallery : Gallery
        What to show.
    cell : int
        Side of a tile's place in pixels; small images are enlarged by whole numbers, larger ones made small.
    dim : float
        Share of brightness that is left outside the filter's area; 0 blackens it.
    """
    bins = len(gallery.plan.rows)
    columns = max((len(rows) for rows in gallery.plan.rows), default=0)
    step = cell + _GAP
    picture = Image.new("RGB", (_MARGIN + max(columns, 1) * step + _GAP, bins * step + _GAP), _BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for n, (low, high, count) in enumerate(
        zip(gallery.plan.edges[:-1], gallery.plan.edges[1:], gallery.plan.counts, strict=True)
    ):
        top = _GAP + (bins - 1 - n) * step
        draw.multiline_text((_GAP, top), f"{low:.3g} to\n{high:.3g}\n{_images(int(count))}", fill=_TEXT, font=font)
    boxes = []
    for tile in gallery.tiles:
        shown = Image.fromarray(tile.shown(dim))
        longest = max(shown.size)
        if longest > cell:
            width, height = (max(1, round(side * cell / longest)) for side in shown.size)
            shown = shown.resize((width, height), Image.Resampling.BILINEAR)
        elif cell // longest > 1:
            shown = shown.resize(
                (shown.width * (cell // longest), shown.height * (cell // longest)), Image.Resampling.NEAREST
            )
        top = _GAP + (bins - 1 - tile.bin) * step + (cell - shown.height) // 2
        left = _MARGIN + tile.place * step + (cell - shown.width) // 2
        picture.paste(shown, (left, top))
        boxes.append((tile, (top, left, top + shown.height, left + shown.width)))
    return ContactSheet(np.asarray(picture), tuple(boxes))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
