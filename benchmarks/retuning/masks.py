"""How many masks it takes, and what sloppy ones do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from scipy.ndimage import binary_dilation

from benchmarks.retuning.measure import Outcome, Setup, measure, setups
from benchmarks.retuning.options import parse
from benchmarks.retuning.tables import Row, show, span, write_csv
from napari_cam_feedback.feedback import known_masks

COUNTS = (2, 5, 10, 20, 50, 100)
USUAL = 20
Masks = dict[str, np.ndarray]


def half_missing(masks: Mapping[str, np.ndarray], rng: np.random.Generator) -> Masks:
    """Return masks of which one half (left, right, upper or lower, at random) was not painted."""
    return {key: _half(mask, rng) for key, mask in masks.items()}


def dilated(masks: Mapping[str, np.ndarray], rng: np.random.Generator) -> Masks:
    """Return masks painted too large: by a tenth of the image's side all around."""
    return {key: binary_dilation(mask, iterations=max(1, mask.shape[0] // 10)) for key, mask in masks.items()}


def wrong_images(masks: Mapping[str, np.ndarray], rng: np.random.Generator, share: float = 1.0) -> Masks:
    """Return masks of which a share lies on the wrong image: that of another image of these."""
    keys = list(masks)
    chosen = rng.permutation(len(keys))[: round(share * len(keys))]
    moved = dict(masks)
    for at, source in zip(chosen, np.roll(chosen, 1), strict=True):
        moved[keys[at]] = masks[keys[source]]
    return moved


def another_corner(masks: Mapping[str, np.ndarray], rng: np.random.Generator) -> Masks:
    """Return masks turned or shifted to where least of what they were lies: the other corner, side or half of the image."""
    return {key: _least_common(mask, _elsewhere(mask)) for key, mask in masks.items()}


def random_places(masks: Mapping[str, np.ndarray], rng: np.random.Generator, tries: int = 50) -> Masks:
    """Return masks shifted at random, each of several shifts that by which least of what it was is left in it.

    What is shifted over an edge comes in at the other side.
    """
    moved = {}
    for key, mask in masks.items():
        shifts = [[int(rng.integers(side)) for side in mask.shape] for _ in range(tries)]
        moved[key] = _least_common(mask, (np.roll(mask, shift, (0, 1)) for shift in shifts))
    return moved


SLOPPY: dict[str, Callable[[Mapping[str, np.ndarray], np.random.Generator], Masks]] = {
    "exact": lambda masks, _: dict(masks),
    "half of each missing": half_missing,
    "painted too large": dilated,
    "a quarter on wrong images": lambda masks, rng: wrong_images(masks, rng, 0.25),
    "all on wrong images": wrong_images,
}


def main(words: Sequence[str] = ()) -> None:
    """Print both tables; write ``masks.csv`` (means) and ``masks_runs.csv``."""
    options = parse(words, "The number of masks, and sloppy masks.", ("tag-digits", "crosses", "symbols"))
    runs: list[Row] = []
    table: list[Row] = []
    for case in options.data:
        found: dict[tuple[int, str], list[Outcome]] = {}
        for setup in setups(case, options.seeds):
            for count, kind in [*((count, "exact") for count in COUNTS), *((USUAL, kind) for kind in list(SLOPPY)[1:])]:
                outcome = _retuned(setup, count, kind)
                found.setdefault((count, kind), []).append(outcome)
                runs.append({**asdict(outcome), "painted": kind})
                write_csv("masks_runs", runs)
        own: list[Row] = [
            {
                "data": case.name,
                "masks": count,
                "painted": kind,
                "before": span(o.before for o in outcomes),
                "after": span(o.after for o in outcomes),
                "gap closed": span(o.gap_closed for o in outcomes),
                "verdicts": ", ".join(sorted({o.verdict for o in outcomes})),
            }
            for (count, kind), outcomes in found.items()
        ]
        print(show(own), flush=True)
        table += own
        write_csv("masks", table)


def _retuned(setup: Setup, count: int, kind: str) -> Outcome:
    masks = SLOPPY[kind](known_masks(setup.dataset, count, seed=setup.seed), np.random.default_rng(setup.seed))
    outcome = measure(setup, masks)
    assert isinstance(outcome, Outcome), outcome
    return outcome


def _half(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    axis, upper = int(rng.integers(2)), bool(rng.integers(2))
    places = np.moveaxis(mask, axis, 0).copy()
    rows = np.flatnonzero(places.any(1))
    kept = rows[: (len(rows) + 1) // 2] if upper else rows[len(rows) // 2 :]
    places[np.setdiff1d(rows, kept)] = False
    return np.moveaxis(places, 0, axis)


def _least_common(mask: np.ndarray, moved: Iterable[np.ndarray]) -> np.ndarray:
    """Return the first of those that have the fewest pixels in common with the mask."""
    return min(moved, key=lambda found: int((found & mask).sum()))


def _elsewhere(mask: np.ndarray) -> list[np.ndarray]:
    height, width = mask.shape
    return [
        mask[::-1, ::-1].copy(),
        mask[:, ::-1].copy(),
        mask[::-1].copy(),
        np.roll(mask, height // 2, 0),
        np.roll(mask, width // 2, 1),
    ]
