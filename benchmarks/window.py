"""What the window costs: moving to the next image, stalls of the event loop during a retune, and stopping.

A real viewer is driven, so a display (or Xvfb) is needed. Everything is measured in one process, one thing after the other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.figures import tell


def _big_project(folder: Path) -> tuple[Path, Path]:
    """Write 60 RGB images of 224x224 and a resnet18 with random weights."""
    from napari_cam_feedback.data import Preprocessing
    from napari_cam_feedback.models import build_classifier, save_classifier

    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 10), ("test", 10)):
        for n in range(count):
            path = folder / "data" / split / ("a", "b")[n % 2] / f"{n:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 255, (14, 14, 3), np.uint8)
            Image.fromarray(coarse).resize((224, 224)).save(path)
    preprocessing = Preprocessing(size=(224, 224), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = folder / "resnet18.safetensors"
    save_classifier(build_classifier("torchvision:resnet18", ("a", "b"), preprocessing), model)
    return folder / "data", model


class _Gaps:
    """Times between two turns of the event loop, from a timer of 5 ms."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.seconds: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now

    def clear(self) -> None:
        self.seconds.clear()
        self._last = time.perf_counter()

    def __str__(self) -> str:
        ms = np.array(self.seconds) * 1000
        return f"median {np.median(ms):.0f} ms, 99 % {np.percentile(ms, 99):.0f} ms, worst {ms.max():.0f} ms"


def main() -> None:
    """Measure and print."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_cam_feedback.demo import prepare_sample
    from napari_cam_feedback.feedback import known_masks
    from napari_cam_feedback.widgets.session.session import session_of
    from napari_cam_feedback.widgets.viewer.docks import LEADING, LOOK, open_dock

    def wait(done: Callable[[], Any], seconds: float = 120.0) -> None:
        end = time.perf_counter() + seconds
        while not done():
            if time.perf_counter() > end:
                raise TimeoutError
            QApplication.processEvents()
            time.sleep(0.001)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1600, 1000)
        start = time.perf_counter()
        leading = open_dock(viewer, LEADING)
        print(f"The leading dock opens in {1000 * (time.perf_counter() - start):.0f} ms")
        session = session_of(viewer)
        gaps = _Gaps()
        from napari_cam_feedback.torch_loader import torch

        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        data, model = _big_project(folder / "big")
        session_widget = leading.open
        leading.show_step(LOOK)
        session_widget.choose_files(model, data, folder / "project")
        session_widget.load()
        wait(lambda: session.explanation is not None)
        wait(lambda: not session.jobs.running("predict"))
        moves = []
        for _ in range(30):
            # What is near is prefetched; a user looks at an image before moving on.
            near = session.order[max(0, session._position - 1) : session._position + 2]
            wait(lambda near=near: all(session.explanation_cache.peek(int(j), session.target, session.method) for j in near))
            start = time.perf_counter()
            session.step(1)
            moves.append(1000 * (time.perf_counter() - start))
        print(
            f"next image at 224x224, resnet18, prefetched: median {np.median(moves):.0f} ms, worst {max(moves):.0f} ms "
            f"(image, CAM and mask are set when the call returns)"
        )
        tell("the next image, prefetched, median", float(np.median(moves)), "ms")
        strokes = []
        for column in range(20):
            file = session.masks.path(session.key)
            session.layers.get("mask").paint((100, 60 + column), 1)
            start = time.perf_counter()
            wait(file.exists)
            strokes.append(1000 * (time.perf_counter() - start))
            session.step(-1)
        print(f"a stroke is on disk after: median {np.median(strokes):.0f} ms, worst {max(strokes):.0f} ms")
        tell("a stroke is on disk, median", float(np.median(strokes)), "ms")
        data, model = prepare_sample("tag-digits", folder / "tags")
        session_widget.choose_files(model, data, folder / "tags" / "project")
        session_widget.load()
        wait(lambda: session.dataset is not None and len(session.dataset) > 1000 and session.explanation is not None)
        for key, mask in known_masks(session.dataset, 20).items():
            session.put_mask(key, mask)
        wait(lambda: not session.jobs.running())
        retune = leading.retune
        wait(lambda: retune.start_button.isEnabled())
        gaps.clear()
        retune.start()
        start = time.perf_counter()
        wait(lambda: time.perf_counter() - start > 10)
        print(f"event loop while retuning: {gaps}")
        tell("the longest stall while retuning", 1000 * max(gaps.seconds), "ms")
        start = time.perf_counter()
        retune.stop()
        wait(lambda: not session.jobs.running("retune"))
        took = time.perf_counter() - start
        print(f"stop takes {took:.2f} s")
        tell("stopping a retune", took, "s")
        viewer.close()
