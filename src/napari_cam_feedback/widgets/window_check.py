"""A window of napari, opened for a moment by `napari_cam_feedback.doctor` in a process of its own.

``python -m napari_cam_feedback.widgets.window_check`` prints one line of JSON: facts about Qt and OpenGL, and under
``problem`` one sentence where something is wrong.
"""

from __future__ import annotations

import json


def look() -> dict[str, str]:
    """Open the window, draw an image, and return what was found."""
    import napari
    import numpy as np
    from npe2 import PluginManager
    from qtpy import API_NAME, QT_VERSION
    from qtpy.QtGui import QGuiApplication
    from vispy.gloo import gl

    from napari_cam_feedback.widgets.viewer.qt_check import qt_warning

    viewer = napari.Viewer()  # one that is not shown draws nothing
    found = {"Qt": f"{API_NAME}, Qt {QT_VERSION}, {QGuiApplication.platformName()}"}
    try:
        viewer.add_image(np.eye(8, dtype=np.float32))
        picture = viewer.screenshot(canvas_only=True, flash=False)
        found["OpenGL"] = f"{gl.glGetParameter(gl.GL_VERSION)} ({gl.glGetParameter(gl.GL_RENDERER)})"
        screens = [f"{each.size().width()}x{each.size().height()}" for each in QGuiApplication.screens()]
        found["screens"] = f"{', '.join(screens)}, scaled by {QGuiApplication.primaryScreen().devicePixelRatio():g}"
        manager = PluginManager.instance()
        manager.discover()
        problem = qt_warning()
        if np.ptp(picture[..., :3]) == 0:
            problem = "napari's window stays empty: OpenGL draws nothing; update the graphics driver."
        elif "napari-cam-feedback" not in manager:
            problem = "napari does not find the plugin; install it with pip into the same environment as napari."
        if problem:
            found["problem"] = problem
    finally:
        viewer.close()
    return found


def main() -> None:
    """Print what was found."""
    try:
        found = look()
    except Exception as error:  # what else is there to say
        found = {"problem": f"napari's window does not open: {type(error).__name__}: {error}"}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
