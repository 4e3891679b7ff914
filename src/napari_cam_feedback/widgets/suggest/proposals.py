"""Proposed masks, one after the other, each over its image in a layer of its own."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QShortcut,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.errors import FeedbackError, describe
from napari_cam_feedback.widgets.parts.basics import fill, plain_label, push_button, rich_label, tight, wrapped_label
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.suggest.model import ANSWER, PROPOSE, SuggestModel
from napari_cam_feedback.widgets.viewer.identity import find_layers, mark, mark_of
from napari_cam_feedback.widgets.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari.layers import Labels

#: Role and name of the layer of a proposed mask.
PROPOSED = "proposed mask"
#: Yellow is not the masks' magenta: a proposal is to be told from a mask.
_COLOUR = (1.0, 0.85, 0.0, 1.0)
_HINT = (
    "Paint a few images; then masks are proposed for others like them. They are shown in yellow in a layer of their own, "
    "and none counts before you accept it."
)
_NOT_HERE = "No mask is proposed for the image that is shown. <i>Later</i> goes back to the proposals."
_KINDS = (("auto", "auto"), ("painted patch", "template"), ("same place", "place"), ("filter response", "filters"))


class ProposalsPage(QWidget):
    """Making proposals, and answering them by button or key."""

    def __init__(self, model: SuggestModel) -> None:
        super().__init__()
        self._model, self._session = model, model.session
        self._keys: list[str] = []
        self._key: str | None = None
        self._going = False
        self.hint = wrapped_label(_HINT)
        self.kind = QComboBox()
        for text, value in _KINDS:
            self.kind.addItem(text, value)
        self.kind.setToolTip(
            "How images are searched: for the painted patch, and where that is not found for the painted places (auto);\n"
            "or for one of them, or for whatever the same filters respond to"
        )
        self.count = QSpinBox()
        self.count.setRange(1, 5000)
        self.count.setValue(preferences().proposed_images)
        self.count.setToolTip("How many images to look at, drawn by chance where there are more")
        self.button = push_button("Propose masks", lambda: model.propose(str(self.kind.currentData()), self.count.value()))
        self.stop_button = push_button("Stop", self._stop)
        self.bar = QProgressBar()
        self.status = wrapped_label()
        self.about = rich_label()
        self.accept_button = self._answering("Accept [A]", "A", self.accept, "Make it a mask, and show the next one")
        self.reject_button = self._answering("Reject [R]", "R", self.reject, "Drop it for good, and show the next one")
        self.skip_button = self._answering("Later [S]", "S", self.skip, "Show the next one; this one stays")
        self.all_button = self._answering(
            "Accept all [Shift+A]", "Shift+A", self.accept_all, "Make all proposals that are left masks, also those not seen"
        )
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._build()
        machine = self._session.jobs.phase(PROPOSE)
        machine.changed.connect(self._refresh)
        self._session.jobs.phase(ANSWER).changed.connect(self._refresh)
        model.proposed.connect(self.show_next)
        self._session.opened.connect(self.show_next)
        self._session.item_changed.connect(self._item_changed)
        self._session.mask_changed.connect(self._mask_changed)
        self._session.closing.connect(self._take_layer_away)
        self.show_next()

    def _answering(self, text: str, key: str, action: Any, tip: str) -> QPushButton:
        button = push_button(text, action, tip)
        shortcut = QShortcut(QKeySequence(key), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(lambda: button.isEnabled() and action())
        return button

    def _build(self) -> None:
        settings, row = QHBoxLayout(), QHBoxLayout()
        settings.addWidget(plain_label("By"))
        settings.addWidget(self.kind, 1)
        settings.addWidget(plain_label("on"))
        settings.addWidget(self.count)
        settings.addWidget(plain_label("images"))
        row.addWidget(self.button, 1)
        row.addWidget(self.stop_button)
        answers = QGridLayout()
        for place, button in enumerate((self.accept_button, self.reject_button, self.skip_button, self.all_button)):
            answers.addWidget(button, place // 2, place % 2)
        column = tight(QVBoxLayout(self), 5, margins=(4, 6, 4, 4))
        fill(column, self.hint, settings, row, self.bar, self.status, self.about, answers)
        column.addStretch(1)

    # What is shown ----------------------------------------------------------------------------------

    @property
    def key(self) -> str | None:
        """The image whose proposal is shown."""
        return self._key

    @property
    def shown(self) -> bool:
        """Whether the proposal is before the user's eyes: over its image, in its layer."""
        layer = self.layer
        return (
            self._key is not None
            and self._session.key == self._key
            and layer is not None
            and mark_of(layer).get("key") == self._key
        )

    @property
    def layer(self) -> Labels | None:
        """The layer of the proposed mask."""
        viewer = self._session.viewer
        found = find_layers(viewer, PROPOSED) if viewer is not None else []
        return found[-1] if found else None

    def progressed(self, step: Any) -> None:
        """Move the bar."""
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)

    def say(self, sentence: str, wrong: bool = False) -> None:
        """Show a sentence."""
        self.status.setText(sentence)
        set_tone(self.status, "warning" if wrong else None)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self.show_next()

    def hideEvent(self, event: Any) -> None:
        super().hideEvent(event)
        # Whoever looks at another page does not answer proposals.
        self._take_layer_away()

    def show_next(self) -> None:
        """Show the proposal of the current image, else the surest one that is left."""
        self._keys = self._model.keys()
        current = self._session.key
        self._show(current if current in self._keys else self._keys[0] if self._keys else None)

    def _show(self, key: str | None) -> None:
        self._key = key
        store, dataset = self._model.store, self._session.dataset
        if key is None or store is None or dataset is None:
            self.about.setText("")
            self._take_layer_away()
        else:
            about = store.about(key)
            place = f"<b>{self._keys.index(key) + 1} of {len(self._keys)}</b>, score {about.score:.2f}"
            self.about.setText("<br>".join((place, escape(key), escape(about.reason))))
            if self.isVisible():
                self._going = True
                self._session.go_to(dataset.index_of(key))
                self._going = False
                try:
                    self._show_layer(key, store.mask(key))
                except FeedbackError as error:
                    self._take_layer_away()
                    self.say(describe(error), wrong=True)
        self._refresh()

    def _show_layer(self, key: str, mask: np.ndarray) -> None:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        viewer, layer = self._session.viewer, self.layer
        if layer is None:
            selected = viewer.layers.selection.active
            colours = DirectLabelColormap(color_dict={0: "transparent", 1: _COLOUR, None: _COLOUR})
            layer = Labels(mask.astype(np.uint8), name=PROPOSED, colormap=colours, opacity=0.6)
            mark(layer, PROPOSED, key)
            viewer.add_layer(layer)
            if selected is not None and selected in viewer.layers:
                viewer.layers.selection.active = selected
        else:
            layer.data = mask.astype(np.uint8)
            mark(layer, PROPOSED, key)
        layer.visible = True
        # Strokes go to the mask, never here; new data make a layer editable again.
        layer.editable = False

    def _take_layer_away(self) -> None:
        viewer = self._session.viewer
        if viewer is None:
            return
        for layer in find_layers(viewer, PROPOSED):
            viewer.layers.remove(layer)

    def _item_changed(self) -> None:
        """Follow the user to an image that has a proposal; elsewhere none is shown, and none can be answered."""
        if self._going or not self.isVisible() or self.shown or not self._keys:
            return
        if self._session.key in self._keys:
            self._show(self._session.key)
        else:
            self._take_layer_away()
            self.about.setText(_NOT_HERE)
            self._refresh()

    def _mask_changed(self, key: str) -> None:
        # Painted meanwhile, so that there is nothing to propose any more.
        if key in self._keys and not self._session.jobs.running(ANSWER):
            self.show_next()

    def _refresh(self, *_: object) -> None:
        jobs = self._session.jobs
        proposing, answering = jobs.running(PROPOSE), jobs.running(ANSWER)
        opened = self._model.store is not None
        self.hint.setVisible(not self._keys)
        self.button.setEnabled(opened and not proposing and not answering)
        self.kind.setEnabled(not proposing)
        self.count.setEnabled(not proposing)
        self.bar.setVisible(proposing)
        self.stop_button.setVisible(proposing or answering)
        free = not proposing and not answering and self._key is not None
        for button in (self.accept_button, self.reject_button, self.skip_button, self.all_button):
            button.setVisible(bool(self._keys))
            button.setEnabled(free)
        for button in (self.accept_button, self.reject_button):
            button.setEnabled(free and self.shown)

    def _stop(self) -> None:
        self._session.jobs.stop(PROPOSE)
        self._session.jobs.stop(ANSWER)

    # Answers ----------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Make the proposal that is shown a mask; what is not shown is not accepted."""
        if self._key is not None and self.shown:
            self._model.accept([self._key])

    def reject(self) -> None:
        """Drop the proposal that is shown."""
        if self._key is not None and self.shown:
            self._model.reject([self._key])

    def skip(self) -> None:
        """Show the next proposal; this one stays. From an image without one, show the one that was left."""
        if self._key in self._keys:
            step = 1 if self._session.key == self._key else 0
            self._show(self._keys[(self._keys.index(self._key) + step) % len(self._keys)])

    def accept_all(self) -> None:
        """Make all proposals masks."""
        self._model.accept(list(self._keys))
