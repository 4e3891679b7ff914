"""How long the window stands still: the longest gap between two turns of the event loop, for what users do most.

A real viewer is driven, so a display (or Xvfb) is needed. Each action is done three times and the median of its longest
gaps told. With ``--blame`` the lines of code are printed in which the main thread was found while it stood still.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import extract_stack
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.figures import tell
from napari_cam_feedback.widgets.tasks.gc_pause import no_collection_here

ROUNDS = 3
#: Gaps beyond this are looked into, in seconds.
_LONG = 0.03
_SIDE = 4000


class Heartbeat:
    """Gaps between two turns of the event loop, from a timer of 1 ms, and where the main thread was meanwhile."""

    def __init__(self, blame: bool = False) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.worst = 0.0
        self.found: Counter[str] = Counter()
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)
        if blame:
            threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True).start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.worst = max(self.worst, now - self._last)
        self._last = now

    def clear(self) -> None:
        """Begin anew."""
        self.worst, self._last = 0.0, time.perf_counter()
        self.found.clear()

    def _watch(self, main: int) -> None:
        # What is collected in this thread may be a widget, which must go in the main thread.
        with no_collection_here():
            while (frame := sys._current_frames().get(main)) is not None:
                if time.perf_counter() - self._last > _LONG:
                    places = [
                        (f"{Path(f.filename).name}:{f.lineno}", "napari_cam" in f.filename) for f in extract_stack(frame)
                    ]
                    ours = [place for place, own in places if own][-3:]
                    self.found[" > ".join([*ours, "|", *[place for place, own in places if not own][-3:]])] += 1
                del frame
                time.sleep(0.005)

    def blame(self, lines: int = 8) -> str:
        """Return where the main thread was found most often, a line each."""
        return "\n".join(f"      {count:3} x {place}" for place, count in self.found.most_common(lines))


def wait(done: Callable[[], Any], seconds: float = 120.0) -> None:
    """Let the event loop turn until something is so, and then for another third of a second."""
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    until = None
    while until is None or time.perf_counter() < until:
        if until is None and done():
            until = time.perf_counter() + 0.3
        if time.perf_counter() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.0005)


def measure(
    beat: Heartbeat, name: str, do: Callable[[], Any], done: Callable[[], Any], undo: Callable[[], Any] | None = None
) -> None:
    """Do something `ROUNDS` times, and tell the median of the longest gaps."""
    worst: list[float] = []
    for _ in range(ROUNDS):
        wait(lambda: True)
        beat.clear()
        do()
        wait(done)
        worst.append(1000 * beat.worst)
        found = beat.blame()
        if undo is not None:
            undo()
    print(f"{name}: {', '.join(f'{ms:.0f}' for ms in worst)} ms")
    tell(f"the longest gap, {name}", float(np.median(worst)), "ms")
    if found:
        print(found, flush=True)


def large_images(folder: Path) -> Path:
    """Write six gray images of 4000x4000 pixels in two classes."""
    rng = np.random.default_rng(0)
    for n in range(6):
        path = folder / "train" / ("a", "b")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (125, 125), np.uint8)
        Image.fromarray(coarse).resize((_SIDE, _SIDE)).save(path, compress_level=1)
    return folder


def step_fast(step: Callable[[int], None], times: int = 30) -> None:
    """Step through images as a held key does: one every 30 ms."""
    from qtpy.QtWidgets import QApplication

    for _ in range(times):
        step(1)
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end:
            QApplication.processEvents()
            time.sleep(0.0005)


def add_version(project: Any) -> None:
    """Put the project's first version into it once more, as if it had been retuned."""
    from napari_cam_feedback.models import save_classifier
    from napari_cam_feedback.projects import Project, Version

    save_classifier(project.classifier("v001", device="cpu"), project.folder / "versions" / "v002.safetensors")
    version = Version(id="v002", parent="v001", created="2020-01-01T00:00:00+00:00", origin="retuned", verdict="fixed")
    Project._change(project, lambda state: {"versions": [*state.versions, version]})


