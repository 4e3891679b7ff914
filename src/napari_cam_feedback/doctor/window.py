"""Whether napari's window opens here, tried in a process of its own: a Qt or a driver that fails ends its process."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from typing import Any

from napari_cam_feedback.errors import FeedbackError

BINDINGS = ("PySide6", "PyQt6", "PyQt5", "PySide2")
SECONDS = 120
_PROGRAM = "napari_cam_feedback.widgets.window_check"
_NO_QT = 'napari has no Qt here, so there is no window; install one with: python -m pip install "napari[pyqt6]"'


def has_display() -> bool:
    """Tell whether windows can be shown here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def has_qt() -> bool:
    """Tell whether a Qt for napari is installed."""
    return any(importlib.util.find_spec(name) is not None for name in BINDINGS)


def try_window() -> dict[str, str]:
    """Open a window of napari for a moment, draw an image in it, and return facts about Qt and OpenGL.

    Raises
    ------
    FeedbackError
        There is no Qt, or the window does not open; the sentence says what to do.
    """
    if not has_qt():
        raise FeedbackError(_NO_QT)
    try:
        done = subprocess.run(
            [sys.executable, "-m", _PROGRAM], capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FeedbackError(
            f"napari's window did not open within {SECONDS} seconds; close other programs and try again."
        ) from error
    found = _last_json(done.stdout)
    if found is None:
        raise FeedbackError(f"napari's window ended at once ({_end(done.returncode)}): {_last_line(done.stderr)} {_REMEDY}")
    problem = found.pop("problem", None)
    if problem:
        raise FeedbackError(str(problem))
    return {name: str(value) for name, value in found.items()}


_REMEDY = (
    "Update the graphics driver; on Debian and Ubuntu try apt-get install libegl1 libgl1 libxcb-cursor0 libxkbcommon-x11-0."
)


def _last_json(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                return None
    return None


def _end(status: int) -> str:
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"status {status}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removesuffix(".") + "." if lines else "it said nothing."
