"""What importing the package and starting napari with it load."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.figures import tell


def main() -> None:
    """Measure in fresh processes and print."""
    for what, code in (
        ("import napari_cam_feedback", "import napari_cam_feedback"),
        ("import napari", "import napari"),
        ("import torch, by our loader", "import napari_cam_feedback.torch_loader"),
    ):
        script = f"import time, sys; t = time.perf_counter(); {code}; print(time.perf_counter() - t, 'torch' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        print(f"{what}: {float(found[0]):.2f} s, torch loaded: {found[1]}")
        tell(what, float(found[0]), "s")
