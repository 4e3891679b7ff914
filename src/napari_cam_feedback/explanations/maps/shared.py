"""Maps made by several processes, brought to the first of them in the order in which one process would make them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.explanations.maps.split import ItemMap
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.parallel.shares import agreed, gather_rows

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Round:
    """A batch of each process.

    Attributes
    ----------
    n : int
        Items in all.
    own : list of ItemMap
        This process's.
    merged : list of ItemMap
        In the first of several processes those of all, in the dataset's order; else none.
    """

    n: int
    own: list[ItemMap]
    merged: list[ItemMap]


def rounds_of(
    batches: Iterator[list[ItemMap]], classifier: Classifier, dataset: Dataset, *, merge: bool, fabric: Fabric | None
) -> Iterator[Round]:
    """Yield the batches of all processes, one of each at a time; memory does not grow with their number.

    What travels are the maps at the target layer's size, which is little.

    Parameters
    ----------
    batches : iterator
        Of `iterate_maps`, with the same Fabric.
    classifier, dataset
        As there.
    merge : bool
        Whether the first process is to have the maps of all.
    fabric : Fabric or None
        Launched.
    """
    if fabric is None or fabric.world_size == 1:
        yield from (Round(len(batch), batch, []) for batch in batches)
        return
    while True:
        with agreed(fabric):
            own = next(batches, None)
        if own is None:
            return
        if merge:
            tables = [gather_rows(table, fabric) for table in _tables(own)]
            n = len(tables[0])
            merged = _items(tables, own, classifier, dataset) if fabric.is_global_zero else []
        else:
            n, merged = len(gather_rows(np.zeros(len(own)), fabric)), []
        yield Round(n, own, merged)


def _tables(items: list[ItemMap]) -> list[np.ndarray]:
    """The items as arrays: index, height, width and class predicted; classes explained; probabilities; maps."""
    if not items:
        return [np.empty(shape, kind) for shape, kind in (((0, 0), int), ((0, 0), int), ((0, 0), "f4"), ((0,) * 4, "f4"))]
    return [
        np.array([(item.index, *item.size, item.predicted) for item in items], np.int64),
        np.stack([item.targets for item in items]).astype(np.int64),
        np.stack([item.probabilities for item in items]).astype(np.float32),
        np.stack([item.raw for item in items]).astype(np.float32),
    ]


def _items(tables: list[np.ndarray], own: list[ItemMap], classifier: Classifier, dataset: Dataset) -> list[ItemMap]:
    names = classifier.class_names
    method = own[0].method if own else ""
    return [
        ItemMap(
            int(index),
            dataset.keys[int(index)],
            targets,
            tuple(names[int(target)] for target in targets),
            method,
            raw,
            (int(height), int(width)),
            classifier.preprocessing,
            int(predicted),
            probabilities,
        )
        for (index, height, width, predicted), targets, probabilities, raw in zip(*tables, strict=True)
    ]
