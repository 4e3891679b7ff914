"""Our docks in the window: in tabs; and what is asked and saved before it closes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from weakref import WeakSet

from qtpy.QtCore import QEvent, QObject, Qt, QThread, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_cam_feedback.widgets.parts.basics import confirmed


class WindowGuard(QObject):
    """Watches the window that our docks are in.

    Parameters
    ----------
    save : callable
        Puts on disk what is not there yet.
    losses : callable
        Returns a sentence for each thing that closing would lose.
    close : callable
        Ends the session; called once the window is sure to go.
    parent : QObject
        Its owner.
    """

    def __init__(
        self, save: Callable[[], object], losses: Callable[[], list[str]], close: Callable[[], object], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._save, self._losses, self._close = save, losses, close
        self._window: QWidget | None = None
        self._docks: WeakSet[QDockWidget] = WeakSet()
        self._released = self._asking = False

    def watch(self, widget: QWidget) -> None:
        """Watch the window that holds a dock's widget, once it is shown."""
        dock = widget.parent()
        if isinstance(dock, QDockWidget) and dock not in self._docks:
            # napari puts the plugin's name behind ours; in the tabs there is no room for it.
            dock.setWindowTitle(dock.windowTitle().split(" (")[0])
            others = list(self._docks)
            self._docks.add(dock)
            dock.installEventFilter(self)
            # Later: while a dock is shown for the first time, the window may not have found its place yet.
            QTimer.singleShot(0, lambda: _tabify(dock, others))
        window = widget.window()
        if self._window is None and window is not widget and not self._released:
            self._window = window
            window.installEventFilter(self)
            window.destroyed.connect(self._close)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Save and ask when the window is about to close; bring a dock to the front that was hidden from behind others."""
        if event.type() == QEvent.Type.Hide and isinstance(watched, QDockWidget):
            # napari's menu hides a dock that is there, also one whose tab lies behind others: whoever chooses that wants to
            # see it. Qt keeps what lies behind outside of the window.
            place = watched.geometry()
            if watched.isHidden() and (place.right() < 0 or place.bottom() < 0):
                QTimer.singleShot(0, partial(_bring_back, watched))
            return False
        if event.type() == QEvent.Type.Close and watched is self._window and not self._released:
            self._save()
            # napari's *File > Exit* and *Close window* close it by code, as a script does; but then the event loop runs, and
            # somebody is there who can be asked.
            somebody = event.spontaneous() or QThread.currentThread().loopLevel() > 0
            if somebody and not self.may_close(self._window):
                event.ignore()
                self._stay()
                return True
            if event.spontaneous():
                # napari itself may ask, and the user say no.
                QTimer.singleShot(0, self._close_if_hidden)
            else:
                self._close()
        return False

    def may_close(self, window: QWidget) -> bool:
        """Tell whether nothing would be lost, or else whether the user wants to close all the same."""
        losses = self._losses()
        if not losses:
            return True
        if self._asking:  # the question is on the screen already
            return False
        self._asking = True
        try:
            return confirmed(window, "Close all the same?", "\n".join([*losses, "", "Close all the same?"]))
        finally:
            self._asking = False

    def _stay(self) -> None:
        """Let napari forget that it was to quit, or the next closing of this window would quit it too."""
        if getattr(self._window, "_quit_app", False):
            self._window._quit_app = False  # type: ignore[union-attr]

    def release(self) -> None:
        """Let the window go."""
        self._released = True
        window, self._window = self._window, None
        if window is not None:
            with suppress(RuntimeError):
                window.removeEventFilter(self)

    def _close_if_hidden(self) -> None:
        if self._window is not None and not self._window.isVisible():
            self._close()


def _bring_back(dock: QDockWidget) -> None:
    """Show a dock again, in front, unless it was taken out of its window."""
    with suppress(RuntimeError):  # closed meanwhile
        window = dock.parent()
        there = isinstance(window, QMainWindow) and window.dockWidgetArea(dock) != Qt.DockWidgetArea.NoDockWidgetArea
        if there and dock.isHidden() and dock.widget() is not None:
            dock.show()
            dock.raise_()


def _tabify(dock: QDockWidget, others: list[QDockWidget]) -> None:
    """Put a new dock behind one of ours, in a tab: napari's menu stacks docks, and seven of them leave none room."""
    with suppress(RuntimeError):  # closed meanwhile
        window = dock.parent()
        if not isinstance(window, QMainWindow) or dock.isFloating() or window.tabifiedDockWidgets(dock):
            return
        area = window.dockWidgetArea(dock)
        for other in others:
            if other.isVisible() and not other.isFloating() and window.dockWidgetArea(other) == area:
                window.tabifyDockWidget(other, dock)
                dock.raise_()
                return
