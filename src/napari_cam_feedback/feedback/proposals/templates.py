"""Finding a painted patch in other images, by normalised cross-correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_cam_feedback.feedback.masks.size import resized
from napari_cam_feedback.feedback.proposals.exemplars import Donor

#: Images are looked at with their longer side at most so many pixels.
LONGEST = 256
#: Patches that are looked for, at most; the largest pieces of each painted image first.
MAX_TEMPLATES = 64
# A patch of fewer pixels matches anything.
_MIN_PIXELS = 9
# Pixels around a patch that is the same everywhere, which shows no pattern by itself.
_CONTEXT = 2


@dataclass(frozen=True)
class Template:
    """A painted patch.

    Attributes
    ----------
    key : str
        Of the image that it is from.
    patch : ndarray
        (h, w) float32, gray values of the box around the patch.
    mask : ndarray
        (h, w) bool, what is painted in it.
    size : tuple of int
        (H, W) of the image that it is from, as prepared.
    """

    key: str
    patch: np.ndarray
    mask: np.ndarray
    size: tuple[int, int]


def prepared(image: np.ndarray) -> np.ndarray:
    """Return an image as gray float32 (H, W), its longer side at most `LONGEST` pixels."""
    from skimage.transform import resize

    gray = image.astype(np.float32)
    if gray.ndim == 3:
        # ITU-R BT.601, as the preprocessing turns colours into gray.
        gray = gray @ np.array([0.299, 0.587, 0.114], np.float32)
    longest = max(gray.shape)
    if longest > LONGEST:
        shape = tuple(max(1, round(side * LONGEST / longest)) for side in gray.shape)
        gray = resize(gray, shape, order=1, anti_aliasing=True, preserve_range=True)
    return gray.astype(np.float32)


def make_templates(donors: Sequence[Donor]) -> list[Template]:
    """Return the pieces of the painted masks as templates, taking turns among the images."""
    queues = [_pieces(donor) for donor in donors]
    found: list[Template] = []
    for turn in range(max(map(len, queues), default=0)):
        found += [queue[turn] for queue in queues if turn < len(queue)]
    return found[:MAX_TEMPLATES]


def best_match(image: np.ndarray, templates: Sequence[Template]) -> tuple[Template, float, np.ndarray] | None:
    """Find the template that matches an image best.

    Parameters
    ----------
    image : ndarray
        (H, W) float32, as `prepared` gives it.
    templates : sequence of Template
        What to look for; those larger than the image are left out.

    Returns
    -------
    template, score, mask
        The template, its correlation with the image (-1 to 1) and its mask there, (H, W) bool; None where no template fits.
    """
    from skimage.feature import match_template

    best: tuple[Template, float, tuple[int, int]] | None = None
    for template in templates:
        height, width = template.patch.shape
        if height > image.shape[0] or width > image.shape[1]:
            continue
        scores = match_template(image, template.patch)
        place = np.unravel_index(int(np.argmax(scores)), scores.shape)
        score = float(scores[place])
        if best is None or score > best[1]:
            best = template, score, (int(place[0]), int(place[1]))
    if best is None:
        return None
    template, score, (top, left) = best
    mask = np.zeros(image.shape, bool)
    mask[top : top + template.mask.shape[0], left : left + template.mask.shape[1]] = template.mask
    return template, min(score, 1.0), mask


def _pieces(donor: Donor) -> list[Template]:
    """Return the connected pieces of a donor's mask, the largest first."""
    from scipy.ndimage import find_objects, label

    image = prepared(donor.image)
    mask = resized(donor.mask, (image.shape[0], image.shape[1]))
    numbered, count = label(mask, np.ones((3, 3), int))
    boxes = find_objects(numbered)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    found = []
    for n in np.argsort(-sizes, kind="stable").tolist():
        if sizes[n] < min(_MIN_PIXELS, sizes.max()):
            continue
        box = boxes[n]
        if np.ptp(image[box]) <= 1e-6 * (1 + abs(float(image[box].mean()))):
            box = tuple(slice(max(0, part.start - _CONTEXT), part.stop + _CONTEXT) for part in box)
        patch = image[box]
        if np.ptp(patch) > 0:
            found.append(Template(donor.key, patch, numbered[box] == n + 1, image.shape))
    return found
