"""How the map is drawn: colours, opacity and a contour, for the user to choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QSizePolicy, QSlider, QSpinBox, QWidget

from napari_cam_feedback.widgets.parts.basics import form_layout, narrow, single_shot, tight
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.viewer.layers import CAM
from napari_cam_feedback.widgets.viewer.map_style import FIRST_COLORMAPS, all_colormaps, layer_colormap_name

_REMEMBER_MS = 500


class MapDisplay(QWidget):
    """Colour map, opacity and contour; what is set in napari's own controls of the CAM layer shows here too.

    Parameters
    ----------
    session : Session
        Whose maps are drawn; the choice is remembered with its project.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._layer: Any = None
        self._remember = single_shot(self, _REMEMBER_MS, self._remember_now)
        self.colormap = QComboBox()
        self.colormap.setToolTip("The map's colours; they fade in, so that the image stays visible without evidence")
        for name, text in all_colormaps().items():
            self.colormap.addItem(text, name)
        self.colormap.insertSeparator(len(FIRST_COLORMAPS))
        narrow(self.colormap, 8)
        self.colormap.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.colormap.activated.connect(lambda i: self._choose(colormap=self.colormap.itemData(i)))
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("How much the map covers the image")
        self.opacity.valueChanged.connect(lambda value: self._choose(opacity=value / 100))
        self.contour = QCheckBox("at")
        self.contour.setToolTip("Draw a line around where the map reaches this share of its maximum")
        self.threshold = QSpinBox()
        self.threshold.setRange(1, 99)
        self.threshold.setValue(50)
        self.contour.toggled.connect(lambda _: self._contour_chosen())
        self.threshold.valueChanged.connect(lambda _: self._contour_chosen())
        form = tight(form_layout(self))
        form.addRow("Colours", self.colormap)
        form.addRow("Opacity", self.opacity)
        line = QHBoxLayout()
        line.addWidget(self.contour)
        line.addWidget(self.threshold, 1)
        self.threshold.setSuffix(" % of the maximum")
        form.addRow("Contour", line)
        session.opened.connect(self.show_look)
        session.opened.connect(self._follow_layer)
        session.item_changed.connect(self._follow_layer)
        session.explained.connect(lambda _: self._follow_layer())
        session.dock_closed.connect(self._leave_layer)
        self.show_look()
        self._follow_layer()

    def show_look(self) -> None:
        """Show how maps are drawn now."""
        look = self._session.layers.look
        with QSignalBlocker(self.colormap), QSignalBlocker(self.opacity):
            self.colormap.setCurrentIndex(self.colormap.findData(look.colormap))
            self.opacity.setValue(round(100 * look.opacity))
        with QSignalBlocker(self.contour), QSignalBlocker(self.threshold):
            self.contour.setChecked(look.contour is not None)
            if look.contour is not None:
                self.threshold.setValue(look.contour)
        self.threshold.setEnabled(self.contour.isChecked())

    def _contour_chosen(self) -> None:
        self.threshold.setEnabled(self.contour.isChecked())
        self._choose(contour=self.threshold.value() if self.contour.isChecked() else None)

    def _choose(self, **changes: Any) -> None:
        layers = self._session.layers
        layers.set_look(replace(layers.look, **changes))
        self._remember.start()

    def _remember_now(self) -> None:
        self._session.memory.keep(map_look=self._session.layers.look.to_remember())

    # What is set in napari's own controls ---------------------------------------------------------

    def _follow_layer(self) -> None:
        layer = self._session.layers.get(CAM)
        if layer is self._layer:
            return
        self._leave_layer()
        self._layer = layer
        if layer is not None:
            layer.events.opacity.connect(self._opacity_set)
            layer.events.colormap.connect(self._colormap_set)

    def _leave_layer(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None:
            layer.events.opacity.disconnect(self._opacity_set)
            layer.events.colormap.disconnect(self._colormap_set)

    def _opacity_set(self, event: Any = None) -> None:
        layers = self._session.layers
        if self._layer is None or self._layer is not layers.get(CAM) or self._layer.opacity == layers.look.opacity:
            return
        layers.look = replace(layers.look, opacity=float(self._layer.opacity))
        self.show_look()
        self._remember.start()

    def _colormap_set(self, event: Any = None) -> None:
        # A colour map of napari's own, without our fading, is the layer's alone and not remembered.
        look = self._session.layers.look
        if self._layer is None or self._layer is not self._session.layers.get(CAM):
            return
        ours = self._layer.colormap.name == layer_colormap_name(look.colormap)
        with QSignalBlocker(self.colormap):
            self.colormap.setCurrentIndex(self.colormap.findData(look.colormap) if ours else -1)
