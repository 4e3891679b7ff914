"""How long a mask takes with each tool of painting, and how well it fits the known one; the user is simulated.

``python -m benchmarks painting --data tag-digits`` does one data set. The simulated user knows the mask, aims at the middle
of what is missing, looks at what came of it, and undoes a click that made the mask worse. What such a user takes is not
measured but set (`FIRST`, `AIM`, `LOOK`, `PRESS`, `SETTING`, `SPEED`, `GLANCE`, `TREMOR`); what the tools compute is
measured and added.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.retuning.tables import Row, show, write_csv
from napari_cam_feedback.data import Dataset, make_sample
from napari_cam_feedback.explanations import default_method, explain_item
from napari_cam_feedback.feedback import KnownMasks, hot_region, same_place, superpixel_at, superpixels, wand
from napari_cam_feedback.feedback.proposals.exemplars import overlap
from napari_cam_feedback.models import load_classifier
from napari_cam_feedback.widgets.viewer.layers import brush_size

DATA = ("tag-digits", "symbols", "clothes")
MODELS = Path(__file__).parents[1] / "sample_data"
#: Images that are painted of each data set.
IMAGES = 40
#: Seconds to see the image and go to the first place; to go to another place near by; to look at what came of it; to press a
#: key or a button at another place of the window; to move a slider.
FIRST, AIM, LOOK, PRESS, SETTING = 1.0, 0.6, 0.3, 1.0, 1.5
#: Pixels of the screen that a drawing hand goes in a second, and the side of an image on the screen.
SPEED, SHOWN = 300.0, 700.0
#: Seconds to look at one small preview, and to tick or untick it.
GLANCE, TICK = 0.25, 0.6
#: Pixels of the screen by which a hand misses, as a standard deviation in each direction.
TREMOR = 5.0
#: Clicks after which the user is content.
MOST = 8
#: A user takes the best of these thresholds of the heatmap, seen in the preview; the second is the default.
SHARES = (0.3, 0.5, 0.7)


@dataclass
class Hand:
    """What the simulated user did for one mask.

    Attributes
    ----------
    mask : ndarray
        (H, W) bool, painted so far.
    seconds, clicks : float
        Set and measured together; presses of the mouse and of keys.
    """

    mask: np.ndarray
    seconds: float = FIRST
    clicks: float = 0.0
    undone: list[tuple[int, int]] = field(default_factory=list)

    def click(self, region: np.ndarray, truth: np.ndarray, place: tuple[int, int]) -> bool:
        """Paint a region, look, and undo it where it made the mask worse; return whether it stayed."""
        after = self.mask | region
        self.clicks += 1
        self.seconds += LOOK + (AIM if self.clicks > 1 else 0)
        if overlap(after, truth) > overlap(self.mask, truth):
            self.mask = after
            return True
        # The preview tells before the click; half of the users click all the same and press Ctrl+Z.
        self.clicks += 0.5
        self.seconds += 0.5 * LOOK
        self.undone.append(place)
        return False


def middle(missing: np.ndarray) -> tuple[int, int]:
    """Return the place (row, column) farthest from the edge of the largest part of a mask that is missing."""
    from scipy.ndimage import distance_transform_edt, label

    numbered, _ = label(missing)
    largest = numbered == np.argmax(np.bincount(numbered.ravel())[1:]) + 1
    depth = distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)


def by_clicks(image: np.ndarray, truth: np.ndarray, tool: Callable[[tuple[int, int]], np.ndarray]) -> Hand:
    """Click what is missing until nothing is, or a click does not help."""
    hand = Hand(np.zeros(truth.shape, bool))
    while hand.clicks < MOST:
        missing = truth & ~hand.mask
        for row, column in hand.undone:
            missing[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = False
        if missing.sum() < 0.05 * truth.sum():
            break
        place = middle(missing)
        start = time.perf_counter()
        region = tool(place)
        hand.seconds += time.perf_counter() - start
        if not hand.click(region, truth, place) and len(hand.undone) > 1:
            break
    return hand


def by_superpixels(image: np.ndarray, truth: np.ndarray) -> Hand:
    """The pieces are made while the user looks; only what is longer than that is waited for."""
    start = time.perf_counter()
    numbers = superpixels(image)
    waited = max(0.0, time.perf_counter() - start - FIRST)
    hand = by_clicks(image, truth, lambda place: superpixel_at(numbers, place))
    hand.seconds += waited
    return hand


def by_wand(image: np.ndarray, truth: np.ndarray) -> Hand:
    """With the tolerance as it is at first."""
    return by_clicks(image, truth, lambda place: wand(image, place))


def by_heatmap(heat: np.ndarray, truth: np.ndarray) -> Hand:
    """One click on the hottest place under the mask, with the threshold whose preview fits best."""
    inside = np.where(truth, heat, -np.inf)
    place = tuple(int(each) for each in np.unravel_index(int(inside.argmax()), heat.shape))
    found = {share: hot_region(heat, place, share) for share in SHARES}
    best = max(SHARES, key=lambda share: overlap(found[share], truth))
    hand = Hand(np.zeros(truth.shape, bool))
    if best != SHARES[1]:
        hand.clicks += 1
        hand.seconds += SETTING
    hand.click(found[best], truth, place)
    return hand


def by_brush(truth: np.ndarray, rng: np.random.Generator) -> Hand:
    """Strokes of napari's brush, as wide as it is at first, inside the mask from one side to the other."""
    from napari.layers import Labels

    layer = Labels(np.zeros(truth.shape, np.uint8))
    layer.brush_size = brush_size(truth.shape)
    hand, step = Hand(np.zeros(truth.shape, bool)), layer.brush_size
    rows = np.flatnonzero(truth.any(1))
    radius, scale = step / 2, SHOWN / max(truth.shape)
    for row in np.arange(rows[0] + radius - 0.5, rows[-1] + 0.5, step):
        columns = np.flatnonzero(truth[min(round(float(row)), truth.shape[0] - 1)])
        if not len(columns):
            continue
        first, last = columns[0] + radius - 0.5, columns[-1] - radius + 0.5
        if last < first:
            first = last = (columns[0] + columns[-1]) / 2
        off = rng.normal(0, TREMOR / scale, 2)
        for column in np.arange(first, last + 0.5):
            layer.paint((row + off[0], column + off[1]), 1)
        hand.clicks += 1
        hand.seconds += (last - first) * scale / SPEED + (AIM if hand.clicks > 1 else 0)
    hand.seconds += LOOK
    hand.mask = np.asarray(layer.data) != 0
    return hand


