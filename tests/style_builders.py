"""Images with what cannot be painted, and a data set in which it tells the class."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_cam_feedback.data import ArrayDataset

SIZE = 24


def scenes(
    count: int, seed: int, label: np.ndarray | None = None, light: tuple[int, int] = (70, 110)
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 24, 24, 3) of a bar on coloured paper, lying (class 0) or standing (class 1)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=count) if label is None else label
    images = rng.integers(60, 120, (count, 1, 1, 3)) + rng.normal(0, 6, (count, SIZE, SIZE, 3))
    for image, upright in zip(images, labels, strict=True):
        at, start = rng.integers(3, SIZE - 6), rng.integers(2, 8)
        bar = np.s_[start : start + 14, at : at + 3] if upright else np.s_[at : at + 3, start : start + 14]
        image[bar] += rng.integers(*light)
    return images.clip(0, 255).astype(np.uint8), labels


def tint(images: np.ndarray) -> np.ndarray:
    return (0.6 * images + 0.4 * np.array([230, 150, 60])).clip(0, 255).astype(np.uint8)


def contrast(images: np.ndarray) -> np.ndarray:
    return (0.5 * images + 60).astype(np.uint8)


def blur(images: np.ndarray) -> np.ndarray:
    return gaussian_filter(images.astype(float), (0, 1.0, 1.0, 0)).astype(np.uint8)


def noise(images: np.ndarray) -> np.ndarray:
    drawn = np.random.default_rng(3).normal(0, 20, images.shape)
    return (images + drawn).clip(0, 255).astype(np.uint8)


CHANGES = {change.__name__: change for change in (tint, contrast, blur, noise)}


def unlabelled(images: np.ndarray) -> ArrayDataset:
    return ArrayDataset({"all": images}, {"all": np.zeros(len(images), np.int64)}, ("all",))


def biased(change, *, share: float = 0.95) -> ArrayDataset:
    """Class 1 has the style, but for one in twenty images; in test it is the other way round."""
    images, labels, rng = {}, {}, np.random.default_rng(0)
    for seed, (split, count) in enumerate({"train": 400, "val": 120, "test": 200}.items()):
        found, labels[split] = scenes(count, 10 + seed, light=(40, 70))
        told = (rng.random(count) < share) == (labels[split] == 1)
        told = ~told if split == "test" else told
        images[split] = np.where(told[:, None, None, None], change(found), found)
    return ArrayDataset(images, labels, ("lying", "standing"))
