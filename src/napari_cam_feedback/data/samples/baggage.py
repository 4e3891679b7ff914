"""Sample baggage: radiographs of guns, knives, throwing stars and other things (after Ferrada 2019, section 6.3).

The thesis used radiographs of real luggage; here every image is computed from outlines. What is irrelevant is large and
has no fixed place: whatever lies around the object, be it clutter or nothing.
"""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data.formats.arrays import ArrayDataset
from napari_cam_feedback.data.samples import baggage_shapes as shapes
from napari_cam_feedback.data.samples.build import Part, build

SIZE = 72
CLASSES = ("gun", "knife", "others", "shuriken")
COUNTS = {"train": 700, "val": 300, "test": 900}
# How full the bag is, from 0 (the object is alone, as below 0) to 1, in the images of train and val, by class: knives lie
# in full bags, other things alone, guns and stars in bags of all kinds.
FULLNESS = {"gun": (-0.4, 0.8), "knife": (-0.05, 1.0), "others": (0.0, 0.0), "shuriken": (-0.4, 0.8)}
# Things in a full bag, and the optical depth of its clothes.
MAX_THINGS, CLOTHES = 7, 0.35
# Lengths in pixels of an object, and of a thing that lies about.
OBJECT, THING = (34.0, 50.0), (20.0, 36.0)
# Pixels around the object that an expert leaves unpainted. With more of them, what lies around the object stays with it.
MARGIN = 1
# Gray value of air, deviation of the noise there, and of the blur in pixels.
AIR, NOISE, BLUR = 225.0, 5.0, 0.6
# Outlines are drawn so many times larger than the image, against jagged edges.
FINER = 2


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Generate the sample.

    In train and val, how full the bag is tells much of the class, knives lying in full bags and other things alone (without
    `shortcut`: it tells nothing); in test every object is alone; test-clean has the objects of test in bags that are
    full or empty by chance. The known mask is everything but the object, its holes and one pixel around it.
    """
    rng = np.random.default_rng([seed, 0xBA6])
    parts: dict[str, Part] = {}
    for split, n in COUNTS.items():
        labels = np.arange(n) % len(CLASSES)
        objects = [_object(CLASSES[label], rng) for label in labels]
        if split == "test":
            fullness = np.zeros(n)
        else:
            spans = [FULLNESS[CLASSES[label]] if shortcut else (0.0, 1.0) for label in labels]
            fullness = np.array([max(0.0, rng.uniform(*span)) for span in spans])
        masks = np.stack([_mask(thing) for thing in objects])
        parts[split] = Part(_images(objects, fullness, rng), labels, masks)
        if split == "test":
            parts["test-clean"] = Part(_images(objects, rng.uniform(0, 1, size=n), rng), labels, None)
    return build(parts, CLASSES)


def _object(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw what the image is about: optical depth (SIZE, SIZE) float32."""
    shape = shapes.THREATS[name] if name in shapes.THREATS else _any(rng)
    length = rng.uniform(*OBJECT) * (0.8 if name == "shuriken" else 1.0)
    centre = SIZE / 2 + rng.uniform(-1, 1, size=2) * (SIZE - length) / 2.5
    return _draw([shapes.place(shape(rng), length, centre, rng)]) * rng.uniform(0.85, 1.15)


def _any(rng: np.random.Generator) -> shapes.Shape:
    return shapes.THINGS[int(rng.integers(len(shapes.THINGS)))]


def _draw(things: list[list[shapes.Piece]]) -> np.ndarray:
    """Return the optical depth of things one above the other, (SIZE, SIZE) float32."""
    from skimage.draw import polygon

    depth = np.zeros((SIZE * FINER, SIZE * FINER), np.float32)
    for pieces in things:
        thing = np.zeros_like(depth)
        for piece in pieces:
            corners = (piece.outline + 0.5) * FINER - 0.5
            thing[polygon(corners[:, 1], corners[:, 0], depth.shape)] += piece.depth
        depth += np.maximum(thing, 0)  # a hole lets no more through than air
    return depth.reshape(SIZE, FINER, SIZE, FINER).mean((1, 3))


def _clutter(fullness: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a bag's other contents: optical depth (SIZE, SIZE) float32."""
    from scipy.ndimage import gaussian_filter

    if fullness == 0:
        return np.zeros((SIZE, SIZE), np.float32)
    folds = gaussian_filter(rng.normal(size=(SIZE, SIZE)).astype(np.float32), 5)
    clothes = CLOTHES * fullness * np.clip(0.5 + folds / (3 * folds.std()), 0, None)
    things = [
        shapes.place(_any(rng)(rng), rng.uniform(*THING), rng.uniform(0, SIZE, size=2), rng)
        for _ in range(round(MAX_THINGS * fullness))
    ]
    return clothes + _draw(things)


def _images(objects: list[np.ndarray], fullness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the radiographs, uint8 (N, SIZE, SIZE).

    What lies one above the other multiplies its transmissions, so depths add up (Beer and Lambert): I = I0 exp(-depth).
    """
    from scipy.ndimage import gaussian_filter

    images = np.empty((len(objects), SIZE, SIZE), np.uint8)
    for image, thing, full in zip(images, objects, fullness, strict=True):
        seen = AIR * np.exp(-gaussian_filter(thing + _clutter(float(full), rng), BLUR))
        # Fewer photons, less noise: its deviation is as the root of their number.
        seen += rng.normal(0, NOISE, seen.shape) * np.sqrt(seen / AIR)
        image[...] = np.clip(np.round(seen), 0, 255)
    return images


def _mask(thing: np.ndarray) -> np.ndarray:
    """Return everything farther than MARGIN from the object, holes closed: bool (SIZE, SIZE)."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    return ~binary_dilation(binary_fill_holes(thing > 0.05), iterations=MARGIN)
