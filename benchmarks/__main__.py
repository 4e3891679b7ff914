"""Print every measurement: ``python -m benchmarks [start] [index] [window] [retuning]``; all of them by default."""

from __future__ import annotations

import sys

from benchmarks import dataset_index, retuning, start, window

PARTS = {"start": start.main, "index": dataset_index.main, "window": window.main, "retuning": retuning.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"== {name}", flush=True)
        PARTS[name]()
