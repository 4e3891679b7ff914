"""One page of all measurements: ``python -m benchmarks page FILE.md [PART ...]``.

Each part runs in a process of its own, so that one that fails, or lacks something, leaves the others alone.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, read
from napari_cam_feedback.doctor import machine
from napari_cam_feedback.files import atomic_path

_HEAD = """# Benchmarks

Made by `make benchmark` on one machine, which is described first; elsewhere, or on a busy one, the seconds are others, and
ratios are much the same. `python -m benchmarks compare OLD.md NEW.md` says what got worse from one such page to the next.
What the accuracies mean is in [What was measured](measured.md).
"""
_LIBRARIES = ("napari-cam-feedback", "Python", "system", "napari", "numpy", "torch", "torchvision", "PySide6", "PyQt6")
_ROW = re.compile(
    r"^\| (?P<part>[\w-]+) \| (?P<name>[^|]+) \| (?P<value>\S+) \| (?P<unit>\S*) ?\| (?P<better>less|more) \|$"
)


def write_page(file: Path, parts: Sequence[str]) -> None:
    """Run parts, print what they say, and write the page."""
    figures: dict[str, list[Figure]] = {}
    texts: dict[str, str] = {}
    for part in parts:
        print(f"== {part}", flush=True)
        begin = time.perf_counter()
        figures[part], texts[part] = _run(part)
        texts[part] += f"\n({time.perf_counter() - begin:.0f} s)"
    lines = [_HEAD, "## The machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in describe().items()]
    lines += ["", "## Figures", "", "| part | figure | value | unit | better |", "|---|---|---|---|---|"]
    lines += [
        f"| {part} | {each.name} | {each.value:.4g} | {each.unit} | {each.better} |"
        for part in parts
        for each in figures[part]
    ]
    for part in parts:
        lines += ["", f"## {part}", "", "```text", texts[part].strip("\n"), "```"]
    with atomic_path(file) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"The page is {file}.")


def read_page(file: Path) -> dict[tuple[str, str], Figure]:
    """Return the figures of a page by part and name."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = _ROW.match(line)
        if row is not None:
            better = "less" if row["better"] == "less" else "more"
            found[row["part"], row["name"]] = Figure(row["name"], float(row["value"]), row["unit"], better)  # type: ignore[arg-type]
    return found


def describe() -> dict[str, str]:
    """Return the machine, without names of anybody."""
    software = machine.describe_software()
    found = {name: software[name] for name in _LIBRARIES if name in software}
    found |= {"processor": _processor(), **machine.describe_machine()}
    found |= machine.describe_torch("auto")
    if hasattr(os, "getloadavg"):
        found["busy"] = f"{os.getloadavg()[2]:.1f} processes wanted to run, on average of the last quarter of an hour"
    found["date"] = datetime.date.today().isoformat()
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _run(part: str) -> tuple[list[Figure], str]:
    command = [sys.executable, "-m", "benchmarks", part]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        print(line, end="", flush=True)
        said.append(line.rstrip("\n"))
    figures, others = read(said)
    if process.wait():
        others.append(f"This part failed with status {process.returncode}.")
    return figures, "\n".join(line for line in others if line != f"== {part}")
