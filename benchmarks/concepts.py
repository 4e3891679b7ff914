"""The colour example of docs/concepts.md with several seeds, and fixed sets of random images taken for concepts.

``python -m benchmarks.concepts`` prints, for each seed, which concepts are significant, by the test of Kim et al. (2018)
alone and by both tests; and how many of 30 fixed random sets, times three classes, each finds at 0.05 without correction.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import tell
from napari_cam_feedback.cli import main as run_command
from napari_cam_feedback.explanations.tcav.sets import read_concept, read_concepts
from napari_cam_feedback.explanations.tcav.tcav import concepts

PAGE = Path(__file__).parents[1] / "docs" / "concepts.md"
SEEDS = range(6)
FIXED = 30


def run_page(seed: int) -> dict[str, Any]:
    """Run the page's examples in the current folder with another seed of images and weights; return what they defined."""
    defined: dict[str, Any] = {"__name__": "example"}
    for language, content in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        if language == "sh":
            run_command([*shlex.split(content)[1:], "--seed", str(seed)])
        else:
            exec(content.replace("default_rng(0)", f"default_rng({seed})"), defined)
    return defined


def main() -> None:
    """Print the table."""
    before = Path.cwd()
    paper = both = tests = 0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    found = run_page(seed)
                    start = time.perf_counter()
                    concepts(
                        found["classifier"],
                        found["dataset"],
                        read_concepts("concepts"),
                        read_concept("random"),
                        split="test",
                    )
                    took = time.perf_counter() - start
                    for n in range(FIXED):
                        for number in range(60):
                            colours = found["rng"].choice(list(found["COLOURS"]), found["rng"].integers(2, 5))
                            found["write"](f"fixed/{n:02d}", colours, number)
                    fixed = concepts(
                        found["classifier"], found["dataset"], read_concepts("fixed"), read_concept("random"), split="test"
                    )
            finally:
                os.chdir(before)
        rows = found["result"].rows
        by_paper = [f"{row.concept}->{row.class_name}" for row in rows if row.p_corrected < 0.05]
        by_both = [f"{row.concept}->{row.class_name} {row.effect}" for row in rows if row.significant]
        print(
            f"seed {seed} ({took:.1f} s): by the paper's test {len(by_paper)} of {len(rows)}; by both {', '.join(by_both)}"
        )
        tell(f"three classes, six concepts, seed {seed}", took, "s")
        tests += len(fixed.rows)
        paper += sum(row.p < 0.05 for row in fixed.rows)
        both += sum(row.p < 0.05 and row.p_unusual < 0.05 for row in fixed.rows)
    print(f"fixed random sets at p < 0.05: by the paper's test {paper} of {tests}, by both {both}")


if __name__ == "__main__":
    main()
