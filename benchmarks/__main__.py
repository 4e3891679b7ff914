"""Print all measurements, or some: ``python -m benchmarks [PART ...]``; of one part, options may follow (``--help``).

``python -m benchmarks page FILE.md [PART ...]`` writes them into one page, with the machine's description;
``python -m benchmarks compare OLD.md NEW.md`` says what got worse between two of these.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    compare,
    concepts,
    dataset_index,
    explaining,
    filters,
    gaps,
    groups,
    page,
    painting,
    rounds,
    start,
    styles,
    suggest,
    window,
)
from benchmarks.retuning import cost, enough, goals, masks, methods_table, real_networks, verdicts

PARTS: dict[str, Callable[..., None]] = {
    "start": start.main,
    "index": dataset_index.main,
    "explain": explaining.main,
    "filters": filters.main,
    "concepts": concepts.main,
    "window": window.main,
    "gaps": gaps.main,
    "retuning": goals.main,
    "networks": real_networks.main,
    "verdicts": verdicts.main,
    "cost": cost.main,
    "masks": masks.main,
    "enough": enough.main,
    "methods": methods_table.main,
    "rounds": rounds.main,
    "groups": groups.main,
    "styles": styles.main,
    "suggest": suggest.main,
    "painting": painting.main,
}
#: Those that take options.
OPEN = (
    "gaps",
    "retuning",
    "networks",
    "verdicts",
    "cost",
    "masks",
    "enough",
    "groups",
    "methods",
    "rounds",
    "styles",
    "suggest",
    "painting",
)

if __name__ == "__main__":
    first, *rest = sys.argv[1:] or [""]
    if first.startswith("-") or (first == "page" and (not rest or rest[0].startswith("-"))):
        sys.exit(f"{__doc__}\nParts: {', '.join(PARTS)}.")
    if first == "compare":
        sys.exit(compare.main(rest))
    if first == "page":
        page.write_page(Path(rest[0]), rest[1:] or list(PARTS))
    elif first in OPEN and rest and rest[0] not in PARTS:
        PARTS[first](rest)
    else:
        for name in sys.argv[1:] or PARTS:
            print(f"== {name}", flush=True)
            PARTS[name]()
