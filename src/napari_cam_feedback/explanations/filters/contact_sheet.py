"""A gallery as one picture: a row for each bin, its activations at the left, and which tile lies where."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_cam_feedback.explanations.filters.gallery import Gallery, Tile
from napari_cam_feedback.files import atomic_path

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
