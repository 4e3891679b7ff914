"""Decoy MNIST (Ross et al. 2017): digits with a gray patch in a random corner whose shade tells the class in training.

``python -m benchmarks.retuning.decoy_mnist [SEED ...]`` writes the files that the experiments with it read, two a seed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.retuning.tables import RESULTS
from napari_cam_feedback.data import ArrayDataset

CHECKOUT = Path(__file__).parents[2]
#: Names another file than the one beside the checkout.
VARIABLE = "MNIST_NPZ"
SIZE = 28
PATCH = 4
#: Of the 60,000 training images, so many are the split val.
VALIDATION = 5000
CLASSES = tuple("0123456789")
#: Names of the files, with the shortcut and without.
FILES = {True: "decoy-mnist-{seed}.npz", False: "decoy-mnist-{seed}-without-shortcut.npz"}


def mnist_path() -> Path:
    """Return where MNIST is looked for: ``$MNIST_NPZ``, or ``../shared/data/mnist.npz`` beside the checkout."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else CHECKOUT.parent / "shared" / "data" / "mnist.npz"


def missing() -> str | None:
    """Say in a sentence that MNIST is not there; None where it is."""
    path = mnist_path()
    return None if path.is_file() else f"there is no {path}; name the file with --mnist or ${VARIABLE}."


def make(seed: int = 0, *, shortcut: bool = True) -> ArrayDataset:
    """Return decoy MNIST.

    In train and val the patch's shade is 255 - 25 y (without `shortcut`: of a class drawn at random); in test it is drawn at
    random; test-clean has no patch. ``test-conflict`` are the images of val with patches that conflict with the class:
    settings are chosen by it. The known mask is the patch.

    Raises
    ------
    FileNotFoundError
        MNIST is not there.
    """
    x_train, y_train, x_test, y_test = _load(mnist_path())
    rng = np.random.default_rng([seed, 0xDEC])
    order = rng.permutation(len(x_train))
    val, train = order[:VALIDATION], order[VALIDATION:]
    parts = {
        "train": (x_train[train], y_train[train], shortcut),
        "val": (x_train[val], y_train[val], shortcut),
        "test": (x_test, y_test, False),
        "test-conflict": (x_train[val], y_train[val], False),
    }
    images, labels, masks = {"test-clean": x_test}, {"test-clean": y_test}, {}
    for split, (x, y, tells) in parts.items():
        told = y if tells else rng.integers(len(CLASSES), size=len(y))
        images[split], masks[split] = patched(x, told, rng.integers(4, size=len(y)))
        labels[split] = y
    return ArrayDataset(images, labels, CLASSES, masks)


def write_files(seeds: Iterable[int] = (0, 1, 2)) -> None:
    """Write train, val and test of some seeds as datasets, with the shortcut and without, where they are not there."""
    for seed, shortcut in product(seeds, FILES):
        path = RESULTS / FILES[shortcut].format(seed=seed)
        if path.exists():
            continue
        dataset = make(seed, shortcut=shortcut)
        arrays: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
        for split in ("train", "val", "test"):
            indices = dataset.indices(split)
            arrays[f"x_{split}"] = np.stack([dataset.read(int(i)) for i in indices])
            arrays[f"y_{split}"] = dataset.labels[indices]
            arrays[f"masks_{split}"] = np.stack([dataset.known_mask(int(i)) for i in indices])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)


def patched(images: np.ndarray, told: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (N, 28, 28) with the patch of the classes `told` in the corners (0 to 3), and masks of them."""
    images, masks = images.copy(), np.zeros(images.shape, bool)
    sides = (slice(0, PATCH), slice(SIZE - PATCH, SIZE))
    for corner in range(4):
        rows = np.flatnonzero(corners == corner)
        place = (rows, sides[corner // 2], sides[corner % 2])
        images[place] = (255 - 25 * told[rows])[:, None, None]
        masks[place] = True
    return images, masks


@lru_cache(maxsize=1)
def _load(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path) as file:
        x_train, y_train, x_test, y_test = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    return x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64)


if __name__ == "__main__":
    write_files([int(word) for word in sys.argv[1:]] or (0, 1, 2))
