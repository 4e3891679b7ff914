"""Maps for reading: a picture of each image with its map over it, and a table of what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.explanations.display import common_display, has_evidence, thumbnail
from napari_cam_feedback.explanations.maps.files import Add, check_places, item_place
from napari_cam_feedback.files import TableWriter, atomic_path

if TYPE_CHECKING:
    from napari_cam_feedback.explanations.maps.split import ItemMap

#: The columns of the table.
COLUMNS = ("key", "true", "predicted", "class", "probability", "evidence", "greatest", "row", "column")
# Smaller images are enlarged by whole numbers up to the first, larger ones made as small as the second, in pixels.
_MIN_SIDE, _MAX_SIDE = 160, 512
# Of more classes only the most probable are drawn, so many in a row.
_MAX_CLASSES, _COLUMNS = 15, 4
_GAP, _LINE = 6, 15
_BACKGROUND, _TEXT = (32, 34, 38), (220, 220, 220)
# As in the window: a map fades in over this share of its range, and covers at most this share of the image.
_FADE_IN, _OPACITY = 0.35, 0.5


def picture(
    image: np.ndarray, maps: np.ndarray, titles: Sequence[str], value_range: tuple[float, float] | None = None
) -> Image.Image:
    """Draw an image, and beside it the same with each map over it; all maps are on one scale.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 3) as read.
    maps : ndarray
        (T, H, W) float32, signed; only what is positive is shown, and where nothing is, words say so.
    titles : sequence of str
        What stands above each map.
    value_range : tuple of float, optional
        Pixel values that are black and white; by default the image's own.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    small = Image.fromarray(thumbnail(image, _MAX_SIDE, value_range))
    factor = max(1, _MIN_SIDE // max(small.size))
    panel = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
    panels = [panel, *(_laid_over(panel, shown) for shown in common_display(maps))]
    words = ["", *("" if has_evidence(signed) else "no positive evidence" for signed in maps)]
    font = ImageFont.load_default(11)
    across, down = panel.width + _GAP, panel.height + _LINE + _GAP
    columns = min(len(panels), _COLUMNS)
    sheet = Image.new("RGB", (columns * across + _GAP, -(-len(panels) // columns) * down + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (each, title, word) in enumerate(zip(panels, ("image", *titles), words, strict=True)):
        left, top = _GAP + number % columns * across, number // columns * down
        draw.text((left, top + _GAP // 2), _cut(title, panel.width, font), fill=_TEXT, font=font)
        sheet.paste(each, (left, top + _LINE + _GAP))
        if word:
            bottom = top + down
            draw.rectangle((left, bottom - _LINE, left + panel.width - 1, bottom - 1), fill=_BACKGROUND)
            draw.text((left + 2, bottom - _LINE), _cut(word, panel.width - 2, font), fill=_TEXT, font=font)
    return sheet


def _laid_over(panel: Image.Image, shown: np.ndarray) -> Image.Image:
    from matplotlib import colormaps  # a quarter of a second to load

    strength = np.asarray(Image.fromarray(shown).resize(panel.size, Image.Resampling.BILINEAR)).clip(0, 1)
    # Not to the very end of the colours, which is so dark a red that the strongest evidence would look like none.
    colours = 255 * colormaps["turbo"](0.93 * strength)[..., :3]
    cover = _OPACITY * np.clip(strength / _FADE_IN, 0, 1)[..., None]
    return Image.fromarray(np.round((1 - cover) * np.asarray(panel) + cover * colours).astype(np.uint8))


def _cut(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


@contextmanager
def picture_folder(folder: str | Path, dataset: Dataset, keys: Iterable[str]) -> Iterator[Add]:
    """Give a function that writes `picture` of an item as ``<folder>/<key>.png``; of many classes the 15 most probable.

    Raises
    ------
    DataError
        A key, or a link in the folder, leads out of the folder; nothing is written then.
    StorageError
        A file cannot be written.
    """
    folder = Path(folder)
    check_places(folder, keys, ".png")

    def add(item: ItemMap) -> None:
        place = item_place(folder, item.key, ".png")
        drawn = picture(dataset.read(item.index), *_of_most_probable(item), item.preprocessing.value_range)
        with atomic_path(place) as temporary:
            drawn.save(temporary, format="PNG")

    yield add


def _of_most_probable(item: ItemMap) -> tuple[np.ndarray, list[str]]:
    """Return the maps to draw and their titles: all in their order, of many the most probable."""
    places = np.arange(len(item.raw))
    if len(places) > _MAX_CLASSES:
        places = np.argsort(-item.probabilities, kind="stable")[:_MAX_CLASSES]
    titles = [f"{item.class_names[place]} ({item.probabilities[place]:.2f})" for place in places]
    return replace(item, raw=item.raw[places]).maps, titles


@contextmanager
def map_table(path: str | Path, dataset: Dataset, class_names: tuple[str, ...]) -> Iterator[Callable[[ItemMap], None]]:
    """Give a function that adds an item to a CSV, a row for each map; the file is in its place once the block ends well.

    Its columns are `COLUMNS`: the item, its true class (empty where unknown), the class predicted, the class explained and
    its probability, whether anything speaks for it (1 or 0), and the map's greatest value with the row and column of the
    pixel that has it.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = TableWriter(file)
        writer.writerow(COLUMNS)

        def add(item: ItemMap) -> None:
            label = int(dataset.labels[item.index])
            first = [item.key, dataset.class_names[label] if label >= 0 else "", class_names[item.predicted]]
            place = 0
            for block in item.blocks():
                for signed in block:
                    row, column = np.unravel_index(int(signed.argmax()), signed.shape)
                    evidence = int(has_evidence(item.raw[place]))
                    found = [item.class_names[place], f"{item.probabilities[place]:.6g}", evidence]
                    writer.writerow([*first, *found, f"{signed[row, column]:.6g}", int(row), int(column)])
                    place += 1

        yield add
