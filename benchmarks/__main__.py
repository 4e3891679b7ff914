"""Print all measurements, or: ``python -m benchmarks [start index explain filters concepts window retuning]``."""

from __future__ import annotations

import sys

from benchmarks import concepts, dataset_index, explaining, filters, retuning, start, window

PARTS = {
    "start": start.main,
    "index": dataset_index.main,
    "explain": explaining.main,
    "filters": filters.main,
    "concepts": concepts.main,
    "window": window.main,
    "retuning": retuning.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"== {name}", flush=True)
        PARTS[name]()
