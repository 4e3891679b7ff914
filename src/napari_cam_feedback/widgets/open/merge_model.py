"""Merging somebody's masks into the open project's: comparing, looking at both masks of an image, and bringing them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cam_feedback.errors import FeedbackError
from napari_cam_feedback.monitor import Monitor, Part
from napari_cam_feedback.widgets.session.opened import painted_items
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.session.unfit_mask import folder_for_replaced
from napari_cam_feedback.widgets.viewer.identity import find_layers, mark
from napari_cam_feedback.widgets.viewer.layers import CAM, CONTOUR, MASK

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset
    from napari_cam_feedback.feedback.exchange.merging import Conflict, MaskDifferences, MergedMasks
    from napari_cam_feedback.projects import Project

JOB = "merge"
#: Layers that show the two masks of an image.
SIDES = ("mask of mine", "mask of theirs")
_NAMES = dict(zip(SIDES, ("mine", "theirs"), strict=True))
#: Magenta is the mask's own colour everywhere; yellow over it gives a third.
_COLOURS = dict(zip(SIDES, ((1.0, 0.0, 1.0, 1.0), (1.0, 0.9, 0.0, 1.0)), strict=True))
_OPACITY = 0.5
#: Hidden meanwhile: what is painted on, and what yellow could not be told from.
_ASIDE = (MASK, CAM, CONTOUR)
#: What only two masks of one size can be made into.
JOINED = ("union", "intersection")


@dataclass
class MaskComparison:
    """Two sets of masks, and how they differ.

    Attributes
    ----------
    project : Project
        Mine.
    theirs : mapping
        Key to (H, W) bool.
    found : MaskDifferences
        How they differ.
    remarks : list of str
        What of theirs could not be used, and why: what fits no image, or is of another size than its image.
    choices : dict
        By key, what to take, for conflicts that were decided on.
    """

    project: Project
    theirs: Mapping[str, np.ndarray]
    found: MaskDifferences
    remarks: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)

    @property
    def open_conflicts(self) -> list[str]:
        """Keys of conflicts that nobody decided on."""
        return [key for key in self.found.conflicts if key not in self.choices]

    @property
    def brings(self) -> bool:
        """Whether merging now would change anything."""
        return bool(self.found.only_theirs) or any(choice != "mine" for choice in self.choices.values())


class MergeModel(QObject):
    """What the panel for merging works on.

    Signals
    -------
    progressed : Progress
        How far the work is.
    compared
        `now` has changed; None once it is over.
    merged : str
        Masks were brought in; a sentence on how many.
    failed : BaseException
        Something went wrong.
    """

    progressed = Signal(object)
    compared = Signal()
    merged = Signal(str)
    failed = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.now: MaskComparison | None = None
        self._looking_at: str | None = None
        session.opened.connect(self._opened)
        session.item_changed.connect(self._moved)
        session.closing.connect(self.hide)

    # Comparing ------------------------------------------------------------------------------------

    def compare(self, path: Path, *, resize: bool = False) -> None:
        """Compare the project's masks with those in a folder, a project or a file, in the background.

        Parameters
        ----------
        path : Path
            Where theirs are.
        resize : bool
            Bring masks of another size to their image's; else they are left out.
        """
        session, project = self.session, self.session.project
        if project is None or session.jobs.running(JOB):
            return
        self.end()
        session.save()

        def work(monitor: Monitor) -> MaskComparison | None:
            return _compare(project, path, resize, monitor)

        def done(found: MaskComparison | None) -> None:
            if found is not None and session.project is project:
                self.now = found
                self.compared.emit()

        self._start(work, done, "Comparing masks")

    def _start(self, work: Callable[[Monitor], Any], done: Callable[[Any], None], description: str) -> None:
        self.session.jobs.start(
            JOB, work, on_progress=self.progressed.emit, on_done=done, on_error=self.failed.emit, description=description
        )

    def stop(self) -> None:
        """End the work with what there is."""
        self.session.jobs.stop(JOB)

    def choose(self, key: str, choice: str) -> None:
        """Note what to take of an image; two masks of different sizes cannot be joined, and stay open."""
        conflict = None if self.now is None else self.now.found.conflicts.get(key)
        if self.now is not None and conflict is not None and (conflict.iou is not None or choice not in JOINED):
            self.now.choices[key] = choice

    def choose_all(self, choice: str) -> None:
        """Note what to take of every image whose masks differ, where that can be done."""
        for key in [] if self.now is None else self.now.found.conflicts:
            self.choose(key, choice)

    # Looking at both ------------------------------------------------------------------------------

    def look(self, key: str) -> None:
        """Go to an image and show both of its masks over it, instead of the heatmap and the layer that is painted on."""
        session, now, dataset = self.session, self.now, self.session.dataset
        conflict = None if now is None else now.found.conflicts.get(key)
        if now is None or conflict is None or dataset is None:
            return
        try:
            index = dataset.index_of(key)
        except FeedbackError as error:
            self.failed.emit(error)
            return
        self._looking_at = key
        session.go_to(index)

        def read() -> tuple[np.ndarray | None, ...]:
            # One of mine may be from before the image was another; it would not lie where it was painted.
            size = tuple(dataset.image_size(index))
            both = now.project.masks[conflict.mine.name], now.theirs[conflict.theirs.name]
            return tuple(mask if mask.shape == size else None for mask in both)

        def then(masks: tuple[np.ndarray | None, ...] | None, error: Exception | None) -> None:
            if error is not None:
                self.failed.emit(error)
            elif masks is not None and self._looking_at == key and self.now is now:
                self._show(masks)

        session.disk.submit("look at two masks", read, then)

    def _show(self, masks: tuple[np.ndarray | None, ...]) -> None:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        viewer = self.session.viewer
        if viewer is None:
            return
        for role, mask in zip(SIDES, masks, strict=True):
            there = find_layers(viewer, role)
            if mask is None:
                for layer in there:
                    viewer.layers.remove(layer)
                continue
            data = mask.astype(np.uint8)
            if there:
                there[0].data = data
                # New data make a layer editable again.
                there[0].editable = False
            else:
                colour = _COLOURS[role]
                colours = DirectLabelColormap(color_dict={0: "transparent", 1: colour, None: colour})
                layer = Labels(data, name=_NAMES[role], colormap=colours, opacity=_OPACITY)
                mark(layer, role)
                selected = viewer.layers.selection.active
                viewer.add_layer(layer)
                # To be looked at; what is painted goes into the layer “irrelevant” alone.
                layer.editable = False
                viewer.layers.selection.active = selected
        self.session.layers.put_aside(_ASIDE)

    @property
    def shown(self) -> bool:
        """Whether two masks are shown."""
        viewer = self.session.viewer
        return viewer is not None and any(find_layers(viewer, role) for role in SIDES)

    def hide(self) -> None:
        """Take both masks out of the viewer, and show again what was hidden for them."""
        self._looking_at = None
        viewer = self.session.viewer
        if viewer is None:
            return
        for role in SIDES:
            for layer in find_layers(viewer, role):
                viewer.layers.remove(layer)
        self.session.layers.bring_back(_ASIDE)

    def _moved(self) -> None:
        # Two masks of one image must not lie over another.
        if self._looking_at is not None and self.session.key != self._looking_at:
            self.hide()

    def _opened(self) -> None:
        if self.now is not None and self.session.project is not self.now.project:
            self.end()

    def end(self) -> None:
        """Forget what was compared."""
        self.hide()
        if self.now is not None:
            self.now = None
            self.compared.emit()

    # Bringing them in -----------------------------------------------------------------------------

    def merge(self) -> None:
        """Bring their masks into the project, in the background; what they replace is kept in a folder of its own."""
        session, now = self.session, self.now
        if now is None or session.jobs.running(JOB):
            return
        self.hide()
        session.save()
        layer = session.layers.get(MASK)
        if layer is not None:
            # A stroke while its mask is replaced would be lost.
            layer.editable = False
        replaced = folder_for_replaced(now.project)

        def work(monitor: Monitor) -> tuple[MergedMasks, set[str], bool]:
            return _merge(now, replaced, monitor)

        def over() -> None:
            painted = session.layers.get(MASK)
            if painted is not None:
                painted.editable = True

        def done(result: tuple[MergedMasks, set[str], bool]) -> None:
            over()
            merged, painted, kept = result
            if session.project is now.project:
                session.reload_masks(painted, list(merged.taken))
            self.end()
            self.merged.emit(_sentence(merged, replaced if kept else None))

        def failed(error: BaseException) -> None:
            over()
            self.failed.emit(error)

        session.jobs.start(
            JOB,
            work,
            on_progress=self.progressed.emit,
            on_done=done,
            on_error=failed,
            on_stopped=over,
            description="Merging masks",
            precious=True,
        )


def _compare(project: Project, path: Path, resize: bool, monitor: Monitor) -> MaskComparison | None:
    from napari_cam_feedback.feedback import compare_masks

    theirs, remarks = _open_theirs(path, project.dataset, resize, Part(monitor, "Reading masks"))
    found = compare_masks(project.masks, theirs, monitor=Part(monitor, "Comparing masks"))
    return None if monitor.stopped else MaskComparison(project, theirs, found, remarks)


def _open_theirs(path: Path, dataset: Dataset, resize: bool, monitor: Monitor) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """Open those masks of a project, of a folder of ours, or of another program, that fit; and say which do not."""
    from napari_cam_feedback.feedback import MaskStore, find_masks, fitting_masks
    from napari_cam_feedback.feedback.exchange.importing import ImportedMasks
    from napari_cam_feedback.feedback.masks.index import INDEX_NAME
    from napari_cam_feedback.projects import ProjectFolder

    folder = path / "masks" if ProjectFolder.exists(path) else path
    if folder != path or (folder / INDEX_NAME).is_file():
        found = fitting_masks(MaskStore(folder), dataset, resize=resize, monitor=monitor)
    else:
        found = find_masks(path, dataset, resize=resize, monitor=monitor)
    return found.masks, ImportedMasks(found).sentences[1:]


def _merge(now: MaskComparison, replaced: Path, monitor: Monitor) -> tuple[MergedMasks, set[str], bool]:
    from napari_cam_feedback.feedback import MaskStore, merge_into

    store = MaskStore(replaced)
    merged = merge_into(now.project.masks, now.theirs, store, choices=now.choices, monitor=Part(monitor, "Merging masks"))
    return merged, painted_items(now.project.dataset, now.project.masks), len(store) > 0


def _sentence(merged: MergedMasks, replaced: Path | None) -> str:
    count = len(merged.taken)
    text = f"{count} {'mask was' if count == 1 else 'masks were'} brought in."
    if merged.kept:
        stay = "stays as it was" if len(merged.kept) == 1 else "stay as they were"
        text += f" {len(merged.kept)} where the two differ {stay}."
    return text if replaced is None else f"{text} What they replaced is kept in {replaced}."


def side_text(name: str, conflict: Conflict) -> str:
    """Return a line on one of the two masks, ``mine`` or ``theirs``."""
    side = getattr(conflict, name)
    when = f", {side.time[:16].replace('T', ' ')}" if side.time else ""
    # Theirs are all of their image's size.
    unfit = "; not shown, since it is of another size than its image" if conflict.iou is None and name == "mine" else ""
    return f"{name}: {side.painted} pixels, {side.author or 'by nobody known'}{when}{unfit}"
