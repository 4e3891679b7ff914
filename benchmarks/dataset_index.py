"""What an index of a million images costs: opening it, and each step through it beside one of a hundred.

Every size is measured in a fresh process, with a hundred images on disk spread over the index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import tell
from benchmarks.memory import peak_bytes

SIZES = (100, 1_000_000)
_STEPS = 100
_CLASSES = 100


def _path(n: int) -> str:
    split = ("train", "train", "train", "val", "test")[n % 5]
    return f"images/{split}/class_{n % _CLASSES:03d}/photograph_{n:09d}_{n * 7919 % 9999991:07d}.jpeg"


def _visited(size: int) -> list[int]:
    return np.linspace(0, size - 1, _STEPS).astype(int).tolist()


def _write(folder: Path, size: int) -> Path:
    """Write the index and those of its images that are visited."""
    with (folder / "labels.csv").open("w") as file:
        file.write("path,label,split\n")
        file.writelines(f"{_path(n)},class_{n % _CLASSES:03d},{_path(n).split('/')[1]}\n" for n in range(size))
    noise = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    for n in _visited(size):
        path = folder / _path(n)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    return folder / "labels.csv"


def _measure(index: Path) -> dict[str, float]:
    """Open the index and step through it; seconds, and megabytes where the name says so."""
    start = time.perf_counter()
    from napari_cam_feedback.data import open_dataset

    found = {"importing": time.perf_counter() - start}
    start = time.perf_counter()
    dataset = open_dataset(index)
    found["opening"] = time.perf_counter() - start
    found["peak MB"] = peak_bytes() / 1e6
    assert "torch" not in sys.modules

    from qtpy.QtCore import Qt

    from napari_cam_feedback.widgets.browse.item_table import KEY, ItemTable
    from napari_cam_feedback.widgets.session.item_order import ItemOrder

    table = ItemTable()
    found["filling the table"] = _seconds(lambda: table.set_dataset(dataset))
    found["filtering by two words"] = _seconds(
        lambda: table.set_filter(text="photograph_0000 class_07", split="train", wrong=False, painted=False)
    )
    found["sorting by name"] = _seconds(lambda: table.sort(KEY, Qt.SortOrder.DescendingOrder))
    table.sort(-1)
    table.set_filter(text="", split=None, wrong=False, painted=False)

    visited = _visited(len(dataset))
    keys = [dataset.keys[n] for n in visited]
    order = ItemOrder(table.shown, len(dataset))
    probabilities = np.full((1, _CLASSES), 1 / _CLASSES, np.float32)
    steps: dict[str, Callable[[int], object]] = {
        "read": lambda i: dataset.read(visited[i]),
        "image_size": lambda i: dataset.image_size(visited[i]),
        "item": lambda i: dataset.item(visited[i]),
        "keys[i]": lambda i: dataset.keys[visited[i]],
        "index_of": lambda i: dataset.index_of(keys[i]),
        "ItemOrder.step": lambda i: order.step(visited[i], 1),
        "ItemTable.row_of": lambda i: table.row_of(visited[i]),
        "ItemTable.data, six cells": lambda i: [table.data(table.index(visited[i], column)) for column in range(6)],
        "ItemTable.set_painted": lambda i: table.set_painted(visited[i], not table.painted[visited[i]]),
        "ItemTable.set_predictions": lambda i: table.set_predictions(np.array([visited[i]]), probabilities),
    }
    for name, step in steps.items():
        step(0)
        # The median, since on a busy machine a step now and then waits for its turn.
        found[f"step: {name}"] = float(np.median([_seconds(lambda i=i, step=step: step(i)) for i in range(_STEPS)]))
    return found


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measure both sizes and print them beside each other."""
    results = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            index = _write(Path(folder), size)
            command = [sys.executable, "-m", "benchmarks.dataset_index", str(index)]
            results.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    small, large = results
    print(f"{'':28} {SIZES[0]:>12,} {SIZES[1]:>12,}   ratio")
    for name, value in large.items():
        if name.startswith("step: "):
            print(f"{name:28} {small[name] * 1e6:9.1f} µs {value * 1e6:9.1f} µs   {value / small[name]:5.2f}")
        else:
            unit = "MB" if name.endswith("MB") else "s "
            print(f"{name:28} {small[name]:9.2f} {unit} {value:9.2f} {unit}")
    tell("opening an index of a million images", large["opening"], "s")
    tell("peak of memory with it", large["peak MB"], "MB")
    ratios = [large[name] / small[name] for name in large if name.startswith("step: ")]
    tell(f"the slowest step, {SIZES[-1]:,} beside {SIZES[0]:,} images", max(ratios))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(Path(sys.argv[1]))))
    else:
        main()
