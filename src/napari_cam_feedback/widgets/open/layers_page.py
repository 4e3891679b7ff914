"""The table of the viewer's own Image layers: which of them to use as images, and the class of each."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLineEdit, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import ChoiceBox, fill, narrow, plain, single_shot, tight, wrapped_label
from napari_cam_feedback.widgets.viewer.identity import role_of
from napari_cam_feedback.widgets.viewer.layer_images import PickedLayer

_NAME, _IMAGES, _CLASS = range(3)
_UNKNOWN = "unknown"
_NOTHING = "Open images in napari first (File > Open Files …, or drop them on the canvas); they are listed here."
_WHAT_HAPPENS = "Each slice of a stack is an image. Copies go into the project's folder; your layers stay as they are."
_MAX_ROWS = 8


class LayersPage(QWidget):
    """Open Image layers that are not ours, each with a tick and a class.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self._layers: list[weakref.ref[Any]] = []
        self._ticks: list[QTableWidgetItem] = []
        self._classes: list[ChoiceBox] = []
        self._class_names: tuple[str, ...] = ()
        column = tight(QVBoxLayout(self), 4)
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["layer", "images", "class"])
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_IMAGES, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_CLASS, QHeaderView.ResizeMode.Fixed)
        self.table.setColumnWidth(_CLASS, self.fontMetrics().horizontalAdvance("a class name here"))
        self.note = wrapped_label(_NOTHING, "quiet")
        fill(column, self.table, self.note)
        self._refresh = single_shot(self, 50, self.refresh)
        for event in ("inserted", "removed", "reordered", "renamed"):
            emitter = getattr(viewer.layers.events, event, None)
            if emitter is not None:
                emitter.connect(self._layers_changed)
        self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Show what is open now."""
        super().showEvent(event)
        self.refresh()

    def _layers_changed(self, event: Any = None) -> None:
        # Opening a folder inserts many at once.
        self._refresh.start()

    def refresh(self) -> None:
        """List the layers that are open now, keeping what was chosen."""
        self._refresh.stop()
        viewer = self._viewer()
        if viewer is None:
            return
        chosen = {id(layer): (ticked, text) for layer, ticked, text in self._rows()}
        layers = [layer for layer in viewer.layers if is_image(layer)]
        self._layers = [weakref.ref(layer) for layer in layers]
        self._ticks, self._classes = [], []
        self.table.setRowCount(len(layers))
        for row, layer in enumerate(layers):
            ticked, text = chosen.get(id(layer), (True, ""))
            picked = picked_layer(layer)
            name = QTableWidgetItem(layer.name)
            name.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            name.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
            name.setToolTip(plain(layer.name))
            self.table.setItem(row, _NAME, name)
            height, width = picked.size
            count = QTableWidgetItem(f"{picked.count}")
            count.setFlags(Qt.ItemFlag.ItemIsEnabled)
            count.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            count.setToolTip(f"{picked.count} of {height}x{width} pixels, {'colour' if picked.rgb else 'gray'}")
            self.table.setItem(row, _IMAGES, count)
            combo = self._class_combo(text)
            self.table.setCellWidget(row, _CLASS, combo)
            self._ticks.append(name)
            self._classes.append(combo)
        self.table.setVisible(bool(layers))
        self.note.setText(_WHAT_HAPPENS if layers else _NOTHING)
        rows = min(len(layers), _MAX_ROWS)
        heights = sum(self.table.rowHeight(row) for row in range(rows))
        self.table.setFixedHeight(heights + self.table.horizontalHeader().sizeHint().height() + 4)

    def _class_combo(self, text: str) -> ChoiceBox:
        combo = ChoiceBox()
        combo.setEditable(True)
        combo.addItems(["", *self._class_names])
        line = QLineEdit()
        line.setPlaceholderText(_UNKNOWN)
        combo.setLineEdit(line)
        combo.setToolTip("The true class of all images of this layer; empty where it is not known")
        narrow(combo, 4)
        combo.setCurrentText(text)
        return combo

    def set_class_names(self, names: Sequence[str]) -> None:
        """Offer these classes, keeping what is chosen."""
        if tuple(names) == self._class_names:
            return
        self._class_names = tuple(names)
        for combo in self._classes:
            text = combo.currentText()
            combo.clear()
            combo.addItems(["", *names])
            combo.setCurrentText(text)

    def choose(self, layer: Any, *, ticked: bool = True, label: str = "") -> None:
        """Tick a layer and name its class, as the user would."""
        self.refresh()
        for reference, tick, combo in zip(self._layers, self._ticks, self._classes, strict=True):
            if reference() is layer:
                tick.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
                combo.setCurrentText(label)

    def picked(self) -> tuple[PickedLayer, ...]:
        """Return the ticked layers; their arrays are not read yet."""
        self.refresh()
        return tuple(picked_layer(layer, text or None) for layer, ticked, text in self._rows() if ticked)

    def _rows(self) -> list[tuple[Any, bool, str]]:
        """Return the layers listed that are still there: layer, whether ticked, class."""
        rows = []
        for reference, tick, combo in zip(self._layers, self._ticks, self._classes, strict=True):
            layer = reference()
            if layer is not None:
                rows.append((layer, tick.checkState() == Qt.CheckState.Checked, combo.currentText().strip()))
        return rows


def is_image(layer: Any) -> bool:
    """Whether this is an Image layer of the user's own."""
    from napari.layers import Image

    return isinstance(layer, Image) and role_of(layer) is None and layer.ndim >= 2


def picked_layer(layer: Any, label: str | None = None) -> PickedLayer:
    """Return what a worker needs of an Image layer: its array in full resolution, which is not copied."""
    data = layer.data[0] if layer.multiscale else layer.data
    return PickedLayer(layer.name, data, bool(layer.rgb), label)
