"""The *Filters* dock: what the filters of the target layer see in this image, in all images, and in two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.filters.changes import ChangesView
from napari_cam_feedback.widgets.filters.embedding import EmbeddingView
from napari_cam_feedback.widgets.filters.image_filters import ImageFilters
from napari_cam_feedback.widgets.filters.model import FilterModel
from napari_cam_feedback.widgets.filters.overview import FilterOverview
from napari_cam_feedback.widgets.filters.ranking import RankingView
from napari_cam_feedback.widgets.parts.basics import tight
from napari_cam_feedback.widgets.session.dock_session import dock_session

if TYPE_CHECKING:
    import napari


class FiltersWidget(QWidget):
    """Five tabs: the filters in this image, in all images, how many are needed, what a retune changed, and the map."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = dock_session(napari_viewer, self)
        self.setMinimumWidth(330)
        self.model = FilterModel(self._session, self)
        self.image = ImageFilters(self._session)
        self.overview = FilterOverview(self.model)
        self.ranking = RankingView(self.model)
        self.changes = ChangesView(self.model)
        self.embedding = EmbeddingView(self.model)
        self.tabs = QTabWidget()
        for widget, name, tip in (
            (self.image, "This image", "The filters in the current image, as layers"),
            (self.overview, "All images", "Every filter over a whole split: galleries, classes, marks, masks"),
            (self.ranking, "Ranking", "How many filters the model needs, and how far your marks agree with the ranking"),
            (self.changes, "Versions", "What a retune changed in the filters"),
            (self.embedding, "Map", "The images, placed by what the filters see"),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(widget, name), tip)
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setDocumentMode(True)
        column = tight(QVBoxLayout(self), margins=4)
        column.addWidget(self.tabs)
        self.overview.detail.bind_keys(self.overview)
        self.overview.detail.opened.connect(self._open_with_filter)
        self.embedding.opened.connect(self._session.go_to)
        self.model.selected.connect(self._selected)

    def _open_with_filter(self, index: int) -> None:
        """Show an image of a gallery, with the filter over it."""
        self._session.go_to(index)
        if self.model.number is not None:
            self.image.show_filter(self.model.number)

    def _selected(self, number: int) -> None:
        # Once a filter is shown over the image, it is the chosen one.
        if self.image.over_check.isChecked():
            self.image.show_filter(number)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._session.watch(self)
