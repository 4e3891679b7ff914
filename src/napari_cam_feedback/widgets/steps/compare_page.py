"""The page *Compare*: the result that waits for a decision, and any versions of the model beside each other."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_feedback.widgets.compare.dock import CompareWidget
from napari_cam_feedback.widgets.parts.basics import fill, fill_scrolling, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.retune.dock import RetuneWidget
from napari_cam_feedback.widgets.session.session import Session


class ComparePage(QWidget):
    """The result of the last retune above, versions below.

    Parameters
    ----------
    session : Session
        The dock's.
    retune : RetuneWidget
        Whose result is shown here.
    """

    def __init__(self, session: Session, retune: RetuneWidget) -> None:
        super().__init__()
        self._retune = retune
        inside = QWidget()
        column = tight(QVBoxLayout(inside), 5, margins=4)
        self.said = wrapped_label()
        fill(column, self.said, retune.result_box)
        self.versions = CompareWidget(session)
        self.fold = Fold("Compare versions", self.versions, opened=True)
        column.addWidget(self.fold)
        column.addStretch(1)
        self.area = fill_scrolling(self, inside)
        retune.said.connect(self._say)
        retune.changed.connect(self._refresh)
        self._waited = False
        self._say("", False)
        self._refresh()

    def _say(self, sentence: str, wrong: bool) -> None:
        # How a run ended goes with its result, and what was decided stands above.
        if not wrong and (self._retune.pending or sentence.startswith(self._retune.decided or "\n")):
            sentence = ""
        set_tone(self.said, "error" if wrong else None)
        self.said.setText(sentence)
        self.said.setVisible(bool(sentence))

    def _refresh(self) -> None:
        waits = self._retune.pending
        if waits != self._waited:
            self._waited = waits
            # What waits for a decision comes first; the rest is a click away.
            self.fold.set_opened(not waits)
            self.area.verticalScrollBar().setValue(0)
