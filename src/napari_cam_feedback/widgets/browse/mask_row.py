"""The current image's mask: the brush, clearing it, and whether it is on disk and will be learnt from."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, tight, wrapped_label
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.viewer import shortcuts


class MaskRow(QWidget):
    """Two buttons, and a line on the mask; it follows the session.

    Parameters
    ----------
    session : Session
        Whose item's mask it is.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.paint = QPushButton(f"Paint [{shortcuts.key_of('paint')}]")
        self.paint.setToolTip(
            "Take the brush to the layer “irrelevant” and paint over what the model should not use.\n"
            "[ and ] change the brush, E erases, Ctrl+Z undoes."
        )
        self.paint.clicked.connect(session.paint)
        self.clear = QPushButton("Clear mask")
        self.clear.setToolTip("Remove this image's mask (Ctrl+Z in the canvas brings it back)")
        self.clear.clicked.connect(session.clear_mask)
        self.status = wrapped_label()
        row = QHBoxLayout()
        fill(row, self.paint, self.clear)
        column = tight(QVBoxLayout(self), 4)
        fill(column, row, self.status)
        session.opened.connect(self.refresh)
        session.item_changed.connect(self.refresh)
        session.mask_changed.connect(lambda _: self.refresh())
        session.autosave.status_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Say how the mask stands."""
        session, autosave = self._session, self._session.autosave
        shown = session.index is not None and session.item_error is None
        for button in (self.paint, self.clear):
            button.setEnabled(shown)
        unsaved = autosave.unsaved
        if unsaved:
            reason = next(iter(unsaved.values()))
            count = "1 mask" if len(unsaved) == 1 else f"{len(unsaved)} masks"
            self.status.setText(f"NOT SAVED, but kept in memory and tried again ({count}): {reason}")
            set_tone(self.status, "warning")
            return
        set_tone(self.status, None)
        if not shown or session.key is None:
            self.status.setText("")
        elif autosave.status == "saving":
            self.status.setText("Saving the mask …")
        elif session.key in autosave.painted():
            self.status.setText(f"Mask saved.{self._not_learnt()}")
        else:
            self.status.setText(f"No mask yet: paint over what the model should not use.{self._not_learnt()}")

    def _not_learnt(self) -> str:
        """Why this image's mask will not be learnt from; empty where it will be."""
        session = self._session
        if session.dataset is None or session.index is None:
            return ""
        item = session.dataset.item(session.index)
        if item.learnable:
            return ""
        if item.label is None:
            return " It will not be learnt from, since this image has no class."
        return f" It will not be learnt from, since this image is of the split {item.split}."
