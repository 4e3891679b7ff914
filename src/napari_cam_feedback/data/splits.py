"""A seeded, stratified split for datasets that come without one."""

from __future__ import annotations

import numpy as np

VAL_SHARE = TEST_SHARE = 0.15


def stratified_splits(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Split each class 70/15/15 into train, val and test.

    A class of three images or more is in all three splits; of two, in train and test; a single one is in
    train. The same labels in the same order and the same seed give the same split on every platform.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        The items' labels; those without one (-1) are split like a class.
    seed : int
        Seeds the shuffling within each class.

    Returns
    -------
    ndarray of str, shape (N,)
        "train", "val" or "test" for each item.
    """
    labels = np.asarray(labels)
    splits = np.full(len(labels), "train", dtype="<U5")
    for label in np.unique(labels):
        # A generator for each class keeps its split as it is when another class grows.
        rng = np.random.default_rng([seed, int(label) + 1])
        members = rng.permutation(np.flatnonzero(labels == label))
        n = len(members)
        n_test = max(1, round(TEST_SHARE * n)) if n >= 2 else 0
        n_val = max(1, round(VAL_SHARE * n)) if n >= 3 else 0
        splits[members[:n_test]] = "test"
        splits[members[n_test : n_test + n_val]] = "val"
    return splits
