"""What a session tells: of the whole viewer, and of one dock."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal


class SessionSignals(QObject):
    """What is told of a session.

    Signals
    -------
    opened
        A project was opened (or closed, then `project` is None): rebuild what is shown.
    item_changed
        `index` has changed; the image and mask layers show the new item already, the CAM when `explained`
        comes.
    view_changed
        `target` or `method` has changed.
    explained : Explanation
        The current item's explanation for the current target and method is there.
    prefetched : Explanation
        Any explanation was computed, also a neighbour's.
    mask_changed : str
        The mask of this key is on disk, or was removed.
    versions_changed
        Another holder of the project has kept or deleted a version; which one is in use here is as it was.
    version_changed
        `classifier` was replaced (a version was kept or chosen, or another target layer).
    message : str, str
        A sentence for the user and its level, ``info``, ``warning`` or ``error``.
    leaving : list of str
        Another project may be opened: put in a sentence for what would end with this one.
    closing
        The window is being closed.
    dock_closed
        Only where a dock listens by its `dock_session`: the dock was closed, take its layers out of the viewer.
    """

    opened = Signal()
    item_changed = Signal()
    view_changed = Signal()
    explained = Signal(object)
    prefetched = Signal(object)
    mask_changed = Signal(str)
    versions_changed = Signal()
    version_changed = Signal()
    message = Signal(str, str)
    leaving = Signal(object)
    closing = Signal()
    dock_closed = Signal()
