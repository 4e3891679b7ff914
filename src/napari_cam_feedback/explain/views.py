"""Views of a raw signed map, for the eye: positive part, stretched to 0..1, at the image's size."""

from __future__ import annotations

import numpy as np


def has_evidence(raw: np.ndarray) -> bool:
    """Tell whether a signed map has any positive part; if not, nothing in the image speaks for the class."""
    return bool(np.max(raw, initial=0.0) > 0)


def unit_range(values: np.ndarray) -> np.ndarray:
    """Stretch values to 0..1 (float32); constant values become zeros."""
    values = np.asarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    if high - low <= np.finfo(np.float32).tiny:
        return np.zeros_like(values)
    return (values - low) / np.float32(high - low)


def cam_display(signed: np.ndarray) -> np.ndarray:
    """Turn a signed map (H, W) into what is shown: ReLU, then stretched to 0..1 float32.

    A map with no positive part becomes zeros, not noise stretched to full contrast.
    """
    return unit_range(np.maximum(np.asarray(signed, np.float32), 0))


def mass_inside(signed: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of a map's positive mass that lies inside a mask (both (H, W)); None where there is no mass."""
    positive = np.maximum(np.asarray(signed, np.float64), 0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else None
