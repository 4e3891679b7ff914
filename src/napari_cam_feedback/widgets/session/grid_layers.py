"""What all sets of layers in napari's grid have in common: showing, hiding, and following the user from image to image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.widgets.session.explanation_loader import ExplanationLoader
from napari_cam_feedback.widgets.session.grid import grid_of
from napari_cam_feedback.widgets.tasks.turns import Pieces, Turns

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation
    from napari_cam_feedback.widgets.session.session import Session


class GridLayers(QObject):
    """Layers of the current image in the grid, computed in the background, until they are hidden or the grid is left.

    A subclass says when there is anything to show (`_ready`), asks for it (`_follow`, by `_ask`), draws it (`_show`, layer
    by layer, with a turn of the event loop after each that is made) and removes it (`_remove`).

    Parameters
    ----------
    session : Session
        Whose image is followed.
    owner : str
        Under which name the grid is asked for.

    Signals
    -------
    shown : bool
        Whether the layers are in the viewer now.
    described : str
        A sentence on the current image.
    """

    shown = Signal(bool)
    described = Signal(str)

    def __init__(self, session: Session, owner: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._owner = owner
        self._loader: ExplanationLoader | None = None
        self._wanted: tuple[Any, ...] | None = None
        self._on = False
        self._turns = Turns(self)
        session.explained.connect(self._follow)
        session.dock_closed.connect(self.hide)
        session.closing.connect(self.close)

    @property
    def on(self) -> bool:
        """Whether the layers are shown, or about to be."""
        return self._on

    def show(self) -> None:
        """Show the layers, now or as soon as they are computed."""
        if self._on or not self._ready():
            return
        self._on = True
        self.shown.emit(True)
        self._follow_current()

    def hide(self) -> None:
        """Remove the layers and give the viewer back as it was."""
        if not self._on:
            return
        grid = grid_of(self._session)
        if grid.owner == self._owner:
            grid.leave()
        else:
            self._left()

    def close(self) -> None:
        """End the thread."""
        self._on = False
        self._turns.cancel()
        if self._loader is not None:
            self._loader.close()

    def _follow_current(self) -> None:
        if self._session.explanation is not None:
            self._follow(self._session.explanation)

    def _use(self, source: Any) -> None:
        """Take what is shown from `source` from now on; it has the `classifier`, `peek` and `get` of an
        `ExplanationCache`."""
        self._forget_wanted()
        if self._loader is None:
            if source is None:
                return
            self._loader = ExplanationLoader(self._session.jobs.main, self._arrived)
        self._loader.use(source)

    def _forget_wanted(self) -> None:
        """Show nothing any more that was asked for so far."""
        self._wanted = None
        self._turns.cancel()
        grid_of(self._session).withdraw(self._owner)

    def _ask(self, source: Any, request: tuple[Any, ...]) -> None:
        """Show what was asked for, at once where it is there already."""
        self._wanted = request
        found = source.peek(*request)
        if found is not None:
            self._turns.run(self._show(found))
        elif self._loader is not None:
            self._loader.request([request])

    def _arrived(self, request: Any, found: Any, sentence: str | None) -> None:
        if request != self._wanted or not self._ready():
            return
        if found is not None:
            self._turns.run(self._show(found))
        elif sentence is not None:
            self.described.emit(sentence)

    def _left(self) -> None:
        self._on = False
        self._turns.cancel()
        grid_of(self._session).withdraw(self._owner)
        if self._session.viewer is not None:
            with grid_of(self._session).changes():
                self._remove()
        self.shown.emit(False)

    # For subclasses -------------------------------------------------------------------------------

    def _ready(self) -> bool:
        """Whether there is anything to show."""
        raise NotImplementedError

    def _follow(self, explanation: Explanation) -> None:
        """Ask for what belongs to the image that the session shows now."""
        raise NotImplementedError

    def _show(self, found: Any) -> Pieces:
        """Draw what was asked for; a piece ends after each layer that was made."""
        raise NotImplementedError

    def _remove(self) -> None:
        """Remove all layers of this set."""
        raise NotImplementedError
