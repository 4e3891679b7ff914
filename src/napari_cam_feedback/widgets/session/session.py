"""The session: what one viewer is looking at; dock widgets listen to it and never call each other."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.widgets.session.consents import Consents
from napari_cam_feedback.widgets.session.explanation_loader import ExplanationLoader
from napari_cam_feedback.widgets.session.item_display import ItemDisplay
from napari_cam_feedback.widgets.session.item_order import ItemOrder
from napari_cam_feedback.widgets.session.leaving import losses_of_closing
from napari_cam_feedback.widgets.session.opened import OpenedProject, prepare
from napari_cam_feedback.widgets.session.other_holders import OtherHolders
from napari_cam_feedback.widgets.session.remembering import Remembering
from napari_cam_feedback.widgets.session.unfit_mask import put_stored_mask_aside
from napari_cam_feedback.widgets.session.window_guard import WindowGuard
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker
from napari_cam_feedback.widgets.tasks.workers import Jobs
from napari_cam_feedback.widgets.viewer.autosave import MaskAutosave
from napari_cam_feedback.widgets.viewer.layers import CAM, CONTOUR, MASK, ItemLayers
from napari_cam_feedback.widgets.viewer.map_style import MapLook

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.explanations import Explanation, ExplanationCache
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.projects import Project

logger = logging.getLogger(__name__)

#: How many neighbours on either side are computed ahead.
AHEAD = 2


class Session(QObject):
    """State of one viewer; get it with `session_of`. To be used on the main thread only.

    Signals
    -------
    opened
        A project was opened (or closed, then `project` is None): rebuild what is shown.
    item_changed
        `index` has changed; the image and mask layers show the new item already, the CAM when `explained`
        comes.
    view_changed
        `target` or `method` has changed.
    explained : Explanation
        The current item's explanation for the current target and method is there.
    prefetched : Explanation
        Any explanation was computed, also a neighbour's.
    mask_changed : str
        The mask of this key is on disk, or was removed.
    versions_changed
        Another holder of the project has kept or deleted a version; which one is in use here is as it was.
    version_changed
        `classifier` was replaced (a version was kept or chosen, or another target layer).
    message : str, str
        A sentence for the user and its level, ``info``, ``warning`` or ``error``.
    leaving : list of str
        Another project may be opened: put in a sentence for what would end with this one.
    closing
        The window is being closed.

    Attributes
    ----------
    project, dataset, classifier, explanation_cache, masks
        Core objects; None until a project is open.
    index : int or None
        The current item.
    target : str or int
        Class of the map: "true", "predicted" or an index.
    method : str
        Attribution method of the map.
    explanation : Explanation or None
        The current item's, once it is there.
    jobs : Jobs
        Background work.
    autosave : MaskAutosave
        Of the mask layer.
    layers : ItemLayers
        The image, CAM and mask layers.
    consents : Consents
        What the user has agreed to in this window.
    display : ItemDisplay
        Fills the layers.
    memory : Remembering
        Keeps with the project what the next session starts with.
    others : OtherHolders
        Sees what other windows and shells write.
    guard : WindowGuard
        Asks before the window closes.
    """

    opened = Signal()
    item_changed = Signal()
    view_changed = Signal()
    explained = Signal(object)
    prefetched = Signal(object)
    mask_changed = Signal(str)
    versions_changed = Signal()
    version_changed = Signal()
    message = Signal(str, str)
    leaving = Signal(object)
    closing = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.project: Project | None = None
        self.classifier: Classifier | None = None
        self.explanation_cache: ExplanationCache | None = None
        self.index: int | None = None
        self.target: Any = "predicted"
        self.method = "cam"
        self.explanation: Explanation | None = None
        self._order = ItemOrder(np.zeros(0, np.int64), 0)
        self._direction = 1
        self.consents = Consents()
        self._closed = False

        self.jobs = Jobs(self)
        self.jobs.failed.connect(lambda name, sentence: self.notify(sentence, "error"))
        self.layers = ItemLayers(viewer)
        self._disk = SerialWorker(self.jobs.main, "cam-feedback disk")
        self.autosave = MaskAutosave(self._disk, self)
        self.autosave.saved.connect(self.mask_changed)
        self.autosave.failed.connect(lambda key, sentence: self.notify(sentence, "error"))
        self._loader = ExplanationLoader(self.jobs.main, self._arrived)
        self.display = ItemDisplay(self)
        self.guard = WindowGuard(self.autosave.flush, partial(losses_of_closing, self), self.close, self)
        self.memory = Remembering(self)
        self.others = OtherHolders(self)
        viewer.layers.events.removing.connect(self._layer_removing)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)

    # What is open ---------------------------------------------------------------------------------

    @property
    def viewer(self) -> Any:
        """The real viewer, not a plugin's proxy; None when it is gone."""
        return self._viewer()

    @property
    def disk(self) -> SerialWorker:
        """The thread that writes to the project's folder."""
        return self._disk

    @property
    def dataset(self) -> Dataset | None:
        """The project's dataset."""
        return None if self.project is None else self.project.dataset

    @property
    def masks(self) -> MaskStore | None:
        """The project's masks on disk; `current_mask` knows newer ones."""
        return None if self.project is None else self.project.masks

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classifier's classes."""
        return () if self.classifier is None else self.classifier.class_names

    @property
    def item_error(self) -> str | None:
        """Why the current item cannot be shown, a sentence; None where it can."""
        return self.display.error

    @property
    def key(self) -> str | None:
        """The current item's key."""
        return None if self.index is None or self.dataset is None else self.dataset.keys[self.index]

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
        self.target = self._valid_target(remembered.get("target", "predicted"))
        self.method = self._valid_method(remembered.get("method"), opened.default_method)
        self.layers.set_look(MapLook.from_remembered(remembered.get("map_look")))
        hidden = remembered.get("hidden_layers")
        # Also where nothing is hidden: what is, may be so from the project before.
        self.layers.hide(hidden if isinstance(hidden, list) else [])
        self.opened.emit()
        self.go_to(self.start_index())

    def _valid_target(self, target: Any) -> Any:
        if isinstance(target, int) and 0 <= target < len(self.class_names):
            return target
        return target if target in ("true", "predicted") else "predicted"

    def _valid_method(self, method: Any, default: str) -> str:
        from napari_cam_feedback.explanations import METHODS

        # A method that the model cannot do (CAM without a linear head) must not come back from an older
        # project.
        return method if method in METHODS and not (method == "cam" and default != "cam") else default

    def start_index(self) -> int | None:
        """Return the item to start with: the one that was shown last, else the first."""
        if self.project is None:
            return None
        key = self.project.remembered.get("item")
        if isinstance(key, str):
            try:
                return self.project.dataset.index_of(key)
            except FeedbackError:
                pass
        return int(self.order[0]) if len(self.order) else None

    def set_classifier(self, classifier: Classifier) -> None:
        """Look through another classifier from now on: another version, or another target layer."""
        from napari_cam_feedback.explanations import ExplanationCache

        if self.project is None:
            return
        self.classifier = classifier
        self.explanation_cache = ExplanationCache(classifier, self.project.dataset)
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

    def notify(self, text: str, level: str = "info") -> None:
        """Tell the user something: in the widgets, and a warning or error in a notification too."""
        self.message.emit(text, level)
        if level == "info":
            return
        from napari.utils.notifications import show_warning

        # napari's show_error opens a window that must be closed; the sentence is in the widget as well.
        show_warning(text)

    # The mask -------------------------------------------------------------------------------------

    def current_mask(self) -> np.ndarray | None:
        """Return the current item's mask as painted now, bool (H, W), or None where nothing is painted."""
        key = self.key
        if key is None:
            return None
        try:
            return self.autosave.mask(key)
        except FeedbackError:
            return None

    def painted(self) -> set[str]:
        """Return the keys of all painted items, those on their way to disk included."""
        return self.autosave.painted()

    def put_mask(self, key: str, mask: np.ndarray, author: str | None = None) -> None:
        """Give an item another mask, bool (H, W), and note who or what made it; undoable where it is the current item."""
        layer = self._mask_layer() if key == self.key else None
        if layer is None:
            self.autosave.put(key, mask, author)
        else:
            self.autosave.collect()
            layer.data_setitem(np.nonzero(np.ones(mask.shape, bool)), mask.astype(np.uint8).ravel())
            self.autosave.collect(author)

    def reload_masks(self, painted: Iterable[str], changed: Iterable[str]) -> None:
        """Take over masks that were changed on disk, not by painting.

        Parameters
        ----------
        painted : iterable of str
            Keys of all items that have a mask now.
        changed : iterable of str
            Those whose mask is another, or gone.
        """
        layer = self.layers.get(MASK)
        self.autosave.open(self.masks, painted)
        if layer is not None and self.key is not None and self.item_error is None:
            self.display.show_mask(self.key, (int(layer.data.shape[0]), int(layer.data.shape[1])))
        for key in changed:
            self.mask_changed.emit(key)

    def paint(self) -> None:
        """Select the mask layer in its paint mode, ready for a stroke."""
        layer = self._mask_layer()
        if layer is None:
            return
        layer.visible = True
        layer.selected_label = 1
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"

    def clear_mask(self) -> None:
        """Remove the whole mask of the current item; undo brings it back.

        One on disk that cannot be shown, because it does not fit the image, is put aside.
        """
        layer = self._mask_layer()
        if layer is None:
            return
        if mask_any(layer):
            layer.data_setitem(np.nonzero(np.asarray(layer.data)), 0)
            return
        self.autosave.collect()
        if self.key is not None and self.key in self.painted():
            put_stored_mask_aside(self, self.key)

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

    def _mask_layer(self) -> Any:
        """The mask layer of the current item, made again if it was deleted."""
        if self.key is None or self.item_error is not None:
            return None
        if self.layers.get(MASK) is None and self.index is not None and self.dataset is not None:
            self.display.show_mask(self.key, self.dataset.image_size(self.index))
        return self.layers.get(MASK)

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

    def close(self) -> None:
        """Save what is painted, stop all work and wait for the threads. Safe to call twice."""
        if self._closed:
            return
        self.autosave.detach()
        self.memory.close()
        self._closed = True
        self.closing.emit()
        finish: list[Callable[[], bool]] = [
            self._disk.close,
            self._loader.close,
            self.display.close,
            self.jobs.shutdown,
        ]
        for end in finish:
            if not end():
                logger.warning("a thread is still busy after closing")
        self.guard.release()


def mask_any(layer: Any) -> bool:
    """Whether anything is painted in a Labels layer."""
    return bool(np.asarray(layer.data).any())


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
