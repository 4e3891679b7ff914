"""Showing an item in the viewer: its pixels, its map and its mask, or the reason why it cannot be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation
    from napari_cam_feedback.widgets.session.session import Session

# Larger images are read in the background, so that the window does not wait for the decoder.
_READ_AT_ONCE_PIXELS = 1_000_000


class ItemDisplay:
    """Fills a session's layers with its current item.

    Parameters
    ----------
    session : Session
        Whose item it is.

    Attributes
    ----------
    error : str or None
        Why the current item cannot be shown.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader = SerialWorker(session.jobs.main, "cam-feedback read")
        self.error: str | None = None

    def show(self) -> None:
        """Show the session's item; a large image that is not in memory comes later."""
        session = self._session
        dataset, index = session.dataset, session.index
        assert dataset is not None
        assert index is not None
        self.error = None
        if session.explanation is not None:
            self._show_pixels(session.explanation.image)
            return
        try:
            height, width = dataset.image_size(index)
            if height * width <= _READ_AT_ONCE_PIXELS:
                self._show_pixels(dataset.read(index))
                return
        except Exception as error:  # also a fault of ours is a sentence, or no image could be shown any more
            self.fail(describe(error))
            return
        session.autosave.detach()

        def then(image: np.ndarray | None, error: Exception | None) -> None:
            if session.dataset is not dataset or session.index != index:
                return
            if image is not None:
                self._show_pixels(image)
                if session.explanation is not None:
                    self.show_map(session.explanation)
            elif error is not None:
                self.fail(describe(error))

        self._reader.submit("image", lambda: dataset.read(index), then)

    def _show_pixels(self, image: np.ndarray) -> None:
        session, key = self._session, self._session.key
        assert key is not None
        size = (int(image.shape[0]), int(image.shape[1]))
        # The mask comes first: if the layer were changed while it still belongs to the item before, autosave
        # would take the new content for an edit of the old one.
        mask = self.stored_mask(key, size)
        session.autosave.detach()
        session.layers.show_image(image, key)
        if session.explanation is None:
            session.layers.show_cam(np.zeros(size, np.float32), key)
        session.autosave.attach(session.layers.show_mask(mask, key), key)
        session.layers.fit(size)

    def show_map(self, explanation: Explanation) -> None:
        """Show the map of an explanation."""
        from napari_cam_feedback.explanations import cam_display

        self._session.layers.show_cam(cam_display(explanation.shown), explanation.key, cells=explanation.coarse)

    def show_mask(self, key: str, size: tuple[int, int]) -> None:
        """Show the mask of the current item as it is on disk, and watch its layer."""
        session = self._session
        session.autosave.attach(session.layers.show_mask(self.stored_mask(key, size), key), key)

    def stored_mask(self, key: str, size: tuple[int, int]) -> np.ndarray:
        """Return the mask, bool (H, W), that an item of this size has; an empty one where there is none that fits."""
        session = self._session
        try:
            mask = session.autosave.stored(key)
        except Exception as error:  # as above
            session.notify(describe(error), "error")
            mask = None
        if mask is not None and mask.shape != size:
            session.notify(
                f"The mask of {key} has {mask.shape[0]}x{mask.shape[1]} pixels, its image {size[0]}x{size[1]}; "
                "it is not shown, and stops a retune until you paint a new one, or press Clear mask, which puts it aside.",
                "warning",
            )
            mask = None
        return np.zeros(size, bool) if mask is None else mask

    def fail(self, sentence: str) -> None:
        """Show nothing of an image that cannot be read, and take no strokes for it."""
        self.error = sentence
        self._session.autosave.detach()
        self._session.layers.clear()
        self._session.notify(sentence, "error")

    def close(self) -> bool:
        """End the reading thread; returns whether it has ended."""
        return self._reader.close()
