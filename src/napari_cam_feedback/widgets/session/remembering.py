"""What a new session starts with: item, class, method and layers as they were, kept with the project."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.viewer.layers import IMAGE

if TYPE_CHECKING:
    from napari_cam_feedback.widgets.session.session import Session

logger = logging.getLogger(__name__)

_DELAY_MS = 1000


class Remembering(QObject):
    """Writes where a session stands into its project, a while after each change.

    Parameters
    ----------
    session : Session
        Whose place it is.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._due = self._over = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self.now)

    def soon(self) -> None:
        """Write item, class and method in a while, since the user may be moving on already."""
        self._due = True
        self._timer.start()

    def now(self) -> None:
        """Write what has changed."""
        self._timer.stop()
        session = self._session
        # While layers are laid out in the grid, the others are hidden by us; without any, the window is going.
        if session.project is not None and grid_of(session).owner is None and session.layers.get(IMAGE) is not None:
            hidden = session.layers.hidden()
            if hidden != session.project.remembered.get("hidden_layers", []):
                self.keep(hidden_layers=hidden)
        if not self._due:
            return
        self._due = False
        if session.key is not None:
            self.keep(item=session.key, target=session.target, method=session.method)

    def keep(self, **values: Any) -> None:
        """Keep small plain values with the project for the next time, in the disk thread."""
        project = self._session.project
        if project is None or self._over:
            return

        def then(_: Any, error: Exception | None) -> None:
            # A convenience: a folder that cannot be written is told of when a mask is at stake.
            if error is not None:
                logger.warning("could not remember %s: %s", ", ".join(values), describe(error))

        self._session.disk.submit(f"remember {id(project)} {sorted(values)}", lambda: project.remember(**values), then)

    def close(self) -> None:
        """Write for the last time."""
        self.now()
        self._over = True
