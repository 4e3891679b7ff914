"""Run-length encoding of masks as COCO has it, and its compressed text.

pycocotools has the same in C, but gives back memory that was never written where a file's counts do not fill the mask; here
such a file is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_cam_feedback.errors import MaskError


def encode(mask: np.ndarray) -> list[int]:
    """Return the lengths of the runs of a mask, read column by column; the first run is of zeros and may be empty.

    Parameters
    ----------
    mask : ndarray
        (H, W), nonzero where irrelevant.
    """
    flat = (np.asarray(mask) != 0).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def decode(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a list of runs, bool (H, W).

    Parameters
    ----------
    counts : sequence of int
        As `encode` returns them.
    size : tuple of int
        (H, W).

    Raises
    ------
    MaskError
        The runs do not fill the mask.
    """
    height, width = size
    # Python's own numbers, which no count can overflow.
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise MaskError(f"its runs do not make {height}x{width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.array(counts, np.int64)).reshape(width, height).T.copy()


def compress(counts: Sequence[int]) -> str:
    """Return runs as COCO's text.

    Each number is in groups of five bits, from the fourth on as the difference to that two before. The sixth bit of a
    character says that more follow; the characters begin at ``0``.
    """
    text = []
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = number & 0x1F
            number >>= 5
            # The fifth bit is the sign of what follows.
            more = number != (-1 if bits & 0x10 else 0)
            text.append(chr(48 + (bits | 0x20 if more else bits)))
    return "".join(text)


def decompress(text: str) -> list[int]:
    """Return the runs of COCO's text; raises MaskError where it is none."""
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise MaskError("its text is no run-length encoding")
        number |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                number -= 1 << shift
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number = shift = 0
    if shift:
        raise MaskError("its text is cut short")
    return counts