def main(argv: Sequence[str] = ()) -> None:
    """Measure and print."""
    import napari

    from napari_cam_feedback.widgets.session.session import session_of
    from napari_cam_feedback.widgets.viewer.docks import LOOK, open_step

    with tempfile.TemporaryDirectory() as name:
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1600, 1000)
        beat = Heartbeat("--blame" in argv)
        session = session_of(viewer)
        leading = open_step(viewer, LOOK)
        wait(lambda: not session.jobs.running())
        chosen = [part for part in argv if part in PARTS] or PARTS
        for part in chosen:
            PARTS[part](viewer, session, leading, beat, Path(name))
        viewer.close()


def _idle(session: Any) -> Callable[[], bool]:
    return lambda: session.explanation is not None and not session.jobs.running()


def measure_sample(viewer: Any, session: Any, leading: Any, beat: Heartbeat, folder: Path) -> None:
    """Open a sample, move through it, and show its layers in the grid."""
    from napari_cam_feedback.widgets.viewer.docks import COMPARE, LOOK, open_dock, open_step

    layers, idle = viewer.layers, _idle(session)

    def sample() -> None:
        session.explanation = None
        leading.open.choose_sample("tag-digits")
        leading.open.load()

    measure(beat, "opening a sample", sample, lambda: session.dataset is not None and idle())
    measure(beat, "30 images moved through fast", lambda: step_fast(session.step), idle, lambda: session.go_to(0))
    filters = open_dock(viewer, "Filters").image
    wait(lambda: filters.ranking is not None)
    open_all = lambda: len(layers) > 11 and viewer.canvas.grid.enabled  # noqa: E731
    measure(beat, "9 filters as layers", filters.show_as_layers, open_all, filters.back)
    closed = lambda: len(layers) < 6  # noqa: E731
    filters.show_as_layers()
    wait(open_all)
    measure(beat, "leaving 9 filters", filters.back, closed, lambda: (filters.show_as_layers(), wait(open_all)))
    filters.back()
    open_step(viewer, LOOK)
    classes = leading.look.item.classes.layers
    eight = lambda: len(layers) > 10 and viewer.canvas.grid.enabled  # noqa: E731
    measure(beat, "4 classes side by side", classes.show, eight, classes.hide)
    classes.show()
    wait(eight)
    measure(beat, "next image with 4 classes side by side", lambda: session.step(1), idle)
    classes.hide()
    add_version(session.project)
    session.versions_changed.emit()
    open_step(viewer, COMPARE)
    compare = leading.compare.versions
    compare.choose("v001", "v002")
    compare.compare()
    wait(lambda: compare.found is not None and not session.jobs.running())
    six = lambda: len(layers) > 8 and viewer.canvas.grid.enabled  # noqa: E731
    measure(beat, "before and after", compare.layers.show, six, compare.layers.hide)
    open_step(viewer, LOOK)


def measure_large(viewer: Any, session: Any, leading: Any, beat: Heartbeat, folder: Path) -> None:
    """Move through images of 4000x4000 pixels."""
    from napari_cam_feedback.data import Preprocessing
    from napari_cam_feedback.models import build_classifier, save_classifier

    idle = _idle(session)
    model = folder / "model.safetensors"
    preprocessing = Preprocessing(size=(64, 64), channels=1, mean=(0.5,), std=(0.5,))
    save_classifier(build_classifier("small-gap", ("a", "b"), preprocessing), model)
    leading.open.choose_files(model, large_images(folder / "large"), folder / "large_project")
    session.explanation = None
    leading.open.load()
    wait(lambda: session.dataset is not None and len(session.dataset) == 6 and idle())
    measure(beat, "next image at 4000x4000", lambda: session.step(1), idle)
    measure(beat, "previous image at 4000x4000", lambda: session.step(-1), idle)


PARTS = {"sample": measure_sample, "large": measure_large}

if __name__ == "__main__":
    main(sys.argv[1:])
