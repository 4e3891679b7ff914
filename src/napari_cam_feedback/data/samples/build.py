"""What the samples share: where shipped files are, and from images in any order to a dataset with the keys of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_cam_feedback.data.formats.arrays import ArrayDataset


def sample_data_dir() -> Path:
    """Return the folder of the files shipped with the package (a checkout has them at its root)."""
    package = Path(__file__).resolve().parents[2]
    shipped = package / "sample_data"
    return shipped if shipped.is_dir() else package.parents[1] / "sample_data"


class Part(NamedTuple):
    """One split of a sample: images uint8 (N, H, W), labels (N,), masks bool (N, H, W) or None."""

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


def build(parts: Mapping[str, Part], class_names: Sequence[str]) -> ArrayDataset:
    """Return the dataset, each split ordered by class, with the keys ``<split>/<class>/<nnnn>.png``.

    That is the order and the names of the folder that `write_sample` writes, where the class names are
    sorted.
    """
    order = {split: np.argsort(part.labels, kind="stable") for split, part in parts.items()}
    keys: dict[str, list[str]] = {}
    for split, part in parts.items():
        keys[split] = []
        for label, name in enumerate(class_names):
            keys[split] += [f"{split}/{name}/{i:04d}.png" for i in range(int((part.labels == label).sum()))]
    return ArrayDataset(
        {split: part.images[order[split]] for split, part in parts.items()},
        {split: part.labels[order[split]] for split, part in parts.items()},
        class_names,
        {split: part.masks[order[split]] for split, part in parts.items() if part.masks is not None},
        keys=keys,
    )
