"""What might tell the class of an image though it is no part of what the image shows: each cue as a vector of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage
from skimage.color import rgb2hsv
from skimage.measure import block_reduce

from napari_cam_feedback.auditing.pictures import Picture, frame, surroundings_width

#: Pixels along each edge that count as the border; fewer where the image is small.
BORDER, BORDER_SHARE = 8, 1 / 16
#: Side of a corner, as a share of the image's shorter side.
CORNER = 1 / 6
#: Cells along the sides of a place, by whose means it is described.
CELLS = 4
# Of more parts than this, it is texture and no text; letters are so high at least.
_MAX_PARTS, _MIN_LETTER = 2000, 4
# A stroke of letters is thinner than this, and differs from what lies around it by at least so much of the range.
_STROKE, _CONTRAST = 5, 0.25
_SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# Deviations below this are those of rounding.
_FLAT = 2e-3
_CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


@dataclass(frozen=True)
class Cue:
    """Something that may tell the class.

    Attributes
    ----------
    name : str
        A short name, as tables and JSON have it.
    describe : callable
        Takes a `Picture`; returns its numbers (D,), the same D for all images of a dataset; NaN where there is none.
    advice : str
        What to do where it tells the class.
    place : callable or None
        Takes (H, W); returns bool (H, W), the place that the cue is at. None where it is at no place.
    """

    name: str
    describe: Callable[[Picture], np.ndarray]
    advice: str
    place: Callable[[int, int], np.ndarray] | None = None


def border_width(height: int, width: int) -> int:
    """Return how many pixels along each edge are the border of an image of this size."""
    return max(1, min(BORDER, round(BORDER_SHARE * min(height, width))))


def border(height: int, width: int) -> np.ndarray:
    """Return the border, bool (height, width)."""
    return frame(height, width, border_width(height, width))


def surroundings(height: int, width: int) -> np.ndarray:
    """Return what is left without the centre, bool (height, width)."""
    return frame(height, width, surroundings_width(height, width))


def corner(name: str) -> Callable[[int, int], np.ndarray]:
    """Return what makes the place of a corner, by its name."""
    bottom, right = _CORNERS[name]

    def place(height: int, width: int) -> np.ndarray:
        side = max(2, round(CORNER * min(height, width)))
        mask = np.zeros((height, width), bool)
        mask[height - side if bottom else 0 :, width - side if right else 0 :][:side, :side] = True
        return mask

    return place


def _cells(part: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means and deviations of a part (h, w, C) in so many cells, as one vector; cells that it is too small for repeat."""
    ys = np.linspace(0, part.shape[0], rows + 1)
    xs = np.linspace(0, part.shape[1], columns + 1)
    found = []
    for top, bottom in pairwise(ys):
        strip = part[int(top) : max(int(np.ceil(bottom)), int(top) + 1)]
        for left, right in pairwise(xs):
            cell = strip[:, int(left) : max(int(np.ceil(right)), int(left) + 1)]
            found += [cell.mean((0, 1)), cell.std((0, 1))]
    return np.concatenate(found)


def _describe_frame(pixels: np.ndarray, thick: int) -> np.ndarray:
    sides = (pixels[:thick], pixels[-thick:], pixels[:, :thick].swapaxes(0, 1), pixels[:, -thick:].swapaxes(0, 1))
    return np.concatenate([_cells(side, 1, CELLS) for side in sides])


def describe_border(picture: Picture) -> np.ndarray:
    """Means and deviations along the four edges."""
    return _describe_frame(picture.around, border_width(*picture.around.shape[:2]))


def describe_surroundings(picture: Picture) -> np.ndarray:
    """Means and deviations of what is left without the centre."""
    return _describe_frame(picture.around, surroundings_width(*picture.around.shape[:2]))


