"""Print every measurement: ``python -m benchmarks [start] [index] [explain] [window] [retuning]``; by default all."""

from __future__ import annotations

import sys

from benchmarks import dataset_index, explaining, retuning, start, window

PARTS = {
    "start": start.main,
    "index": dataset_index.main,
    "explain": explaining.main,
    "window": window.main,
    "retuning": retuning.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"== {name}", flush=True)
        PARTS[name]()
