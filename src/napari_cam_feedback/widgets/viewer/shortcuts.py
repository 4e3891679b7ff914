"""The one registry of our keys; napari does not read a manifest's, so they are bound here, and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
)


def hint() -> str:
    """Return one line that names all keys."""
    return "   ".join(f"[{shortcut.key}] {shortcut.text}" for shortcut in SHORTCUTS)


def key_of(name: str) -> str:
    """Return the key of the shortcut called `name`."""
    return next(shortcut.key for shortcut in SHORTCUTS if shortcut.name == name)


def bind_to_viewer(viewer: Any, actions: dict[str, Callable[[], None]]) -> None:
    """Bind the keys in the canvas of `viewer`; `actions` maps shortcut names to functions."""
    for shortcut in SHORTCUTS:
        action = actions[shortcut.name]

        def run(_viewer: Any, action: Callable[[], None] = action) -> None:
            action()

        viewer.bind_key(shortcut.key, run, overwrite=True)


def unbind_from_viewer(viewer: Any) -> None:
    """Take our keys out of `viewer` again."""
    for shortcut in SHORTCUTS:
        viewer.bind_key(shortcut.key, None, overwrite=True)


def bind_to_widget(widget: QWidget, actions: dict[str, Callable[[], None]]) -> None:
    """Let the keys work while `widget` or something in it has the focus; typing in a field stays typing."""
    for shortcut in SHORTCUTS:
        key = QShortcut(QKeySequence(shortcut.key), widget)
        key.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        key.activated.connect(actions[shortcut.name])
