"""The expert simulated: masks that came with the dataset, a few of them, as if somebody had painted those."""

from __future__ import annotations

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.errors import MaskError


def known_masks(dataset: Dataset, count: int | None = None, *, split: str = "train", seed: int = 0) -> dict[str, np.ndarray]:
    """Return masks known beforehand, spread evenly over the classes.

    Parameters
    ----------
    dataset : Dataset
        With known masks.
    count : int, optional
        How many; by default all.
    split : str
        Whose.
    seed : int
        Which images are taken.

    Returns
    -------
    dict
        Key to (H, W) bool, images without a masked pixel left out.

    Raises
    ------
    MaskError
        The split has no known masks.
    """
    rng = np.random.default_rng(seed)
    by_class: dict[int, list[int]] = {}
    for index in rng.permutation(dataset.indices(split)):
        by_class.setdefault(int(dataset.labels[index]), []).append(int(index))
    queues = [by_class[label] for label in sorted(by_class)]
    found: dict[str, np.ndarray] = {}
    while any(queues) and (count is None or len(found) < count):
        for queue in queues:
            # Taking turns keeps the classes balanced; an image without a mask does not cost its class the turn.
            while queue and (count is None or len(found) < count):
                index = queue.pop()
                mask = dataset.known_mask(index)
                if mask is not None and mask.any():
                    found[dataset.keys[index]] = mask
                    break
    if not found:
        raise MaskError(f"The split {split} has no masks known beforehand; paint some in napari and name their folder.")
    return found
