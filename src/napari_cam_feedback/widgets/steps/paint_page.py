"""The page *Paint*: the image and its mask, and which images come next."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_feedback.widgets.browse.item_bar import ItemBar
from napari_cam_feedback.widgets.browse.mask_row import MaskRow
from napari_cam_feedback.widgets.paint.view import PaintView
from napari_cam_feedback.widgets.parts.basics import fill_scrolling, tight
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.suggest.dock import SuggestWidget


class PaintPage(QWidget):
    """A column of views, each of which follows the session by itself.

    Parameters
    ----------
    session : Session
        The dock's.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.item, self.mask_row = ItemBar(session), MaskRow(session)
        self.tools, self.suggest = PaintView(session), SuggestWidget(session)
        inside = QWidget()
        fill_scrolling(self, inside)
        column = tight(QVBoxLayout(inside), 4, margins=4)
        for view in (self.item, self.mask_row, Fold("Paint by a click", self.tools, opened=True)):
            column.addWidget(view)
        column.addWidget(self.suggest, 1)
