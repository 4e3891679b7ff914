"""How many images are measured: few enough to cost little more than looking at each once, enough to say something.

All rules count images through the network and pixels, never seconds, so that the same data give the same numbers anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_cam_feedback.data.splits import is_test

#: Passes through the network that a masked image costs: as it is, five fills, five fills elsewhere, a swap, and the map.
MASKED_PASSES = 13
#: Masked images of a split that are refilled at most, and at least where it has so many.
MAX_MASKED = 200
MIN_MASKED = 24
#: What refilling may cost, in passes for each image of the split.
MASKED_SHARE = 1.5
#: Pixels through the network that cost too little to be saved: `MAX_MASKED` masked images of 80 x 80 pixels.
FREE_PIXELS = MAX_MASKED * MASKED_PASSES * 80 * 80

#: Pixels through each network that a quick comparison may cost: 350 images of 224 x 224.
QUICK_PIXELS = 350 * 224 * 224
#: The share of it that goes to refilling masked images.
QUICK_MASKED_SHARE = 0.4
#: Images of a split, and masked ones of the split that tells most, that a quick comparison measures at least.
MIN_QUICK_IMAGES = 32
MIN_QUICK_MASKED = 12
#: Beyond these more images say little more.
MAX_QUICK_IMAGES = 500
MAX_QUICK_TRAIN = 200
#: How many images of a test split are measured for each of another one.
_TEST_WEIGHT = 3


def masked_limit(images: int, size: tuple[int, int]) -> int:
    """Return how many masked images of a split are refilled at most.

    Parameters
    ----------
    images : int
        Images of the split.
    size : tuple of int
        (height, width) of the network's input.
    """
    paid = int(MASKED_SHARE * images / MASKED_PASSES)
    free = FREE_PIXELS // (MASKED_PASSES * size[0] * size[1])
    return min(max(paid, free, MIN_MASKED), MAX_MASKED)


def quick_limits(
    images: Mapping[str, int], masked: Mapping[str, int], size: tuple[int, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many images, and how many masked ones, a quick comparison measures of each split.

    Where all can be measured for `QUICK_PIXELS`, they are. Else the images are dealt out with most to test splits, and the
    masked ones to the split that tells most: one that nothing was learnt from, and the next where there is room left.

    Parameters
    ----------
    images, masked : mapping
        Split to labelled images, and to those of them with a mask.
    size : tuple of int
        (height, width) of the larger network's input.

    Returns
    -------
    images, masked : dict
        Split to a number.
    """
    passes = QUICK_PIXELS // (size[0] * size[1])
    all_masked = {name: min(masked[name], masked_limit(images[name], size)) for name in images}
    if sum(images.values()) + MASKED_PASSES * sum(all_masked.values()) <= passes:
        return dict(images), all_masked
    refilled = _masked_shares(all_masked, int(QUICK_MASKED_SHARE * passes) // MASKED_PASSES)
    left = passes - MASKED_PASSES * sum(refilled.values())
    most = {
        name: min(count, MAX_QUICK_TRAIN if name.startswith("train") else MAX_QUICK_IMAGES) for name, count in images.items()
    }
    return _dealt(most, left), refilled


def draw(indices: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw some of the items, each class with its share of them, in their order.

    Parameters
    ----------
    indices : ndarray
        (N,) int64 items.
    labels : ndarray
        (N,) int64, theirs.
    count : int
        How many; all where there are no more.
    seed : int
        Which.
    """
    if count >= len(indices):
        return indices
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(indices))
    # Sorted by how far each stands in the queue of its class, the first ones are of all classes alike.
    place = np.empty(len(indices))
    for label in np.unique(labels):
        queue = order[labels[order] == label]
        place[queue] = (np.arange(len(queue)) + rng.random()) / len(queue)
    return indices[np.sort(np.argsort(place, kind="stable")[:count])]


def _telling_first(splits: Sequence[str]) -> list[str]:
    """Return the splits, those first that nothing was learnt from."""
    return sorted(splits, key=lambda name: (not is_test(name), name.startswith("train")))


def _masked_shares(masked: Mapping[str, int], count: int) -> dict[str, int]:
    found = dict.fromkeys(masked, 0)
    first = True
    for name in _telling_first([name for name in masked if masked[name]]):
        taken = min(masked[name], max(count, MIN_QUICK_MASKED if first else 0))
        # A handful more says nothing.
        if taken >= min(MIN_QUICK_MASKED, masked[name]):
            found[name] = taken
            count -= taken
            first = False
    return found


def _dealt(most: Mapping[str, int], count: int) -> dict[str, int]:
    """Deal out a number of images by weight; what a split has no use for goes to the others."""
    found: dict[str, int] = {}
    weights = {name: _TEST_WEIGHT if is_test(name) else 1 for name in most}
    for name in sorted(most, key=lambda name: most[name] / weights[name]):
        share = int(max(count, 0) * weights[name] / sum(weights.values()))
        found[name] = min(most[name], max(share, MIN_QUICK_IMAGES))
        count -= found[name]
        del weights[name]
    return {name: found[name] for name in most}
