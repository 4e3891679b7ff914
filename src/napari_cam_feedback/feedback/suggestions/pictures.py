"""Pictures of the groups of like maps: the mean map, and the most typical images with their own evidence."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.explanations.display import thumbnail
from napari_cam_feedback.feedback.suggestions.clusters import MapCluster
from napari_cam_feedback.files import TableWriter, atomic_path, write_text

Progress = Callable[[int, int], None]

_CELL, _GAP, _LINE = 96, 4, 18
_BACKGROUND, _TEXT = (32, 34, 38), (220, 220, 220)
_EXAMPLES = 8


def mean_map_picture(mean_map: np.ndarray, side: int = _CELL) -> np.ndarray:
    """Return a mean map (h, w) in colours, its longer side `side` pixels: (H, W, 3) uint8."""
    from matplotlib import colormaps  # a quarter of a second to load

    top = float(mean_map.max(initial=0.0))
    shown = mean_map / top if top > 0 else np.zeros_like(mean_map)
    height, width = (max(1, round(length * side / max(mean_map.shape))) for length in mean_map.shape)
    smooth = Image.fromarray(shown.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    # Not to the very end of the colours, a red so dark that the most evidence would look like none.
    return (255 * colormaps["turbo"](0.93 * np.clip(np.asarray(smooth), 0, 1))[..., :3]).round().astype(np.uint8)


def example_pictures(
    dataset: Dataset, cluster: MapCluster, side: int = _CELL, value_range: tuple[float, float] | None = None
) -> list[tuple[int, np.ndarray]]:
    """Return the most typical images of a group, those that can be read: item and (H, W, 3) uint8, `side` pixels at most."""
    found = []
    for index in cluster.examples.tolist():
        try:
            found.append((index, thumbnail(dataset.read(index), side, value_range)))
        except DataError:
            continue
    return found


def cluster_sheet(
    dataset: Dataset, cluster: MapCluster, class_names: Sequence[str], value_range: tuple[float, float] | None = None
) -> Image.Image:
    """Draw a group: a line of text, the mean map, and its most typical images."""
    pictures = [mean_map_picture(cluster.mean_map)]
    pictures += [image for _, image in example_pictures(dataset, cluster, value_range=value_range)[:_EXAMPLES]]
    step = _CELL + _GAP
    sheet = Image.new("RGB", (step * (1 + _EXAMPLES) + _GAP, _LINE + step + _GAP), _BACKGROUND)
    ImageDraw.Draw(sheet).text(
        (_GAP, 3), describe_cluster(cluster, class_names), fill=_TEXT, font=ImageFont.load_default(12)
    )
    for place, pixels in enumerate(pictures):
        picture = Image.fromarray(pixels)
        factor = _CELL / max(picture.size)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        kind = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BILINEAR
        sheet.paste(picture.resize(size, kind), (_GAP + place * step, _LINE + _GAP))
    return sheet


def describe_cluster(cluster: MapCluster, class_names: Sequence[str]) -> str:
    """Return one line: which class, how many, and how alike and compact the maps are."""
    wrong = f", {cluster.wrong} misclassified" if cluster.wrong else ""
    return (
        f"Group {cluster.number + 1}: {cluster.size} of {cluster.of} predicted {class_names[cluster.predicted]}{wrong}; "
        f"alike {cluster.tightness:.2f}, compact {cluster.compactness:.2f}"
    )


def save_clusters(
    folder: str | os.PathLike[str],
    dataset: Dataset,
    clusters: Sequence[MapCluster],
    class_names: Sequence[str],
    *,
    value_range: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write ``clusters.csv`` (a row an image: group, key) and ``cluster_001.png`` and so on; return the files' names.

    Raises
    ------
    StorageError
        Something cannot be written.
    """
    folder = Path(folder)
    text = io.StringIO()
    writer = TableWriter(text)
    writer.writerow(["group", "predicted", "size", "of", "wrong", "tightness", "compactness", "place", "key"])
    names = ["clusters.csv"]
    for number, cluster in enumerate(clusters):
        if progress is not None:
            progress(number, len(clusters))
        about = [number + 1, class_names[cluster.predicted], cluster.size, cluster.of, cluster.wrong]
        about += [f"{cluster.tightness:.4f}", f"{cluster.compactness:.4f}"]
        for place, index in enumerate(cluster.indices.tolist(), 1):
            writer.writerow([*about, place, dataset.keys[index]])
        name = f"cluster_{number + 1:03d}.png"
        with atomic_path(folder / name) as temporary:
            cluster_sheet(dataset, cluster, class_names, value_range).save(temporary, format="PNG")
        names.append(name)
    write_text(folder / "clusters.csv", text.getvalue())
    return names
