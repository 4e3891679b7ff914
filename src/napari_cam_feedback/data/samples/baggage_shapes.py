"""Outlines of the things in the sample baggage, each with its attenuation, drawn as a radiograph sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Outline = np.ndarray  # (P, 2) x and y of a polygon's corners


class Piece(NamedTuple):
    """A part of a thing: its outline, and the optical depth that it adds (negative for a hole)."""

    outline: Outline
    depth: float


Shape = Callable[[np.random.Generator], list[Piece]]


def box(left: float, top: float, right: float, bottom: float) -> Outline:
    """Return a rectangle's corners."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def disc(x: float, y: float, radius: float, flat: float = 1.0) -> Outline:
    """Return an ellipse, `flat` times as high as wide."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + radius * np.cos(turn), y + flat * radius * np.sin(turn)], axis=1)


def stroke(path: np.ndarray, width: float) -> Outline:
    """Return the outline of a line of this width along points (P, 2)."""
    along = np.gradient(path, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across *= width / 2 / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    return np.concatenate([path + across, (path - across)[::-1]])


# Every shape is about one unit long, centred at 0; the caller scales, turns and tilts it.


def gun(rng: np.random.Generator) -> list[Piece]:
    """A pistol from the side: slide, barrel, grip with its magazine, trigger guard."""
    barrel, grip = rng.uniform(0.9, 1.05), rng.uniform(0.42, 0.52)
    slant = rng.uniform(0.10, 0.18)
    x = -barrel / 2
    handle = np.array([[x, -0.12], [x + 0.24, -0.12], [x + 0.22 - slant, grip - 0.1], [x - 0.02 - slant, grip - 0.1]])
    magazine = np.array(
        [[x + 0.05, -0.1], [x + 0.18, -0.1], [x + 0.16 - slant, grip - 0.13], [x + 0.03 - slant, grip - 0.13]]
    )
    arc = np.linspace(0, np.pi, 14)
    guard = np.stack([x + 0.33 - 0.11 * np.cos(arc), -0.1 + 0.17 * np.sin(arc)], axis=1)
    return [
        Piece(box(x, -0.3, x + barrel, -0.1), 0.9),
        Piece(box(x + 0.28, -0.26, x + barrel, -0.17), 0.9),
        Piece(handle, 0.6),
        Piece(magazine, 0.8),
        Piece(stroke(guard, 0.045), 0.8),
    ]


def knife(rng: np.random.Generator) -> list[Piece]:
    """A knife: a thin blade that tapers to a point, a light handle around a tang."""
    blade, width = rng.uniform(0.58, 0.68), rng.uniform(0.10, 0.14)
    belly = np.array(
        [[0, -width / 2], [0.62, -width / 2], [1, -width / 2 + 0.02], [0.8, width / 3], [0.55, width / 2], [0, width / 2]]
    )
    start = 0.5 - blade
    edge = np.stack([start + blade * belly[:, 0], belly[:, 1]], axis=1)
    return [
        Piece(edge, 0.32),
        Piece(box(-0.5, -0.06, start, 0.06), 0.22),
        Piece(box(-0.42, -0.025, start + 0.02, 0.025), 0.3),
    ]


def shuriken(rng: np.random.Generator) -> list[Piece]:
    """A throwing star with a hole in its middle."""
    points = int(rng.integers(4, 7))
    inner = rng.uniform(0.14, 0.18) if points < 6 else rng.uniform(0.18, 0.24)
    turn = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 0.5, inner)
    star = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    return [Piece(star, 0.9), Piece(disc(0, 0, 0.075), -0.9)]


def pen(rng: np.random.Generator) -> list[Piece]:
    """A pen: a light tube around a denser core, with a clip."""
    width = rng.uniform(0.05, 0.08)
    return [
        Piece(box(-0.5, -width, 0.44, width), 0.22),
        Piece(box(-0.4, -width / 3, 0.5, width / 3), 0.35),
        Piece(box(-0.5, width, -0.2, width + 0.03), 0.4),
    ]


def ruler(rng: np.random.Generator) -> list[Piece]:
    """A flat bar of metal with round ends."""
    width = rng.uniform(0.05, 0.08)
    bar = [Piece(box(-0.44, -width, 0.44, width), 0.35)]
    return [*bar, *(Piece(disc(x, 0, width), 0.3) for x in (-0.44, 0.44)), Piece(disc(-0.42, 0, width / 2), -0.3)]


def key(rng: np.random.Generator) -> list[Piece]:
    """A key: a ring, a shaft and teeth."""
    teeth = [box(x, 0.03, x + 0.06, 0.03 + rng.uniform(0.04, 0.12)) for x in (0.2, 0.29, 0.38)]
    return [
        Piece(disc(-0.3, 0, 0.2), 0.7),
        Piece(disc(-0.36, 0, 0.09), -0.7),
        Piece(box(-0.12, -0.05, 0.48, 0.04), 0.7),
        *(Piece(tooth, 0.7) for tooth in teeth),
    ]


def coins(rng: np.random.Generator) -> list[Piece]:
    """Two or three coins that may overlap."""
    places = rng.uniform(-0.22, 0.22, size=(int(rng.integers(2, 4)), 2))
    return [Piece(disc(x, y, rng.uniform(0.16, 0.24)), 0.6) for x, y in places]


def phone(rng: np.random.Generator) -> list[Piece]:
    """A telephone: a light case, a battery, a board with parts on it."""
    parts = [box(x, y, x + 0.07, y + 0.06) for x, y in rng.uniform([0.1, -0.18], [0.36, 0.12], size=(5, 2))]
    return [
        Piece(box(-0.5, -0.25, 0.5, 0.25), 0.2),
        Piece(box(-0.42, -0.18, 0.02, 0.18), 0.4),
        Piece(box(0.07, -0.2, 0.46, 0.2), 0.15),
        *(Piece(part, 0.35) for part in parts),
    ]


def bottle(rng: np.random.Generator) -> list[Piece]:
    """A plastic bottle, partly full."""
    level = rng.uniform(-0.2, 0.2)
    body = np.array(
        [[-0.5, -0.2], [0.18, -0.2], [0.34, -0.08], [0.46, -0.08], [0.46, 0.08], [0.34, 0.08], [0.18, 0.2], [-0.5, 0.2]]
    )
    return [Piece(body, 0.16), Piece(box(-0.48, -0.18, level, 0.18), 0.4), Piece(box(0.4, -0.1, 0.5, 0.1), 0.25)]


def cable(rng: np.random.Generator) -> list[Piece]:
    """A bent wire with a plug."""
    turn = np.linspace(0, rng.uniform(2, 3.2) * np.pi, 60)
    radius = 0.42 - 0.022 * turn
    path = np.stack([radius * np.cos(turn), rng.uniform(0.7, 1.0) * radius * np.sin(turn)], axis=1)
    return [Piece(stroke(path, 0.05), 0.55), Piece(box(0.34, -0.07, 0.5, 0.07), 0.4)]


def glasses(rng: np.random.Generator) -> list[Piece]:
    """Spectacles, folded."""
    size = rng.uniform(0.19, 0.23)
    lenses = [disc(x, 0, size, 0.8) for x in (-0.26, 0.26)]
    rims = [stroke(np.concatenate([lens, lens[:1]]), 0.035) for lens in lenses]
    return [
        *(Piece(lens, 0.14) for lens in lenses),
        *(Piece(rim, 0.5) for rim in rims),
        Piece(box(-0.45, -0.2, 0.4, -0.17), 0.5),
    ]


def buckle(rng: np.random.Generator) -> list[Piece]:
    """A belt's end with its buckle."""
    height = rng.uniform(0.2, 0.26)
    return [
        Piece(box(-0.5, -0.16, 0.1, 0.16), 0.16),
        Piece(box(0.05, -height, 0.5, height), 0.75),
        Piece(box(0.13, -height + 0.08, 0.42, height - 0.08), -0.75),
        Piece(box(0.05, -0.02, 0.5, 0.02), 0.5),
    ]


#: What makes an image of its class.
THREATS: dict[str, Shape] = {"gun": gun, "knife": knife, "shuriken": shuriken}
#: What lies about in bags, and what an image of the class "others" shows.
THINGS: tuple[Shape, ...] = (pen, ruler, key, coins, phone, bottle, cable, glasses, buckle)


def place(pieces: list[Piece], length: float, centre: np.ndarray, rng: np.random.Generator) -> list[Piece]:
    """Tilt a shape out of the plane, turn it, and bring it to its length and place, in pixels."""
    angle, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    mirror = rng.choice([-1.0, 1.0])
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1.0, tilt * mirror])
    return [Piece(length * piece.outline @ turn.T + centre, piece.depth) for piece in pieces]
