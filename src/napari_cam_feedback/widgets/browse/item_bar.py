"""Which image is shown and what the model makes of it, and the buttons to the next one."""

from __future__ import annotations

from html import escape

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, rich_label, tight
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.viewer import shortcuts


class ItemBar(QWidget):
    """Buttons to move, and the item's key and classes; it follows the session.

    Parameters
    ----------
    session : Session
        Whose item is shown.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.previous = QPushButton(f"◀ Previous [{shortcuts.key_of('previous_item')}]")
        self.previous.clicked.connect(lambda: session.step(-1))
        self.next = QPushButton(f"Next [{shortcuts.key_of('next_item')}] ▶")
        self.next.clicked.connect(lambda: session.step(1))
        self.label = rich_label()
        buttons = QHBoxLayout()
        fill(buttons, self.previous, self.next)
        column = tight(QVBoxLayout(self), 4)
        fill(column, buttons, self.label)
        for signal in (session.opened, session.item_changed, session.version_changed):
            signal.connect(self.refresh)
        session.explained.connect(lambda _: self.refresh())
        self.refresh()

    def refresh(self) -> None:
        """Write the item's key and classes."""
        session = self._session
        if session.dataset is None or session.index is None:
            self.label.setText("")
            return
        item, explanation = session.dataset.item(session.index), session.explanation
        label = "unknown" if item.label is None else session.dataset.class_names[item.label]
        text = f"<b>{escape(item.key)}</b><br>true class: {escape(label)}"
        if explanation is not None:
            sure = f"{explanation.probabilities[explanation.predicted]:.2f}"
            verdict = ""
            if item.label is not None:
                verdict = " ✓" if explanation.predicted == item.label else " ✗"
            text += f" · predicted: {escape(session.class_names[explanation.predicted])} ({sure}){verdict}"
        else:
            text += " · predicting …" if session.item_error is None else ""
        self.label.setText(text)