def describe_corner(name: str) -> Callable[[Picture], np.ndarray]:
    """Return what describes a corner, by its name."""
    place = corner(name)

    def describe(picture: Picture) -> np.ndarray:
        rows, columns = np.nonzero(place(*picture.around.shape[:2]))
        return _cells(picture.around[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], CELLS, CELLS)

    return describe


def describe_size(picture: Picture) -> np.ndarray:
    """Height, width, and the one by the other."""
    height, width = picture.pixels.shape[:2]
    return np.array([height, width, height / width], np.float64)


def describe_colour(picture: Picture) -> np.ndarray:
    """Brightness, contrast, colour and saturation around what is shown, and of all the darkest and the brightest.

    A class may well show more of something bright; a change of the whole image is seen around it, too.
    """
    pixels = picture.around[surroundings(*picture.around.shape[:2])]
    found = [pixels.mean(0), pixels.std(0), *np.percentile(pixels, (10, 50, 90), axis=0), picture.pixels.max((0, 1))]
    hue, saturation, _ = rgb2hsv(pixels[None])[0].T
    # Hue is an angle.
    found.append(np.array([saturation.mean(), *(f(2 * np.pi * hue).mean() for f in (np.cos, np.sin))]))
    return np.concatenate(found)


def describe_sharpness(picture: Picture) -> np.ndarray:
    """How noisy the surroundings are, how much of their detail is in the finest scale, and how steep edges are.

    All are medians or ratios, so that more of an object is not more of them. Noise is the median size of the second
    difference (after Immerkaer 1996, "Fast noise variance estimation", with a median in place of the mean).
    """
    gray = picture.pixels.mean(2)
    second = np.abs(ndimage.convolve(gray, _SECOND_DIFFERENCE, mode="nearest"))
    blurred = ndimage.gaussian_filter(gray, 0.7, mode="nearest")
    coarse = blurred - ndimage.gaussian_filter(blurred, 1.4, mode="nearest")
    outside = ~ndimage.binary_dilation(picture.content, iterations=2)
    if not outside.any():
        outside = np.ones_like(outside)
    levels = [float(np.percentile(second[outside], q)) for q in (25, 50, 75)]
    fine, rough = (float(np.median(np.abs(scale[outside]))) for scale in (gray - blurred, coarse))
    # Of flat surroundings this would be a ratio of rounding errors.
    found = [*levels, fine / rough if rough > _FLAT else 0.0]
    contrast = float(np.ptp(gray))
    steps = np.hypot(ndimage.sobel(gray, 0, mode="nearest"), ndimage.sobel(gray, 1, mode="nearest"))
    return np.array([*found, float(steps.max()) / contrast if contrast > _FLAT else 0.0])


def describe_compression(picture: Picture) -> np.ndarray:
    """Steps at the edges of JPEG's blocks of 8 x 8, by those within, and what the file says of how it was written."""
    gray, outside = picture.pixels.mean(2), ~picture.content
    found = []
    for image, taken in ((gray, outside), (gray.T, outside.T)):
        steps, both = np.abs(np.diff(image, axis=0)), taken[1:] & taken[:-1]
        edge = np.arange(1, len(steps) + 1) % 8 == 0
        at_edge, within = steps[edge][both[edge]], steps[~edge][both[~edge]]
        found.append((_usual(at_edge) + 1e-3) / (_usual(within) + 1e-3) if at_edge.size and within.size else 1.0)
    area = picture.pixels.shape[0] * picture.pixels.shape[1]
    # What is shown decides how well a file can be packed; by how much, only files of another kind or quality differ.
    size = picture.facts.get("bytes")
    found.append(np.nan if size is None else round(float(np.log2(float(size) / area))))
    found += [float(picture.facts.get(name, np.nan)) for name in ("quality", "channels", "bits")]
    return np.array(found)


