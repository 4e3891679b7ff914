"""Pictures of the window for the docs and for whoever reviews it: every page and dock, in both themes and two sizes.

``make screenshots`` writes them to ``build/screenshots``. It walks the path of a user on the sample `tag-digits`, from an
empty window to a result that was kept, and takes the pictures of each station on the way.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = ((1366, 768), (2560, 1440))
THEMES = ("dark", "light")
#: Masks that are put as if they had been painted: as many as are enough.
MASKS = 10


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--size", action="append", help="as 1366x768; by default two sizes")
    parser.add_argument("--theme", action="append", choices=THEMES, help="by default both")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in options.size] if options.size else list(SIZES)
    with tempfile.TemporaryDirectory() as home:
        # Projects and settings of whoever runs this stay as they are.
        os.environ.update(HOME=home, USERPROFILE=home, NAPARI_CAM_FEEDBACK_STATE=str(Path(home) / "state"))
        Camera(options.folder, sizes, options.theme or THEMES).walk()


class Camera:
    """A window, and pictures of it.

    Parameters
    ----------
    folder : Path
        Where the pictures go, as ``NAME-THEME-WIDTHxHEIGHT.png``.
    sizes : sequence of (int, int)
        Of the window, in pixels.
    themes : sequence of str
        Of napari.
    """

    def __init__(self, folder: Path, sizes: Any, themes: Any) -> None:
        import napari

        from napari_cam_feedback.widgets.session.session import session_of
        from napari_cam_feedback.widgets.viewer.docks import LEADING, open_dock

        self.folder, self.sizes, self.themes = folder, sizes, themes
        folder.mkdir(parents=True, exist_ok=True)
        self.viewer = napari.Viewer()
        self.session = session_of(self.viewer)
        self.leading = open_dock(self.viewer, LEADING)

    def wait(self, done: Callable[[], object], seconds: float = 300.0) -> None:
        """Let the event loop run until something holds."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:.0f} s in vain")
            QApplication.processEvents()
            time.sleep(0.005)

    def rest(self, seconds: float = 0.3) -> None:
        """Let the event loop run for a while, and until no work is left in the background."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)
        self.wait(lambda: not self.session.jobs.running())

    def take(self, name: str, *, busy: bool = False) -> None:
        """Take pictures of the window as it is now."""
        window = self.viewer.window._qt_window
        for theme in self.themes:
            self.viewer.theme = theme
            for width, height in self.sizes:
                window.resize(width, height)
                end = time.monotonic() + 0.4
                self.wait(lambda end=end: time.monotonic() > end)
                self.viewer.reset_view()  # a smaller window keeps the zoom of the larger one
                if not busy:
                    self.rest(0.1)
                path = self.folder / f"{name}-{theme}-{width}x{height}.png"
                window.grab().save(str(path))
                print(path, flush=True)

    def walk(self) -> None:
        """Go the whole path."""
        from napari_cam_feedback.feedback import known_masks
        from napari_cam_feedback.widgets.steps.standing import Act
        from napari_cam_feedback.widgets.viewer.docks import COMPARE, LOOK, OPEN, PAINT, RETUNE, STEPS, open_dock, open_step

        session, leading = self.session, self.leading
        for step in STEPS:
            leading.show_step(step)
            self.take(f"empty-{step.lower()}")
        leading.show_step(OPEN)
        leading.do(Act.LOAD)
        self.wait(lambda: session.explanation is not None)
        self.rest()
        self.take("open")
        leading.show_step(LOOK)
        self.rest()
        self.take("look")
        leading.do(Act.SUGGEST)
        self.rest()
        self.take("paint")
        masks = list(known_masks(session.dataset, MASKS).items())
        for key, mask in masks[:3]:
            session.put_mask(key, mask)
        leading.do(Act.PROPOSE)
        self.rest()
        self.take("proposals")
        for key, mask in masks[3:]:
            session.put_mask(key, mask)
        self.rest()
        leading.show_step(PAINT)
        self.take("painted")
        leading.show_step(RETUNE)
        self.wait(lambda: leading.retune.choice.form is not None)
        self.take("retune")
        take_out = leading.retune.take_out
        take_out.set_opened(True)
        take_out.set_style(True)
        self.take("take-out")
        take_out.set_style(False)
        take_out.set_opened(False)
        leading.do(Act.RETUNE)
        self.wait(lambda: leading.retune.plot.loss_names)
        self.take("retuning", busy=True)
        self.wait(lambda: leading.retune.pending)
        self.rest(1)
        self.take("result")
        leading.retune.keep()
        self.wait(lambda: leading.retune.run is None)
        self.rest()
        leading.show_step(COMPARE)
        self.take("kept")
        leading.compare.versions.compare()
        self.wait(lambda: leading.compare.versions.found is not None)
        self.rest()
        self.take("compare")
        for name in ("Filters", "Concepts", "Train"):
            open_dock(self.viewer, name)
            self.rest(1)
            self.take(name.lower())
        open_step(self.viewer, LOOK)
        session.close()
        self.viewer.close()


if __name__ == "__main__":
    main()
