"""What a session knows, and what it tells: the part of `Session` that all others build on."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.widgets.parts.basics import plain
from napari_cam_feedback.widgets.session.consents import Consents
from napari_cam_feedback.widgets.session.signals import SessionSignals
from napari_cam_feedback.widgets.tasks.serial_worker import SerialWorker
from napari_cam_feedback.widgets.tasks.workers import Jobs
from napari_cam_feedback.widgets.viewer.autosave import MaskAutosave
from napari_cam_feedback.widgets.viewer.layers import ItemLayers

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.explanations import Explanation, ExplanationCache
    from napari_cam_feedback.feedback import MaskStore
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.projects import Project
    from napari_cam_feedback.widgets.session.item_display import ItemDisplay
    from napari_cam_feedback.widgets.session.other_holders import OtherHolders
    from napari_cam_feedback.widgets.session.remembering import Remembering
    from napari_cam_feedback.widgets.session.window_guard import WindowGuard


class SessionState(SessionSignals):
    """State of one viewer; what it tells is in `SessionSignals`.

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
    style_folders : dict of str to str
        The folders that show what is to be taken out of whole images, as they were named last, by what they show.
    display : ItemDisplay
        Fills the layers.
    memory : Remembering
        Keeps with the project what the next session starts with.
    others : OtherHolders
        Sees what other windows and shells write.
    guard : WindowGuard
        Asks before the window closes.
    """

    display: ItemDisplay
    memory: Remembering
    others: OtherHolders
    guard: WindowGuard

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
        self.consents = Consents()
        self.style_folders: dict[str, str] = {}

        self.jobs = Jobs(self)
        self.jobs.failed.connect(lambda name, sentence: self.notify(sentence, "error"))
        self.layers = ItemLayers(viewer)
        self.layers.tell = self.notify
        self._disk = SerialWorker(self.jobs.main, "cam-feedback disk", must_finish=True)
        self.autosave = MaskAutosave(self._disk, self)
        self.autosave.saved.connect(self.mask_changed)
        self.autosave.failed.connect(lambda key, sentence: self.notify(sentence, "error"))

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

    def notify(self, text: str, level: str = "info") -> None:
        """Tell the user something: in the widgets, and a warning or error in a notification too."""
        self.message.emit(text, level)
        if level == "info":
            return
        from napari.utils.notifications import show_warning

        # napari's show_error opens a window that must be closed; the sentence is in the widget as well.
        show_warning(plain(text))
