"""``python -m fuzz [--cases N] [--seed S] [--only READER]``: what ``make fuzz`` runs."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from fuzz.readers import READERS
from fuzz.run import fuzz


def main() -> int:
    """Fuzz every reader, two at a time; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="in all, shared evenly by the readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-finds"), help="folder for files that went wrong")
    given = parser.parse_args()
    chosen = [reader.name for reader in READERS if given.only in (None, reader.name)]
    each = max(1, round(given.cases / len(chosen)))
    began, total, wrong = time.monotonic(), 0, 0
    with ThreadPoolExecutor(2) as pool:
        runs = {pool.submit(fuzz, name, each, given.seed, given.keep): name for name in chosen}
        for run in as_completed(runs):
            name = runs[run]
            try:
                done, faults = run.result()
            except RuntimeError as error:
                wrong += 1
                print(f"{name}: could not be begun: {error}", flush=True)
                continue
            total, wrong = total + done, wrong + len(faults)
            print(f"{name}: {done} cases, {len(faults)} kinds of fault", flush=True)
            for fault in faults:
                print(f"  {fault.what}: {fault.file}", flush=True)
    print(f"{total} cases in {time.monotonic() - began:.0f} s, {wrong} kinds of fault.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
