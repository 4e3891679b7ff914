"""Which images to paint next, how the model looks at groups of them, and masks proposed for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST, tight
from napari_cam_feedback.widgets.session.dock_session import dock_session
from napari_cam_feedback.widgets.suggest.list import GroupsPage, SuggestList
from napari_cam_feedback.widgets.suggest.model import PROPOSE, SUGGEST, SuggestModel
from napari_cam_feedback.widgets.suggest.proposals import ProposalsPage

if TYPE_CHECKING:
    import napari


class SuggestWidget(QWidget):
    """Three tabs: paint next, groups, proposals."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = dock_session(napari_viewer, self)
        self.setMinimumWidth(330)
        # Whether the best image is to be shown as soon as it is known.
        self._wanted = False
        self.model = SuggestModel(self._session, self)
        self.list = SuggestList(self.model)
        self.groups = GroupsPage(self.model, self._session.viewer)
        self.proposals = ProposalsPage(self.model)
        self.tabs = QTabWidget()
        for widget, name, tip in (
            (self.list, "Paint next", "The images that help most when they are painted, and why"),
            (self.groups, "Groups", "Images of a class grouped by where the model looks"),
            (self.proposals, "Proposed masks", "Masks for images like those that you painted, to accept or reject"),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(widget, name), tip)
        self.tabs.setDocumentMode(True)
        self.tabs.setUsesScrollButtons(False)
        column = tight(QVBoxLayout(self), margins=4)
        column.addWidget(self.tabs)
        self.model.progressed.connect(self._progressed)
        self.model.said.connect(self._said)
        self.model.suggested.connect(self._suggested)
        self._session.opened.connect(self._opened)
        self._opened()

    def _opened(self) -> None:
        for page in (self.list, self.proposals):
            page.say("" if self._session.project is not None else OPEN_FIRST)

    # For the leading dock -------------------------------------------------------------------------------

    def find_best(self) -> None:
        """Find out which images to paint, and show the best one, ready to paint, once that is known."""
        self.tabs.setCurrentWidget(self.list)
        self._wanted = True
        self.model.suggest(self.list.count.value())

    def paint_best(self) -> None:
        """Show the best suggestion that is not painted yet, ready to paint."""
        self.tabs.setCurrentWidget(self.list)
        best = self.model.best()
        if best is not None:
            self.list.select(best.rank - 1)
            self._session.go_to(best.index)
            self._session.paint()

    def propose(self) -> None:
        """Propose masks for images like those that are painted."""
        self.show_proposals()
        self.proposals.button.click()

    def show_proposals(self) -> None:
        """Show the proposals, and let their keys work."""
        self.tabs.setCurrentWidget(self.proposals)
        self.proposals.setFocus()

    def _suggested(self) -> None:
        if self._wanted and self.model.found is not None:
            self._wanted = False
            self.paint_best()

    def _progressed(self, name: str, step: Any) -> None:
        if name == SUGGEST:
            self.list.progressed(step)
        elif name == PROPOSE:
            self.proposals.progressed(step)

    def _said(self, sentence: str, wrong: bool) -> None:
        page = self.proposals if self.tabs.currentWidget() is self.proposals else self.list
        page.say(sentence, wrong)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._session.watch(self)
