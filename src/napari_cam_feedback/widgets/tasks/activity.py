"""Bars in napari's activity dock; and calming its "in progress" sign, which costs more than the work it announces."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtWidgets import QApplication, QLabel

#: Per cent of the animation's own speed; some steps a second remain.
CALM_SPEED = 5
_BAR_SECONDS = 0.1


def calm_activity_sign() -> None:
    """Slow down the animation that napari shows in the status bar while a progress bar exists.

    Every frame of it makes Qt compose the whole window anew. With software OpenGL that takes 40 ms, some twenty times a
    second: a retune on two cores takes more than twice as long and the window stutters.
    """
    from napari.resources import LOADING_GIF_PATH

    for window in QApplication.topLevelWidgets():
        for label in window.findChildren(QLabel):
            movie = label.movie()
            if movie is not None and movie.fileName() == str(LOADING_GIF_PATH):
                movie.setSpeed(CALM_SPEED)


class _Silent:
    """A file that keeps nothing: napari's progress would otherwise print to the terminal."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class ActivityBar:
    """A bar in napari's activity dock; used on the main thread only, moved at most ten times a second."""

    def __init__(self, text: str, total: int) -> None:
        from napari.utils import progress

        self._bar: Any = progress(total=total, desc=text, file=_Silent())
        self._last = 0.0
        calm_activity_sign()

    def move(self, done: int, total: int, text: str = "") -> None:
        now = time.perf_counter()
        if self._bar is None or (now - self._last < _BAR_SECONDS and done < total):
            return
        self._last = now
        if total and self._bar.total != total:
            self._bar.total = total
        if text:
            self._bar.set_description(text)
        # A next part of the work begins anew.
        if self._bar is not None and done != self._bar.n:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
