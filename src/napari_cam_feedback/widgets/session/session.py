"""The session: what one viewer is looking at; dock widgets listen to it and never call each other."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication
from qtpy.QtWidgets import QWidget

from napari_cam_feedback.widgets.session.explanation_loader import ExplanationLoader
from napari_cam_feedback.widgets.session.item_display import ItemDisplay
from napari_cam_feedback.widgets.session.item_order import ItemOrder
from napari_cam_feedback.widgets.session.leaving import losses_of_closing
from napari_cam_feedback.widgets.session.mask_actions import MaskActions
from napari_cam_feedback.widgets.session.opened import OpenedProject, prepare
from napari_cam_feedback.widgets.session.other_holders import OtherHolders
from napari_cam_feedback.widgets.session.remembering import Remembering
from napari_cam_feedback.widgets.session.starting import remembered_item, valid_method, valid_target
from napari_cam_feedback.widgets.session.waiting import waiting_sentence
from napari_cam_feedback.widgets.session.window_guard import WindowGuard
from napari_cam_feedback.widgets.tasks.preloading import preload_torch
from napari_cam_feedback.widgets.viewer.layers import CAM, CONTOUR
from napari_cam_feedback.widgets.viewer.map_style import MapLook
from napari_cam_feedback.widgets.viewer.preferences import preferences
from napari_cam_feedback.widgets.viewer.users_layers import UsersLayers

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.projects import Project

logger = logging.getLogger(__name__)

#: How many neighbours on either side are computed ahead.
AHEAD = 2


class Session(MaskActions):
    """One viewer's session; get it with `session_of`. To be used on the main thread only. `SessionState` has its signals."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._order = ItemOrder(np.zeros(0, np.int64), 0)
        self._direction = 1
        self._closed = False
        self._loader = ExplanationLoader(self.jobs.main, self._arrived)
        self.display = ItemDisplay(self)
        self.guard = WindowGuard(self.autosave.flush, partial(losses_of_closing, self), self.close, self)
        self.memory = Remembering(self)
        self.others = OtherHolders(self)
        self._users_layers = UsersLayers(viewer, partial(self.notify, level="warning"), lambda: self.key is not None)
        viewer.layers.events.removing.connect(self._layer_removing)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)

    # What is open ---------------------------------------------------------------------------------

    @property
    def whole(self) -> Session:
        """The session itself, where this is the part of it that a dock sees."""
        return self

    def open(self, opened: OpenedProject | Project) -> None:
        """Show a project, starting at the item, class and method where the user left it.

        Parameters
        ----------
        opened : OpenedProject or Project
            What `prepare` returned in a worker. A bare project is prepared here, which runs the network.
        """
        if not isinstance(opened, OpenedProject):
            opened = prepare(opened, opened.classifier())
        self.autosave.open(opened.project.masks, opened.painted)
        self.memory.now()
        self._loader.use(opened.explanation_cache)
        self.project, self.classifier, self.explanation_cache = opened.project, opened.classifier, opened.explanation_cache
        self.index, self.explanation, self.display.error = None, None, None
        self._order = ItemOrder(self.project.dataset.indices(), len(self.project.dataset))
        remembered = dict(self.project.remembered)
        self.target = valid_target(remembered.get("target", "predicted"), len(self.class_names))
        self.method = valid_method(remembered.get("method"), opened.default_method)
        self.layers.set_look(MapLook.from_remembered(remembered.get("map_look")))
        hidden = remembered.get("hidden_layers")
        # Also where nothing is hidden: what is, may be so from the project before.
        self.layers.hide(hidden if isinstance(hidden, list) else [])
        self.opened.emit()
        self.go_to(self.start_index())
        if waiting := waiting_sentence(self.project):
            self.notify(waiting, "warning")

    def start_index(self) -> int | None:
        """Return the item to start with: the one that was shown last, else the first."""
        if self.project is None:
            return None
        found = remembered_item(self.project)
        return found if found is not None else int(self.order[0]) if len(self.order) else None

    def set_classifier(self, classifier: Classifier) -> None:
        """Look through another classifier from now on: another version, or another target layer."""
        from napari_cam_feedback.explanations import ExplanationCache

        if self.project is None:
            return
        self.classifier = classifier
        self.explanation_cache = ExplanationCache(classifier, self.project.dataset, max_bytes=preferences().cache_bytes)
        self._loader.use(self.explanation_cache)
        self.explanation = None
        if self.method == "cam" and classifier.head is None:
            self.method = "gradcam"
        self.version_changed.emit()
        self._ask()

    # Where we are ---------------------------------------------------------------------------------

    @property
    def order(self) -> np.ndarray:
        """The items in the table's present order and filter, int64, which `step` follows."""
        return self._order.indices

    def set_order(self, indices: Sequence[int] | np.ndarray) -> None:
        """Take over the table's present order and filter."""
        self._order.set(np.asarray(indices, np.int64))
        self._order.move_to(self.index)

    def step(self, by: int) -> None:
        """Go to the next (+1) or previous (-1) item of the table; stays at the ends.

        When the current item has dropped out of the filter, the next one is the one that moved up to its
        place.
        """
        self._direction = 1 if by >= 0 else -1
        self.go_to(self._order.step(self.index, by))

    def go_to(self, index: int | None) -> None:
        """Show another item. Its image and mask are there on return; the CAM too if it was computed ahead."""
        if self.dataset is None or index is None or index == self.index:
            return
        self.autosave.collect()
        self.index = int(index)
        self._order.move_to(self.index)
        self.explanation = self._peek()
        self.display.show()
        self.item_changed.emit()
        self._ask()
        self.memory.soon()

    def set_view(self, *, target: Any = None, method: str | None = None) -> None:
        """Choose the map's class, its method, or both."""
        target = self.target if target is None else target
        method = self.method if method is None else method
        if (target, method) == (self.target, self.method):
            return
        self.target, self.method = target, method
        self.explanation = self._peek()
        self.view_changed.emit()
        self._ask()
        self.memory.soon()

    @property
    def method_is_slow(self) -> bool:
        """Whether the chosen method takes many seconds for an image."""
        if self.classifier is None:
            return False
        from napari_cam_feedback.explanations import METHODS

        return METHODS[self.method].slow

    def _target_for(self, index: int) -> Any:
        # An item without a label has no true class.
        assert self.dataset is not None
        return "predicted" if self.target == "true" and self.dataset.labels[index] < 0 else self.target

    def _request(self, index: int) -> tuple[int, Any, str]:
        return int(index), self._target_for(index), self.method

    def _peek(self) -> Explanation | None:
        if self.explanation_cache is None or self.index is None:
            return None
        return self.explanation_cache.peek(*self._request(self.index))

    def _ask(self) -> None:
        """Show the current explanation if it is there, and have it and its neighbours computed."""
        if self.index is None:
            return
        if self.explanation is None:
            self.explanation = self._peek()
        # Methods that take many seconds for an image are not run for images that nobody may look at.
        neighbours = () if self.method_is_slow else self._order.neighbours(AHEAD, self._direction)
        wishes = [self._request(self.index), *map(self._request, neighbours)]
        if self.explanation is not None:
            self._shown(self.explanation)
        self._loader.request(wishes)

    def _arrived(self, request: tuple[int, Any, str], explanation: Explanation | None, sentence: str | None) -> None:
        current = self.index is not None and request == self._request(self.index)
        if explanation is not None:
            self.prefetched.emit(explanation)
            # Computed ahead, before the image became unreadable: there is nothing to show it on.
            if current and self.explanation is None and self.item_error is None:
                self.explanation = explanation
                self._shown(explanation)
        elif current and sentence is not None and self.item_error is None:
            self.display.fail(sentence)

    def _shown(self, explanation: Explanation) -> None:
        self.display.show_map(explanation)
        self.explained.emit(explanation)

    def toggle_cam(self) -> None:
        """Hide or show the CAM."""
        layer, contour = self.layers.get(CAM), self.layers.get(CONTOUR)
        if layer is not None:
            layer.visible = not layer.visible
            if contour is not None:
                contour.visible = layer.visible

    def swap_class(self) -> None:
        """Change between the map of the true and that of the predicted class."""
        self.set_view(target="predicted" if self.target == "true" else "true")

    def _layer_removing(self, event: Any) -> None:
        layers = self.viewer.layers if self.viewer is not None else None
        if layers is None or self.autosave.layer is None:
            return
        if layers[event.index] is self.autosave.layer:
            self.autosave.detach()

    # Saving and closing ---------------------------------------------------------------------------

    def save(self) -> bool:
        """Put on disk what is not there yet, now; returns whether the disk thread has finished."""
        self.memory.now()
        return self.autosave.flush()

    def watch(self, widget: QWidget) -> None:
        """Notice when the window that holds `widget` closes; every dock widget calls this once shown."""
        self.guard.watch(widget)
        preload_torch(self.jobs)

    def close(self) -> None:
        """Save what is painted, stop all work and wait for the threads. Safe to call twice."""
        if self._closed:
            return
        self.autosave.detach()
        self.memory.close()
        self._users_layers.close()
        self._closed = True
        self.closing.emit()
        finish: list[Callable[[], bool]] = [self._disk.close, self._loader.close, self.display.close, self.jobs.shutdown]
        for end in finish:
            if not end():
                logger.warning("a thread is still busy after closing")
        self.guard.release()


_SESSIONS: dict[int, Session] = {}


def _end(viewer_id: int) -> None:
    """Close the session of a viewer that is gone, or about to go with the interpreter."""
    session = _SESSIONS.pop(viewer_id, None)
    if session is None:
        return
    if threading.current_thread() is threading.main_thread():
        session.close()
    else:  # the garbage collector may run in any thread
        session.jobs.main.post(session.close)


def session_of(viewer: Any) -> Session:
    """Return the session of a viewer, made when first asked for.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer or the proxy of it that napari hands to plugins.
    """
    # By identity, since comparing viewers compares all that they show.
    real = getattr(viewer, "__wrapped__", viewer)
    if id(real) not in _SESSIONS:
        _SESSIONS[id(real)] = Session(real)
        # Also at the interpreter's exit, for a script or notebook whose event loop never says that it quits.
        weakref.finalize(real, _end, id(real))
    return _SESSIONS[id(real)]
