"""The tools of painting: brush, superpixel, wand, heatmap, the same place in other images, and layers of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QMenu, QPushButton, QSlider, QStackedWidget, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.paint.from_layer import layers_for, mask_from
from napari_cam_feedback.widgets.paint.regions import BOX, HEAT, SUPERPIXEL, WAND
from napari_cam_feedback.widgets.paint.same_place_view import SamePlaceView
from napari_cam_feedback.widgets.paint.tools import PaintTools
from napari_cam_feedback.widgets.parts.basics import fill, plain_label, tight, wrapped_label
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.viewer import shortcuts

_TOOLS = (
    (BOX, "Box", "Drag from one corner to the other"),
    (SUPERPIXEL, "Superpixel", "Click a piece of like colour: it is painted whole"),
    (WAND, "Wand", "Click: the pixels around that have a like colour are painted"),
    (HEAT, "Heatmap", "Click a hot place: the hot region around it is painted"),
)
_BOX = "Drag from one corner of the box to the other; with Shift it is taken away. The wheel still zooms."
_SHIFT = "Shift and a click take away; Ctrl+Z undoes a click; dragging moves the image as ever."


class PaintView(QWidget):
    """Buttons of the tools, the setting of the one in hand, and what it says.

    Parameters
    ----------
    session : Session
        Of the dock that the view is in.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self.tools = PaintTools(session, self)
        self.buttons: dict[str, QPushButton] = {}
        self.status = wrapped_label()
        self.settings = QStackedWidget()
        self.settings.addWidget(wrapped_label(_SHIFT, "quiet"))
        self.settings.addWidget(wrapped_label(_BOX, "quiet"))
        self.sliders = {
            SUPERPIXEL: self._slider("Size of the pieces", 4, 40, 14, self._set_fineness, "% of the image's shorter side"),
            WAND: self._slider("Tolerance", 0, 60, 15, self._set_tolerance, "% of black to white"),
            HEAT: self._slider("Hot from", 5, 95, 50, self._set_share, "% of the heatmap's maximum"),
        }
        self.same_place = SamePlaceView(session)
        self.same_fold = Fold(f"Same place in other images [{shortcuts.key_of('same_place')}]", self.same_place)
        self.layer_button = QPushButton(f"From a layer [{shortcuts.key_of('from_layer')}]")
        self.layer_button.setToolTip(
            "Add what is marked in an open layer of your own (labels, shapes, a picture of two values) to this image's mask"
        )
        self.layer_button.clicked.connect(self.choose_layer)
        self._build()
        self._keys: dict[str, Callable[[], None]] = {
            **{tool: partial(self.tools.take, tool) for tool in self.buttons},
            "hottest": self.tools.hottest,
            "same_place": self.copy_to_others,
            "from_layer": self.choose_layer,
        }
        shortcuts.bind_to_widget(self, self._keys)
        shortcuts.bind_to_viewer(session.viewer, self._keys)
        session.closing.connect(self._unbind)
        self.tools.changed.connect(self._tool_changed)
        self.tools.said.connect(self.say)
        session.opened.connect(self._refresh)
        session.item_changed.connect(self._refresh)
        self._tool_changed()

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, (tool, text, tip) in enumerate(_TOOLS):
            button = QPushButton(f"{text} [{shortcuts.key_of(tool)}]")
            button.setCheckable(True)
            button.setToolTip(f"{tip}. {_SHIFT}")
            button.clicked.connect(lambda _, tool=tool: self.tools.take(tool))
            self.buttons[tool] = button
            grid.addWidget(button, place // 2, place % 2)
        grid.addWidget(self.layer_button, 2, 0, 1, 2)
        column = tight(QVBoxLayout(self), 4)
        fill(column, grid, self.settings, self.status, self.same_fold)

    def _slider(self, text: str, low: int, high: int, value: int, action: Callable[[int], None], unit: str) -> QSlider:
        page, row = QWidget(), QHBoxLayout()
        slider, number = QSlider(Qt.Orientation.Horizontal), plain_label()
        slider.setRange(low, high)
        slider.setToolTip(unit)
        slider.setAccessibleName(f"{text}, {unit}")
        number.setMinimumWidth(number.fontMetrics().horizontalAdvance("100 %"))

        def changed(value: int) -> None:
            number.setText(f"{value} %")
            action(value)

        slider.valueChanged.connect(changed)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(plain_label(text))
        row.addWidget(slider, 1)
        row.addWidget(number)
        page.setLayout(row)
        self.settings.addWidget(page)
        slider.setValue(value)
        return slider

    # Settings ---------------------------------------------------------------------------------------

    def _set_fineness(self, percent: int) -> None:
        self.tools.regions.fineness = percent / 100
        if self.tools.tool == SUPERPIXEL:
            self.tools.regions.prepare()
        self.tools.refresh()

    def _set_tolerance(self, percent: int) -> None:
        self.tools.regions.tolerance = percent / 100
        self.tools.refresh()

    def _set_share(self, percent: int) -> None:
        self.tools.regions.share = percent / 100
        self.tools.refresh()

    # What is shown ----------------------------------------------------------------------------------

    def say(self, sentence: str, wrong: bool = False) -> None:
        """Show a sentence."""
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))
        set_tone(self.status, "warning" if wrong else None)

    def _tool_changed(self) -> None:
        for number, (tool, button) in enumerate(self.buttons.items(), 1):
            button.setChecked(tool == self.tools.tool)
            if tool == self.tools.tool:
                self.settings.setCurrentIndex(number)
        if self.tools.tool is None:
            self.settings.setCurrentIndex(0)
        self._refresh()

    def _refresh(self) -> None:
        shown = self._session.index is not None and self._session.item_error is None
        for button in (*self.buttons.values(), self.layer_button):
            button.setEnabled(shown)
        if self.tools.tool is None:
            self.say(self.tools.remark() if shown else "")

    # The other ways ---------------------------------------------------------------------------------

    def _unbind(self) -> None:
        viewer = self._session.viewer
        if viewer is not None:
            shortcuts.unbind_from_viewer(viewer, self._keys)

    def copy_to_others(self) -> None:
        """Open the part for the same place in other images, and show the previews."""
        self.same_fold.set_opened(True)
        self.same_place.preview()

    def choose_layer(self) -> None:
        """Take the mask from the one open layer that fits; where there are several, let the user choose."""
        session = self._session
        size = self._size()
        if size is None:
            self.say("No image is shown that can be painted; choose one first.", True)
            return
        found = layers_for(session.viewer, size)
        if not found:
            self.say(
                f"No open layer of yours has {size[1]}x{size[0]} pixels, as this image; open or draw one in napari first.",
                True,
            )
        elif len(found) == 1:
            self.paint_from(found[0])
        else:
            menu = QMenu(self)
            for layer in found:
                menu.addAction(layer.name).triggered.connect(lambda _=False, layer=layer: self.paint_from(layer))
            menu.popup(self.layer_button.mapToGlobal(self.layer_button.rect().bottomLeft()))

    def paint_from(self, layer: Any) -> None:
        """Add what is marked in a layer to the mask of the image that is shown."""
        size = self._size()
        if size is None:
            return
        try:
            mask = mask_from(layer, self._session.viewer, size)
        except ValueError as error:
            self.say(str(error), True)
            return
        changed = self._session.fill_region(np.asarray(mask, bool))
        if changed:
            said = f"{changed:,} pixels of “{layer.name}” painted; Ctrl+Z undoes it."
        elif mask.any():
            said = f"All that is marked in “{layer.name}” is painted already."
        else:
            said = f"Nothing is marked in “{layer.name}”."
        self.say(" ".join(part for part in (said, self.tools.remark()) if part), not changed)

    def _size(self) -> tuple[int, int] | None:
        session = self._session
        if session.dataset is None or session.index is None or session.item_error is not None:
            return None
        return tuple(session.dataset.image_size(session.index))
