"""Images that stand nearly the same in two splits, or under two labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations

import imagehash
import numpy as np
from PIL import Image

#: Bits of 64 in which the hashes of two images that are nearly the same differ at most.
MAX_BITS = 3
#: How alike their thumbnails must be besides: correlation, and difference of the mean gray, of the range.
MIN_CORRELATION, MAX_SHIFT = 0.985, 0.06
#: Thumbnails whose gray values vary less show nothing by which images could be told apart.
MIN_DEVIATION = 0.02
THUMBNAIL = 16
# Hashes that differ in at most three bits agree in one of four parts.
_PARTS = MAX_BITS + 1
#: An image that is nearly the same as more others than this is one of a kind that all look alike, and no duplicate.
MAX_ALIKE = 20
# Images of one part that are compared at most.
_MAX_COMPARED = 400


def fingerprint(pixels: np.ndarray) -> tuple[int, np.ndarray]:
    """Return an image's perceptual hash (64 bits; Zauner 2010, as the package imagehash has it) and its thumbnail.

    Parameters
    ----------
    pixels : ndarray of float, shape (H, W, C)
        0 to 1.

    Returns
    -------
    hash : int
    thumbnail : ndarray of float32, shape (16, 16)
    """
    gray = Image.fromarray(np.uint8(255 * np.clip(pixels.mean(2), 0, 1)))
    bits = np.packbits(imagehash.phash(gray).hash.ravel())
    small = np.asarray(gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32) / 255
    return int.from_bytes(bits.tobytes(), "big"), small


def near_duplicates(hashes: list[int], thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of images that are nearly the same.

    Parameters
    ----------
    hashes : list of int
        N perceptual hashes of 64 bits.
    thumbnails : ndarray of float32, shape (N, 16, 16)

    Returns
    -------
    list of tuple
        Positions (i, j), i < j, in order.
    """
    deviations = thumbnails.std((1, 2))
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for number, value in enumerate(hashes):
        if deviations[number] < MIN_DEVIATION:
            continue
        for part in range(_PARTS):
            groups[part, (value >> (16 * part)) & 0xFFFF].append(number)
    found = set()
    for members in groups.values():
        if len(members) > _MAX_COMPARED:
            continue
        for i, j in combinations(members, 2):
            if (
                (hashes[i] ^ hashes[j]).bit_count() <= MAX_BITS
                and (i, j) not in found
                and _alike(thumbnails[i], thumbnails[j])
            ):
                found.add((i, j))
    degree = Counter(number for pair in found for number in pair)
    return sorted(pair for pair in found if max(degree[pair[0]], degree[pair[1]]) <= MAX_ALIKE)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if abs(float(one.mean() - other.mean())) > MAX_SHIFT:
        return False
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    return float(a @ b) >= MIN_CORRELATION * float(np.linalg.norm(a) * np.linalg.norm(b))


def groups_of(count: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Return a number for each of `count` images, the same for those that pairs join; int64 (count,)."""
    number = np.arange(count)
    for i, j in pairs:
        a, b = number[i], number[j]
        if a != b:
            number[number == b] = a
    return number
