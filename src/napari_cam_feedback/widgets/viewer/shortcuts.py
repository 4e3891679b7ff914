"""The one registry of our keys; napari does not read a manifest's, so they are bound here, and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget


@dataclass(frozen=True)
class Shortcut:
    """A key and what it does.

    Attributes
    ----------
    name : str
        By which an action is found.
    key : str
        As napari writes keys; the same text works for Qt.
    text : str
        What the user reads.
    """

    name: str
    key: str
    text: str


# Free in napari's viewer, image and labels key maps; P is napari's own paint key on a Labels layer, so that
# it means the same whichever layer is selected.
SHORTCUTS: tuple[Shortcut, ...] = (
    Shortcut("next_item", ".", "next item"),
    Shortcut("previous_item", ",", "previous item"),
    Shortcut("paint", "P", "paint the mask"),
    Shortcut("toggle_cam", "H", "hide or show the CAM"),
    Shortcut("swap_class", "T", "true or predicted class"),
    Shortcut("box", "D", "paint a box by dragging"),
    Shortcut("superpixel", "U", "paint superpixels by a click"),
    Shortcut("wand", "W", "paint like colours by a click"),
    Shortcut("grow", "G", "paint from the heatmap by a click"),
    Shortcut("hottest", "Shift+G", "paint the hottest region of the heatmap, without the mouse"),
    Shortcut("same_place", "K", "copy the mask to the same place in other images"),
    Shortcut("from_layer", "J", "take the mask from an open layer"),
    Shortcut("step_1", "Alt+1", "step Open"),
    Shortcut("step_2", "Alt+2", "step Look"),
    Shortcut("step_3", "Alt+3", "step Paint"),
    Shortcut("step_4", "Alt+4", "step Retune"),
    Shortcut("step_5", "Alt+5", "step Compare"),
    Shortcut("next_step", "Alt+N", "the next sensible thing"),
    Shortcut("other_step", "Alt+M", "the other thing that is offered"),
)

#: napari's own on the mask's layer, listed with ours so that all are found in one place.
NAPARIS: tuple[Shortcut, ...] = (
    Shortcut("undo", "Ctrl+Z", "undo in the mask; with Shift redo"),
    Shortcut("smaller", "[", "smaller brush"),
    Shortcut("larger", "]", "larger brush"),
    Shortcut("erase", "E", "eraser"),
    Shortcut("fill", "F", "fill"),
    Shortcut("polygon", "3", "polygon"),
    Shortcut("move", "Z", "move the image; held, the space bar does so too"),
    Shortcut("visible", "V", "hide or show the layer selected"),
)


def table() -> str:
    """Return all keys, ours and then napari's, as a table in rich text."""
    rows = "".join(
        f"<tr><td><b>{escape(shortcut.key)}</b>&nbsp;&nbsp;</td><td>{escape(shortcut.text)}</td></tr>"
        for shortcut in (*SHORTCUTS, *NAPARIS)
    )
    return f"<table>{rows}</table>"


def key_of(name: str) -> str:
    """Return the key of the shortcut called `name`."""
    return next(shortcut.key for shortcut in SHORTCUTS if shortcut.name == name)


def bind_to_viewer(viewer: Any, actions: dict[str, Callable[[], None]]) -> None:
    """Bind the keys of some actions in the canvas of `viewer`; `actions` maps shortcut names to functions."""
    for shortcut in SHORTCUTS:
        action = actions.get(shortcut.name)
        if action is None:
            continue

        def run(_viewer: Any, action: Callable[[], None] = action) -> None:
            action()

        viewer.bind_key(shortcut.key, run, overwrite=True)


def unbind_from_viewer(viewer: Any, names: Iterable[str]) -> None:
    """Take the keys of some actions out of `viewer` again."""
    for name in names:
        viewer.bind_key(key_of(name), None, overwrite=True)


def bind_to_widget(widget: QWidget, actions: dict[str, Callable[[], None]]) -> None:
    """Let the keys of some actions work while `widget` or something in it has the focus; typing in a field stays typing."""
    for shortcut in SHORTCUTS:
        if shortcut.name not in actions:
            continue
        key = QShortcut(QKeySequence(shortcut.key), widget)
        key.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        key.activated.connect(actions[shortcut.name])