def _usual(values: np.ndarray) -> float:
    """The mean of the lower three quarters, so that edges of things do not count."""
    return float(np.sort(values)[: max(1, 3 * values.size // 4)].mean())


def describe_text(picture: Picture) -> np.ndarray:
    """How many letters stand in lines in each third of the rows and columns, and how high they are.

    Letters are thin strokes, bright on dark or dark on bright, of which three or more of like height stand side by side.
    """
    gray, content = picture.pixels.mean(2), picture.content
    step = max(1, round(max(gray.shape) / 512))
    if step > 1:
        gray, content = block_reduce(gray, step, np.mean), block_reduce(content, step, np.max)
    found = []
    for strokes in (ndimage.white_tophat(gray, _STROKE), ndimage.black_tophat(gray, _STROKE)):
        letters = _letters_in_lines((strokes > _CONTRAST) & ~content)
        counts = np.zeros((3, 3))
        for row, column, _ in letters:
            counts[min(2, int(3 * row / gray.shape[0])), min(2, int(3 * column / gray.shape[1]))] += 1
        found += [*counts.ravel(), counts.sum(), float(np.mean([height for *_, height in letters])) if letters else 0.0]
    return np.array(found, np.float64)


def _letters_in_lines(strokes: np.ndarray) -> list[tuple[float, float, float]]:
    """Return row, column and height of parts that stand side by side with two or more others of like height."""
    parts, count = ndimage.label(strokes, np.ones((3, 3)))
    if not 3 <= count <= _MAX_PARTS:
        return []
    boxes = [(y.start, x.start, y.stop - y.start, x.stop - x.start) for y, x in ndimage.find_objects(parts)]
    most = max(_MIN_LETTER, strokes.shape[0] / 6)
    letters = np.array([box for box in boxes if _MIN_LETTER <= box[2] <= most and box[3] <= 2 * box[2]], np.float64)
    if len(letters) < 3:
        return []
    top, left, height, width = letters.T
    middle = top + height / 2
    beside = np.abs(middle[:, None] - middle) < 0.4 * height
    alike = (height[:, None] < 1.5 * height) & (height < 1.5 * height[:, None])
    gap = np.maximum(left[:, None], left) - np.minimum((left + width)[:, None], left + width)
    near = beside & alike & (gap < 1.2 * np.maximum(height[:, None], height))
    np.fill_diagonal(near, False)
    # Of three in a row, each has the others as neighbours or as neighbours' neighbours.
    in_line = (near.sum(1) >= 2) | (near @ (near.sum(1) >= 2))
    return [(float(y), float(x), float(h)) for y, x, h in zip(middle[in_line], left[in_line], height[in_line], strict=True)]


CUES = (
    Cue(
        "border",
        describe_border,
        "Crop the images by a few pixels, or paint the border as irrelevant and retune.",
        border,
    ),
    *(
        Cue(
            f"{name} corner",
            describe_corner(name),
            f"Look at the {name} corner for a tag, a scale bar or a logo; paint it as irrelevant and retune, or crop it "
            "off.",
            corner(name),
        )
        for name in _CORNERS
    ),
    Cue(
        "surroundings",
        describe_surroundings,
        "The background tells the class; paint it as irrelevant on some images and retune, or collect images of each class "
        "before all kinds of background.",
        surroundings,
    ),
    Cue(
        "size and aspect",
        describe_size,
        "The classes come in different sizes; crop all images to one aspect before they are resized, or split anew by "
        "source.",
    ),
    Cue(
        "brightness and colour",
        describe_colour,
        "The classes were exposed or stained differently; bring all images to the same brightness and colour before "
        "training.",
    ),
    Cue(
        "sharpness and noise",
        describe_sharpness,
        "The classes differ in blur or noise, as from different devices; train with blur and noise added at random.",
    ),
    Cue(
        "compression",
        describe_compression,
        "The classes were saved differently; save all images again from the originals in one format and quality.",
    ),
    Cue(
        "burnt-in text",
        describe_text,
        "Letters or thin marks around the centre tell the class; paint them as irrelevant and retune, or crop them off.",
    ),
)
