"""What the single filters of the target layer see in the current image: a ranking, and layers in the grid or over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QModelIndex, QSignalBlocker

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.filters.image_view import ImageFiltersView
from napari_cam_feedback.widgets.filters.table import GRID, OVER, UNDER_PAINT, Ranking, rank
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker
from napari_cam_feedback.widgets.tasks.turns import Pieces, Turns
from napari_cam_feedback.widgets.viewer.identity import find_layers, mark, mark_of
from napari_cam_feedback.widgets.viewer.layers import CAM, CONTOUR, IMAGE

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_cam_feedback.widgets.session.session import Session

FILTER = "filter"
OWNER = "filters"
_WAIT = "The current image is being looked at…"


class ImageFilters(ImageFiltersView):
    """Ranks the filters of the target layer for the current image and shows them as layers.

    Parameters
    ----------
    session : Session
        Whose current image is shown.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._worker = SerialWorker(self._session.jobs.main, "cam-feedback filters")
        self._ranking: Ranking | None = None
        self._in_grid = False
        self._over: int | None = None
        self._cam_was_visible = False
        self._stale = True
        self._closed = False
        self._turns = Turns(self)
        self.order_box.currentIndexChanged.connect(self._refresh)
        self.count_box.valueChanged.connect(self._refresh)
        self.show_button.clicked.connect(self.show_as_layers)
        self.back_button.clicked.connect(self.back)
        self.view.selectionModel().currentRowChanged.connect(self._row_chosen)
        self.over_check.toggled.connect(self._over_toggled)
        self.number_box.valueChanged.connect(self._number_chosen)
        self._session.opened.connect(self._refresh)
        self._session.explained.connect(self._refresh)
        self._session.item_changed.connect(self._refresh)
        self._session.version_changed.connect(self._refresh)
        self._session.mask_changed.connect(self._mask_changed)
        self._session.dock_closed.connect(self._take_layers_away)
        self._session.closing.connect(self._close)
        self._refresh()

    # What to show ----------------------------------------------------------------------------------

    @property
    def ranking(self) -> Ranking | None:
        """What the table shows now."""
        return self._ranking

    def _refresh(self, *_: object) -> None:
        """Rank anew in the worker, when there is something to see it."""
        if self._closed:
            return
        if self._session.project is None:
            self._drop()
        if not self.isVisible() and not self._in_grid and self._over is None:
            self._stale = True
            return
        self._stale = False
        explanation = self._session.explanation
        if explanation is None:
            self._enable()
            return
        mask = self._session.current_mask()
        by, count = self.order_box.currentData(), self.count_box.value()
        chosen = self.number_box.value() if self.over_check.isChecked() else None

        def then(ranking: Ranking | None, error: Exception | None) -> None:
            if self._closed or explanation is not self._session.explanation:
                return
            if error is not None:
                self._tell(describe(error))
            elif ranking is not None:
                self._show(ranking)

        self._worker.submit("rank", lambda: rank(explanation, by, mask, count, chosen), then)

    def _mask_changed(self, key: str) -> None:
        if key == self._session.key and self.order_box.currentData() == "mask":
            self._refresh()

    def _show(self, ranking: Ranking) -> None:
        self._ranking = ranking
        count = len(ranking.order)
        with QSignalBlocker(self.number_box):
            self.number_box.setRange(0, count - 1)
        with QSignalBlocker(self.view.selectionModel()):
            self.table.show(ranking, self.count_box.value())
        self.view.setColumnHidden(UNDER_PAINT, ranking.by != "mask")
        row = self.table.row_of(self.number_box.value()) if self.over_check.isChecked() else None
        if row is not None:
            with QSignalBlocker(self.view.selectionModel()):
                self.view.selectRow(row)
        name = self._class_name(ranking.explanation.target)
        what = (
            "Select a row to see that filter over the image."
            if ranking.explanation.no_heatmap is None
            else "They have no places: over the image, each is one tint, its activation."
        )
        self._tell(ranking.note or f"{count} filters; contributions are to class {name}. {what}")
        if self._in_grid:
            self._turns.run(self._show_grid())
        if self._over is not None:
            self._show_over()
        self._enable()

    def _class_name(self, number: int) -> str:
        names = self._session.class_names
        return names[number] if number < len(names) else str(number)

    def _tell(self, sentence: str) -> None:
        self.hint.setText(sentence)

    def _enable(self) -> None:
        ready = self._ranking is not None and self._session.project is not None
        if self._session.project is None:
            self._tell(OPEN_FIRST)
        elif self._session.item_error is not None:
            self._tell(self._session.item_error)
        elif not ready:
            self._tell(_WAIT)
        self.show_button.setEnabled(ready and not self._in_grid)
        self.back_button.setEnabled(self._in_grid)
        self.over_check.setEnabled(ready)
        self.number_box.setEnabled(ready)

    def _drop(self) -> None:
        self.back()
        self.over_check.setChecked(False)
        self._ranking = None
        self.table.show(None, 0)
        self._enable()

    # The grid ---------------------------------------------------------------------------------------

    def show_as_layers(self) -> None:
        """Lay the top filters out in napari's grid, after the image."""
        if self._ranking is None:
            return
        self.over_check.setChecked(False)
        self._in_grid = True
        self._turns.run(self._show_grid())
        self._enable()

    def back(self) -> None:
        """Leave the grid and remove its layers."""
        if not self._in_grid:
            return
        grid = grid_of(self._session)
        if grid.owner == OWNER:
            grid.leave()
        else:  # the layers are still being made
            self._left()

    def _left(self) -> None:
        self._in_grid = False
        self._turns.cancel()
        grid_of(self._session).withdraw(OWNER)
        self._remove(GRID)
        self._enable()

    def _show_grid(self) -> Pieces:
        assert self._ranking is not None
        ranking, count = self._ranking, self.count_box.value()
        numbers = ranking.order[:count].tolist()
        if any(number not in ranking.maps for number in numbers):
            return  # the ranking for this count is on its way
        names = [f"{place + 1}. filter {number}" for place, number in enumerate(numbers)]
        grid = grid_of(self._session)
        for place, number in enumerate(numbers):
            if self._find(GRID, place) is None and grid.make_room(OWNER):
                self._layer(GRID, place, number, names[place])
                yield
        with grid.changes():
            layers = [self._layer(GRID, place, number, names[place]) for place, number in enumerate(numbers)]
            self._remove(GRID, beyond=len(layers))
            image = self._session.layers.get(IMAGE)
            grid.show(OWNER, layers, self._left, keep=[] if image is None else [image])

    # One filter over the image ------------------------------------------------------------------------

    def show_filter(self, number: int) -> None:
        """Show a filter over the image, now or as soon as the image is computed."""
        if self._session.classifier is None:
            return
        with QSignalBlocker(self.number_box):
            # The range is known only once an image has been ranked here.
            self.number_box.setMaximum(max(self.number_box.maximum(), number))
            self.number_box.setValue(number)
        self._number_chosen()

    def _row_chosen(self, current: QModelIndex, _: QModelIndex) -> None:
        if not current.isValid() or self._ranking is None:
            return
        with QSignalBlocker(self.number_box):
            self.number_box.setValue(self.table.number(current.row()))
        if self.over_check.isChecked():
            self._number_chosen()
        else:
            self.over_check.setChecked(True)

    def _over_toggled(self, on: bool) -> None:
        cam = self._session.layers.get(CAM)
        self.back()
        grid_of(self._session).leave()
        if on:
            # Two heatmaps on top of each other cannot be read, and the line around one would be taken for the other's.
            self._cam_was_visible = cam is not None and cam.visible
            self._show_cam(False)
            self._over = self.number_box.value()
            self._refresh()
        else:
            self._over = None
            self._remove(OVER)
            if self._cam_was_visible:
                self._show_cam(True)

    def _show_cam(self, shown: bool) -> None:
        for role in (CAM, CONTOUR):
            layer = self._session.layers.get(role)
            if layer is not None:
                layer.visible = shown

    def _number_chosen(self, *_: object) -> None:
        if not self.over_check.isChecked():
            self.over_check.setChecked(True)
            return
        self._over = self.number_box.value()
        self._refresh()

    def _show_over(self) -> None:
        assert self._ranking is not None
        if self._over is not None and self._over in self._ranking.maps:
            self._layer(OVER, 0, self._over, f"filter {self._over}")

    # Layers ------------------------------------------------------------------------------------------

    def _layer(self, group: str, place: int, number: int, name: str) -> Image:
        """Show a filter in the layer of that group and place, made where it is missing."""
        from napari.layers import Image

        assert self._ranking is not None
        data, limits = self._ranking.maps[number], self._ranking.limits[group]
        key = self._ranking.explanation.key
        layer = self._find(group, place)
        if layer is not None:
            if layer.data is not data:
                layer.data = data
            mark(layer, FILTER, key, group=group, place=place, filter=number)
            layer.name = name
            layer.contrast_limits_range = limits
            layer.contrast_limits = limits
            return layer
        layer = Image(
            data,
            name=name,
            contrast_limits=limits,
            colormap="inferno" if group == GRID else filter_colormap(),
            blending="translucent_no_depth",
            opacity=1.0 if group == GRID else 0.8,
            interpolation2d="linear",
        )
        mark(layer, FILTER, key, group=group, place=place, filter=number)
        grid, layers = grid_of(self._session), self._session.viewer.layers
        if group == GRID:
            grid.add_hidden(OWNER, layer, self.back)
            return layer
        cam = self._session.layers.get(CAM)
        with grid.changes():
            layers.insert(len(layers) if cam is None else layers.index(cam) + 1, layer)
        return layer

    def _find(self, group: str, place: int) -> Any:
        for layer in find_layers(self._session.viewer, FILTER):
            ours = mark_of(layer)
            if (ours["group"], ours["place"]) == (group, place):
                return layer
        return None

    def _remove(self, group: str, beyond: int = 0) -> None:
        viewer = self._session.viewer
        if viewer is None:
            return
        ours = [(layer, mark_of(layer)) for layer in find_layers(viewer, FILTER)]
        going = [layer for layer, own in ours if own["group"] == group and own["place"] >= beyond]
        if going:
            with grid_of(self._session).changes():
                for layer in going:
                    viewer.layers.remove(layer)

    # Coming and going ----------------------------------------------------------------------------------

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self._stale:
            self._refresh()

    def _take_layers_away(self) -> None:
        self.over_check.setChecked(False)
        self.back()

    def _close(self) -> None:
        self._closed = True
        self._turns.cancel()
        self._worker.close()


def filter_colormap() -> Any:
    """Return inferno that fades in from transparent, so that the image stays visible where the filter is silent."""
    from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

    positions = np.linspace(0, 1, 64)
    colours = np.array(AVAILABLE_COLORMAPS["inferno"].map(positions))
    colours[:, 3] = np.clip(positions / 0.4, 0, 1)
    return Colormap(colours, name="filter")