def by_box(truth: np.ndarray, rng: np.random.Generator) -> Hand:
    """One drag from corner to corner, then a look."""
    scale = SHOWN / max(truth.shape)
    places = np.argwhere(truth)
    corners = np.stack([places.min(0), places.max(0)]) + rng.normal(0, TREMOR / scale, (2, 2))
    low, high = np.maximum(np.round(corners.min(0)), 0).astype(int), np.round(corners.max(0)).astype(int)
    hand = Hand(np.zeros(truth.shape, bool))
    hand.mask[low[0] : high[0] + 1, low[1] : high[1] + 1] = True
    hand.clicks, hand.seconds = 1, FIRST + LOOK + AIM + float(np.hypot(*(corners[1] - corners[0]))) * scale / SPEED
    return hand


def same_places(
    dataset: Dataset, indices: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, float, float]]:
    """Yield mask, known mask, clicks and seconds of each image.

    A box is dragged on one, and copied to all that are left; the user looks at each preview, and ticks and unticks where the
    program's guess is wrong, or presses *Tick all* or *None* first where that is less work.
    """
    left = list(indices)
    while left:
        donor = left.pop(0)
        truth = dataset.known_mask(donor)
        assert truth is not None
        hand = by_box(truth, rng)
        found = list(same_place(dataset, donor, hand.mask, left))
        known = [dataset.known_mask(copied.index) for copied in found]
        right = np.array([k is not None and overlap(c.mask, k) >= 0.5 for c, k in zip(found, known, strict=True)], bool)
        guessed = np.array([copied.alike for copied in found], bool)
        ticks = min(int((right != guessed).sum()), 1 + int((~right).sum()), 1 + int(right.sum())) if len(found) else 0
        worth = int(right.sum()) > 0
        cost = hand.seconds + (2 * PRESS + GLANCE * len(found) + TICK * ticks if worth else 0)
        clicks, count = hand.clicks + (2 + ticks if worth else 0), 1 + int(right.sum())
        yield hand.mask, truth, clicks / count, cost / count
        for copied, k, fits in zip(found, known, right, strict=True):
            if fits and k is not None:
                left.remove(copied.index)
                yield copied.mask, k, clicks / count, cost / count


def measure(name: str, images: int, seed: int) -> list[Row]:
    """Return a row for each tool."""
    dataset = make_sample(name)
    known = KnownMasks(dataset)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(dataset.indices("train"))
    indices = [int(index) for index in chosen if dataset.keys[int(index)] in known][:images]
    classifier = load_classifier(MODELS / name / "model.safetensors", device="cpu")
    method = default_method(classifier)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for index in indices:
        image, truth = dataset.read(index), dataset.known_mask(index)
        assert truth is not None
        hands = {
            "brush": by_brush(truth, rng),
            "box": by_box(truth, rng),
            "superpixel": by_superpixels(image, truth),
            "wand": by_wand(image, truth),
            "heatmap": by_heatmap(explain_item(classifier, dataset, index, method=method).map, truth),
        }
        for tool, hand in hands.items():
            found.setdefault(tool, []).append((hand.seconds, hand.clicks, overlap(hand.mask, truth)))
    found["same place"] = [(seconds, clicks, overlap(m, k)) for m, k, clicks, seconds in same_places(dataset, indices, rng)]
    rows: list[Row] = []
    for tool, values in found.items():
        seconds, clicks, shares = np.array(values).T
        rows.append(
            {
                "data": name,
                "tool": tool,
                "masks": len(values),
                "seconds": round(float(seconds.mean()), 1),
                "clicks": round(float(clicks.mean()), 1),
                "iou": round(float(shares.mean()), 2),
                "right": round(float((shares >= 0.5).mean()), 2),
            }
        )
    return rows


def main(words: Sequence[str] = ()) -> None:
    """Print the table, and write it to ``painting.csv``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks painting", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--images", type=int, default=IMAGES, help="painted of each (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(list(words))
    rows = [row for name in options.data for row in measure(name, options.images, options.seed)]
    write_csv("painting", rows)
    print(show(rows))
