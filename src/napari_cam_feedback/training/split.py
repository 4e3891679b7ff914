"""Which images a training learns from and which it is judged by; where there is no split val, one is drawn and noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import DataError


@dataclass(frozen=True)
class TrainSplit:
    """The labelled images of a training.

    Attributes
    ----------
    train, validation : ndarray of int64
        Indices into the dataset, ascending; there may be none for validation.
    drawn : dict or None
        Where the validation images were drawn from the split train: ``share`` and ``seed``, from which `choose_split`
        draws the same again, and how many they are.
    """

    train: np.ndarray
    validation: np.ndarray
    drawn: dict[str, Any] | None = None


def choose_split(dataset: Dataset, share: float = 0.2, seed: int = 0) -> TrainSplit:
    """Take the splits train and val; where there is no val, draw a share of each class of train for it.

    A class of fewer than three images stays in train. The same labels, share and seed draw the same images.

    Parameters
    ----------
    dataset : Dataset
        With a split train.
    share : float
        0.2: an 80/20 split. 0: none is drawn.
    seed : int
        Of the draw.

    Raises
    ------
    DataError
        There is no split train, or it has fewer than two labelled images.
    """
    train = _labelled(dataset, "train")
    if len(train) < 2:
        raise DataError("There are fewer than two labelled images in the split train; add images to train on.")
    validation = _labelled(dataset, "val") if "val" in dataset.split_names else np.empty(0, np.int64)
    if len(validation) or not share:
        return TrainSplit(train, validation)
    drawn = []
    for label in np.unique(dataset.labels[train]):
        members = train[dataset.labels[train] == label]
        if len(members) >= 3:
            # A generator for each class keeps its draw as it is when another class grows.
            rng = np.random.default_rng([seed, int(label) + 1, 0x80])
            drawn.append(rng.permutation(members)[: max(1, round(share * len(members)))])
    if not drawn:
        return TrainSplit(train, validation)
    validation = np.sort(np.concatenate(drawn))
    note = {"share": share, "seed": seed, "images": len(validation)}
    return TrainSplit(np.setdiff1d(train, validation), validation, note)


def _labelled(dataset: Dataset, split: str) -> np.ndarray:
    indices = dataset.indices(split)
    return indices[dataset.labels[indices] >= 0]
