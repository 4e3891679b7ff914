"""What splits are called, which of them are for testing, and a seeded split for datasets that come without one."""

from __future__ import annotations

import re

import numpy as np

TRAIN, VAL, TEST = "train", "val", "test"
KNOWN_SPLITS = (TRAIN, VAL, TEST)
_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development"), VAL),
    **dict.fromkeys(("test", "tests", "testing", "tst"), TEST),
}
# What else is kept for the end, beside every name with a word that begins with "test".
_FOR_TESTING = ("holdout", "heldout", "tst", "eval", "evaluation")

VAL_SHARE = TEST_SHARE = 0.15


def split_name(name: str) -> str:
    """Return what a split is called here: ``train``, ``val`` or ``test`` for their usual names, however they are written.

    ``Test``, ``TESTING``, ``validation``, ``dev`` and the like; other names, such as ``test-clean``, stay as they are.
    """
    return _NAMES.get(name.strip().casefold(), name)


def is_usual(name: str) -> bool:
    """Tell whether a folder or a column is named as train, val or test usually are."""
    return name.strip().casefold() in _NAMES


def is_test(name: str) -> bool:
    """Tell whether a split is for testing, so that nothing is learnt from its images.

    One word of its name begins with "test", in any case (``test``, ``Test-clean``, ``external_test``), or it is called
    ``holdout``, ``hold-out``, ``held_out``, ``tst`` or ``evaluation``.
    """
    # A capital within a name begins a word: testSet, externalTest.
    words = re.sub(r"(?<=[^\W\d_])(?=[A-Z][a-z])", " ", name)
    parts = [part for part in re.split(r"[\W\d_]+", words.casefold()) if part]
    return any(part.startswith(TEST) or part in _FOR_TESTING for part in (*parts, "".join(parts)))


def stratified_splits(labels: np.ndarray, seed: int = 0, *, files: np.ndarray | None = None) -> np.ndarray:
    """Split each class 70/15/15 into train, val and test.

    A class of three images or more is in all three splits; of two, in train and test; a single one is in
    train. The same labels in the same order and the same seed give the same split on every platform.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        The items' labels; those without one (-1) are split like a class.
    seed : int
        Seeds the shuffling within each class.
    files : ndarray of int, shape (N,), optional
        Which file each item is from. Pages of one file are often so alike that a model tested on one and trained
        on the others looks better than it is; so files are dealt out whole where a class has three or more.

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
        members = np.flatnonzero(labels == label)
        if files is not None:
            found, number = np.unique(files[members], return_inverse=True)
            if len(found) >= 3:
                splits[members] = _deal(len(found), rng)[number]
                continue
        splits[members] = _deal(len(members), rng)
    return splits


def _deal(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a split for each of `n` things."""
    splits = np.full(n, "train", dtype="<U5")
    order = rng.permutation(n)
    n_test = max(1, round(TEST_SHARE * n)) if n >= 2 else 0
    n_val = max(1, round(VAL_SHARE * n)) if n >= 3 else 0
    splits[order[:n_test]] = "test"
    splits[order[n_test : n_test + n_val]] = "val"
    return splits
