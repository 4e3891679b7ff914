"""Work on the main thread in pieces, a piece for each turn of the event loop, so that the window answers in between."""

from __future__ import annotations

from collections.abc import Generator

from qtpy.QtCore import QObject, QTimer

from napari_cam_feedback.widgets.tasks.gc_pause import Hold

Pieces = Generator[None, None, None]


class Turns(QObject):
    """Does one thing at a time, written as a generator that yields wherever the event loop may turn.

    Making a layer takes napari a tenth of a second; a grid of eighteen, made at once, would halt the window for two.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pieces: Pieces | None = None
        self._hold = Hold()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        # A real timer: what is drawn and clicked comes in between.
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._next)

    @property
    def busy(self) -> bool:
        """Whether there are pieces left to do."""
        return self._pieces is not None

    def run(self, pieces: Pieces) -> None:
        """Do the first piece now and the others in the next turns; what was not done of the work before is dropped."""
        self.cancel()
        self._pieces = pieces
        self._next()

    def cancel(self) -> None:
        """Do none of the pieces that are left."""
        self._timer.stop()
        self._pieces = None
        self._hold(False)

    def _next(self) -> None:
        pieces = self._pieces
        if pieces is None:
            return
        try:
            next(pieces)
        except BaseException as end:
            # A piece may have put other work in place of its own.
            if self._pieces is pieces:
                self._pieces = None
                self._hold(False)
            if not isinstance(end, StopIteration):
                raise
            return
        if self._pieces is pieces:
            # Else Python would look at all that torch and napari have in memory, for up to 0.8 s, amid the pieces.
            self._hold(True)
            self._timer.start()
