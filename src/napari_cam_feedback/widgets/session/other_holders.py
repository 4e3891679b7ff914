"""What other windows, shells and machines write into the open project is seen here within seconds."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.viewer.layers import MASK

if TYPE_CHECKING:
    from napari_cam_feedback.feedback.masks.holders import Change, Replaced
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.session import Session

logger = logging.getLogger(__name__)

LOOK_MS = 2000


class OtherHolders(QObject):
    """Looks every two seconds for what others have written, and says where two have painted the same image.

    Parameters
    ----------
    session : Session
        Whose project it is.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._looking = False
        self._said = ""
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)
        session.opened.connect(self._timer.start)
        session.closing.connect(self._close)
        session.autosave.gave_way.connect(self.tell)

    def look(self) -> None:
        """Look now, in the disk thread."""
        project = self._session.project
        if project is None or self._looking:
            return
        self._looking = True
        self._session.disk.submit(
            "look for what others have written", partial(_news, project), partial(self._found, project)
        )

    def _found(self, project: Project, news: Any, error: Exception | None) -> None:
        self._looking = False
        session = self._session
        if session.project is not project:
            return
        if error is not None:
            # Once, not every two seconds while a folder on a network is away.
            if describe(error) != self._said:
                self._said = describe(error)
                session.notify(f"What others have painted cannot be read: {self._said}", "warning")
            return
        self._said = ""
        versions, changes = news
        for change, painted in changes:
            self._take_over(change, painted)
        if versions:
            session.versions_changed.emit()

    def _take_over(self, change: Change, painted: bool) -> None:
        session, key = self._session, change.key
        if session.dataset is None or key not in session.dataset.keys:
            return
        if session.autosave.changed_elsewhere(key, painted):
            layer = session.layers.get(MASK)
            if layer is not None and session.item_error is None:
                session.display.show_mask(key, (int(layer.data.shape[0]), int(layer.data.shape[1])))
        session.mask_changed.emit(key)
        if change.replaced is not None:
            self.tell(change.replaced)

    def tell(self, replaced: Replaced) -> None:
        """Say that two have painted an image, and let the user choose."""
        from napari.utils.notifications import Notification, notification_manager

        session, project = self._session, self._session.project
        sentence = replaced.sentence
        session.message.emit(sentence, "warning")
        if project is None:
            return
        actions = (
            ("Take that one", lambda _: self.choose(project, replaced, "theirs")),
            ("Both together", lambda _: self.choose(project, replaced, "union")),
        )
        notification_manager.dispatch(Notification(sentence, "warning", actions=actions))

    def choose(self, project: Project, replaced: Replaced, choice: Literal["theirs", "union"]) -> None:
        """Give an image the mask that gave way, or both together; the one that it has now is kept in its place."""
        session, key = self._session, replaced.key
        now = session.autosave.mask(key) if session.project is project else None

        def then(mask: np.ndarray | None, error: Exception | None) -> None:
            if error is not None:
                session.notify(describe(error), "error")
            elif session.project is project and mask is not None:
                session.put_mask(key, mask)

        session.disk.submit(f"choose {key}", partial(_chosen, replaced, now, choice), then)

    def _close(self) -> None:
        self._timer.stop()
        project = self._session.project
        if project is not None:

            def then(_: Any, error: Exception | None) -> None:
                if error is not None:
                    logger.warning("the index of the masks could not be written: %s", describe(error))

            self._session.disk.submit("write the index of the masks", project.masks.write_index, then)


def _news(project: Project) -> tuple[bool, list[tuple[Change, bool]]]:
    """Return whether versions came or went, and the masks that changed, with whether there is one now."""
    versions = project.refresh()
    return versions, [(change, change.key in project.masks) for change in project.masks.refresh()]


def _chosen(replaced: Replaced, now: np.ndarray | None, choice: str) -> np.ndarray:
    """Return the mask that the user has chosen; what they have now goes where the other one was kept."""
    from napari_cam_feedback.errors import MaskError
    from napari_cam_feedback.feedback import MaskStore

    kept = MaskStore(replaced.folder)
    theirs = kept[replaced.key]
    if choice == "theirs" or now is None:
        if now is not None:
            kept.put(replaced.key, now)
        return theirs
    if now.shape != theirs.shape:
        raise MaskError(f"The two masks of {replaced.key} have different sizes and cannot be joined; take one of them.")
    return now | theirs
