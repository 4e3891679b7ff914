"""Print every measurement: ``python -m benchmarks [start] [window] [retuning]``; all of them by default."""

from __future__ import annotations

import sys

from benchmarks import retuning, start, window

PARTS = {"start": start.main, "window": window.main, "retuning": retuning.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"== {name}", flush=True)
        PARTS[name]()
