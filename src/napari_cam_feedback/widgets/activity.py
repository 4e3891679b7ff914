"""Calming napari's "in progress" sign, whose animation costs more than the work it announces."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QLabel

#: Per cent of the animation's own speed; some steps a second remain.
CALM_SPEED = 5


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
