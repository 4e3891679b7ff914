"""What each tool would paint at a place of the image that is shown, computed once and kept while it can be asked again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker
from napari_cam_feedback.widgets.viewer.identity import mark_of
from napari_cam_feedback.widgets.viewer.layers import IMAGE

SUPERPIXEL, WAND, HEAT, BOX = "superpixel", "wand", "grow", "box"
# Of superpixels of images looked at before; those of 160 photographs of 640 x 480 pixels.
_CACHE_BYTES = 100_000_000
# What looks at every pixel of a larger image is shown after the click, and computed in the background.
_AT_ONCE_PIXELS = 1_000_000


class CannotPaint(Exception):
    """A tool cannot paint at a place; the sentence says why."""


class Regions:
    """Asks the core what a tool paints.

    Parameters
    ----------
    session : Session
        Whose item, image and heatmap.

    Attributes
    ----------
    fineness : float
        Side of a superpixel as a share of the image's shorter side.
    tolerance : float
        The wand's, 0 to 1.
    share : float
        Of the heatmap's maximum, from which a pixel is hot.
    on_ready : callable
        Called when superpixels are there.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._worker = SerialWorker(session.jobs.main, "cam-feedback superpixels")
        # A click does not wait for an image to be cut.
        self._clicks = SerialWorker(session.jobs.main, "cam-feedback clicks")
        self._cut: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._pending: tuple[str, int] | None = None
        self._heat: tuple[Any, float, np.ndarray] | None = None
        self.error: str | None = None
        self.on_ready: Callable[[], None] = lambda: None
        self.fineness, self.tolerance, self.share = 0.14, 0.15, 0.5

    def hover(self, tool: str, place: tuple[int, int]) -> np.ndarray | None:
        """Return what a click at (row, column) would paint, (H, W) bool; None where that is nothing, or takes too long."""
        try:
            work, quick = self._work(tool, place)
            return work() if quick else None
        except CannotPaint:
            return None

    def find(self, tool: str, place: tuple[int, int], then: Callable[[np.ndarray | None, str], None]) -> None:
        """Find what a click at (row, column) paints.

        Parameters
        ----------
        tool : str
            Which.
        place : tuple of int
            In the image.
        then : callable
            Takes the region, (H, W) bool, or None and the sentence that says why there is none: at once, or, where it takes
            longer than a user should wait, when it was computed in the background.
        """
        try:
            work, quick = self._work(tool, place)
            if quick:
                then(work(), "")
                return
        except CannotPaint as error:
            then(None, str(error))
            return

        def done(region: np.ndarray | None, error: Exception | None) -> None:
            then(region, "" if error is None else str(error) if isinstance(error, CannotPaint) else describe(error))

        self._clicks.submit("click", work, done)

    def _work(self, tool: str, place: tuple[int, int]) -> tuple[Callable[[], np.ndarray], bool]:
        """Return what computes a region, and whether it is done at once; raises CannotPaint, and so may the work."""
        image = self._image()
        quick = image.shape[0] * image.shape[1] <= _AT_ONCE_PIXELS
        if tool == SUPERPIXEL:
            return partial(self._superpixel, place), True
        if tool == HEAT:
            return self._hot(place, image.shape[:2], quick)
        from napari_cam_feedback.feedback.painting.wand import wand

        return partial(wand, image, place, self.tolerance), quick

    def _image(self) -> np.ndarray:
        layer = self._session.layers.get(IMAGE)
        if self._session.key is None or layer is None or self._session.item_error is not None:
            raise CannotPaint("No image is shown; choose one first.")
        if mark_of(layer).get("key") != self._session.key:
            raise CannotPaint("The image is still being read; click again in a moment.")
        return np.asarray(layer.data)

    def forget(self) -> None:
        """Forget what was known of the image before."""
        self.error = self._heat = None

    # Superpixels ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Cut the image that is shown into superpixels in the background, unless it is cut already."""
        try:
            image = self._image()
        except CannotPaint:
            return
        key, piece = self._session.key, self._piece(image.shape[:2])
        if (key, piece) in self._cut or self._pending == (key, piece):
            return
        self._pending = (key, piece)

        def work() -> np.ndarray:
            from napari_cam_feedback.feedback.painting.superpixels import superpixels

            return superpixels(image, piece)

        def done(numbers: np.ndarray | None, error: Exception | None) -> None:
            if self._pending == (key, piece):
                self._pending = None
                self.error = None if error is None else describe(error)
            if numbers is not None:
                self._keep((key, piece), numbers)
            self.on_ready()

        self._worker.submit("superpixels", work, done)

    def _piece(self, size: tuple[int, ...]) -> int:
        from napari_cam_feedback.feedback.painting.superpixels import MIN_PIECE

        return max(MIN_PIECE, round(self.fineness * min(size[:2])))

    def _keep(self, which: tuple[str, int], numbers: np.ndarray) -> None:
        self._cut[which] = numbers
        while len(self._cut) > 1 and sum(kept.nbytes for kept in self._cut.values()) > _CACHE_BYTES:
            self._cut.popitem(last=False)

    def _superpixel(self, place: tuple[int, int]) -> np.ndarray:
        from napari_cam_feedback.feedback.painting.superpixels import superpixel_at

        image = self._image()
        which = (self._session.key, self._piece(image.shape[:2]))
        numbers = self._cut.get(which)
        if numbers is None or numbers.shape != image.shape[:2]:
            if self.error is None:
                self.prepare()
            raise CannotPaint(self.error or "The superpixels of this image are being made; click again in a moment.")
        self._cut.move_to_end(which)
        return superpixel_at(numbers, place)

    # The heatmap ----------------------------------------------------------------------------------

    def _hot(self, place: tuple[int, int], size: tuple[int, ...], quick: bool) -> tuple[Callable[[], np.ndarray], bool]:
        from napari_cam_feedback.explanations import has_evidence

        explanation = self._session.explanation
        if explanation is None or explanation.key != self._session.key:
            raise CannotPaint("There is no heatmap of this image yet; wait for it, or paint with another tool.")
        if not has_evidence(explanation.map) or explanation.map.shape != size:
            raise CannotPaint("Nothing in this image speaks for the class, so that the heatmap has no hot region.")
        kept = self._heat is not None and self._heat[0] is explanation and self._heat[1] == self.share
        return partial(self._hot_at, explanation, self.share, place), quick or kept

    def _hot_at(self, explanation: Any, share: float, place: tuple[int, int]) -> np.ndarray:
        from napari_cam_feedback.feedback.painting.grow import hot_regions

        heat = self._heat
        if heat is None or heat[0] is not explanation or heat[1] != share:
            self._heat = heat = explanation, share, hot_regions(explanation.map, share)
        regions = heat[2]
        if not regions[place]:
            raise CannotPaint("The heatmap is cold here; click where it is hot, or lower the threshold.")
        return np.asarray(regions == regions[place])

    def close(self) -> None:
        """End the threads."""
        self._cut.clear()
        self._worker.close()
        self._clicks.close()
