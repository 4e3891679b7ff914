"""The same place in other images: a grid of previews, of which those that are ticked become masks."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QListView,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import fill, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.session.taking_back import unchanged
from napari_cam_feedback.widgets.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari_cam_feedback.data import Dataset

JOB = "same place"
SAME_CLASS, UNPAINTED, LISTED = "same class", "unpainted", "listed"
_SIDE = 72
_HINT = (
    "For a tag, ruler or frame that does not move: copies this image's mask to others that have none. Look them over, "
    "untick where it does not fit, then accept."
)


class SamePlaceView(QWidget):
    """Which images, their previews, and accepting them.

    Parameters
    ----------
    session : Session
        Whose mask is copied.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._donor: str | None = None
        self._masks: dict[str, np.ndarray] = {}
        self._written: dict[str, np.ndarray] = {}
        self.scope = QComboBox()
        for text, value in (
            ("images of the same class", SAME_CLASS),
            ("all images to learn from", UNPAINTED),
            ("the images listed in the table", LISTED),
        ):
            self.scope.addItem(text, value)
        self.count = QSpinBox()
        self.count.setRange(1, 2000)
        self.count.setValue(100)
        self.count.setToolTip("How many images at most, drawn by chance where there are more")
        self.preview_button = push_button("Preview", self.preview)
        self.stop_button = push_button("Stop", lambda: session.jobs.stop(JOB))
        self.bar = QProgressBar()
        self.status = wrapped_label()
        self.grid = QListWidget()
        self.grid.setViewMode(QListView.ViewMode.IconMode)
        self.grid.setResizeMode(QListView.ResizeMode.Adjust)
        self.grid.setMovement(QListView.Movement.Static)
        self.grid.setIconSize(QSize(_SIDE, _SIDE))
        self.grid.setGridSize(QSize(_SIDE + 26, _SIDE + 26))
        self.grid.setUniformItemSizes(True)
        self.grid.setMinimumHeight(2 * (_SIDE + 30))
        self.grid.itemChanged.connect(self._count_ticked)
        self.all_button = push_button("Tick all", lambda: self.tick(True))
        self.none_button = push_button("None", lambda: self.tick(False))
        self.accept_button = push_button("Accept", self.accept)
        self.back_button = QPushButton("Take back")
        self.back_button.setToolTip("Remove the masks just accepted, but for those that you have edited since")
        self.back_button.clicked.connect(self.take_back)
        self._build()
        machine = session.jobs.phase(JOB)
        machine.changed.connect(self._refresh)
        session.opened.connect(self.forget)
        session.mask_changed.connect(self._mask_changed)
        self._refresh()

    def _build(self) -> None:
        choice, start, ticks, answer = QHBoxLayout(), QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        choice.addWidget(self.scope, 1)
        choice.addWidget(self.count)
        start.addWidget(self.preview_button, 1)
        start.addWidget(self.stop_button)
        fill(ticks, self.all_button, self.none_button)
        answer.addWidget(self.accept_button, 1)
        answer.addWidget(self.back_button)
        column = tight(QVBoxLayout(self), 4)
        column.addWidget(wrapped_label(_HINT, "quiet"))
        fill(column, choice, start, self.bar, self.status, self.grid, ticks, answer)

    def say(self, sentence: str, wrong: bool = False) -> None:
        """Show a sentence."""
        self.status.setText(sentence)
        set_tone(self.status, "warning" if wrong else None)

    def forget(self) -> None:
        """Show no previews."""
        self._donor, self._masks, self._written = None, {}, {}
        self.grid.clear()
        self.say("")
        self._refresh()

    def ticked(self) -> list[str]:
        """Return the keys of the images that are ticked."""
        rows = (self.grid.item(n) for n in range(self.grid.count()))
        return [row.data(Qt.ItemDataRole.UserRole) for row in rows if row.checkState() == Qt.CheckState.Checked]

    def tick(self, on: bool) -> None:
        """Tick all images, or none."""
        for n in range(self.grid.count()):
            self.grid.item(n).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    # Previews ---------------------------------------------------------------------------------------

    def preview(self) -> None:
        """Show the mask of the image that is shown on the chosen other images."""
        session = self._session
        dataset, index, mask = session.dataset, session.index, session.current_mask()
        if dataset is None or index is None or session.jobs.running(JOB):
            return
        self.forget()
        if mask is None:
            self.say("Nothing is painted on this image; paint it first, then copy it to other images.", True)
            return
        wanted = self._wanted(dataset, index)
        if not len(wanted):
            self.say("There is no other image to learn from among these that is not painted.", True)
            return
        project, self._donor = session.project, session.key

        def step(found: tuple[str, np.ndarray, float, np.ndarray]) -> None:
            if session.project is project:
                self._add(*found)

        session.jobs.start(
            JOB,
            lambda monitor: _previews(dataset, index, mask, wanted, monitor),
            on_step=step,
            on_progress=self._progressed,
            on_done=lambda _: self._done(),
            on_stopped=self._done,
            on_failed=lambda sentence: self.say(sentence, True),
            description="Looking at the same place in other images",
        )

    def _wanted(self, dataset: Dataset, index: int) -> np.ndarray:
        scope, session = self.scope.currentData(), self._session
        wanted = dataset.learnable()
        if scope == SAME_CLASS:
            wanted = wanted[dataset.labels[wanted] == dataset.labels[index]]
        elif scope == LISTED:
            wanted = np.intersect1d(wanted, session.order)
        painted = session.painted()
        wanted = np.array([int(i) for i in wanted if int(i) != index and dataset.keys[int(i)] not in painted], np.int64)
        if len(wanted) > self.count.value():
            wanted = np.sort(np.random.default_rng(0).permutation(wanted)[: self.count.value()])
        return wanted

    def _progressed(self, found: Any) -> None:
        self.bar.setRange(0, found.total)
        self.bar.setValue(found.done)

    def _add(self, key: str, picture: np.ndarray, likeness: float, mask: np.ndarray) -> None:
        from napari_cam_feedback.feedback.painting.same_place import ALIKE

        self._masks[key] = mask
        row = _Row()
        row.setIcon(QIcon(_pixmap(picture)))
        row.setData(Qt.ItemDataRole.UserRole, key)
        row.setData(_LIKENESS, likeness)
        alike = likeness >= ALIKE
        row.setText("" if alike else "differs")
        row.setToolTip(
            f"{key}\n" + ("Looks like what you painted." if alike else "Looks different here; tick it if it fits.")
        )
        row.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
        row.setCheckState(Qt.CheckState.Checked if alike else Qt.CheckState.Unchecked)
        self.grid.addItem(row)

    def _done(self) -> None:
        self.grid.sortItems(Qt.SortOrder.DescendingOrder)
        self._count_ticked()

    def _count_ticked(self, *_: object) -> None:
        if self._session.jobs.running(JOB) or not self._masks:
            return
        ticked = len(self.ticked())
        differ = sum(self.grid.item(n).text() != "" for n in range(self.grid.count()))
        said = f"{ticked} of {self.grid.count()} ticked"
        if differ:
            said += f"; {differ} look different at this place and come last"
        self.say(said + ".")
        self._refresh()

    def _mask_changed(self, key: str) -> None:
        # Painted meanwhile: it keeps its own.
        if key in self._masks and key in self._session.painted() and key not in self._written:
            self._masks.pop(key)
            for n in range(self.grid.count()):
                if self.grid.item(n).data(Qt.ItemDataRole.UserRole) == key:
                    self.grid.takeItem(n)
                    break
            self._count_ticked()

    # Accepting --------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Make the ticked previews masks; an image that has one by now keeps it."""
        masks = {key: self._masks[key] for key in self.ticked() if key in self._masks}
        if not masks or self._donor is None or self._session.jobs.running(JOB):
            return
        project, donor = self._session.project, self._donor
        self.accept_button.setEnabled(False)
        # Known before the session tells that these images are painted.
        self._written = dict(masks)

        def then(keys: list[str]) -> None:
            if self._session.project is not project:
                return
            self.grid.clear()
            self._masks = {}
            self._written = {key: masks[key] for key in keys}
            kept = len(masks) - len(keys)
            left = f"; {kept} had a mask already, which was kept" if kept else ""
            self.say(f"{len(keys)} {'mask' if len(keys) == 1 else 'masks'} written{left}.")
            self._refresh()

        self._session.add_masks(masks, f"same place as in {donor}", then)

    def take_back(self) -> None:
        """Remove the masks just accepted, but for those edited since."""
        session, written, taken = self._session, dict(self._written), set[str]()
        project = session.project
        if project is None or not written or session.jobs.running(JOB):
            return
        session.save()

        def step(key: str) -> None:
            if session.project is project:
                session.put_mask(key, np.zeros(written[key].shape, bool))
                taken.add(key)

        def done(_: object) -> None:
            if session.project is project:
                left = len(written) - len(taken)
                edited = f" {left} that you have changed since {'is' if left == 1 else 'are'} kept." if left else ""
                self._written = {}
                self.say(f"{len(taken)} {'mask' if len(taken) == 1 else 'masks'} taken back.{edited}")
                self._refresh()

        session.jobs.start(
            JOB,
            lambda monitor: unchanged(project.masks, written, monitor),
            on_step=step,
            on_done=done,
            on_failed=lambda sentence: self.say(sentence, True),
            description="Taking masks back",
        )

    def _refresh(self, *_: object) -> None:
        running = self._session.jobs.running(JOB)
        self.preview_button.setEnabled(self._session.project is not None and not running)
        self.bar.setVisible(running)
        self.stop_button.setVisible(running)
        shown = self.grid.count() > 0
        for widget in (self.grid, self.all_button, self.none_button, self.accept_button):
            widget.setVisible(shown)
        ticked = len(self.ticked())
        self.accept_button.setEnabled(bool(ticked) and not running)
        self.accept_button.setText(f"Accept {ticked}" if ticked else "Accept")
        self.back_button.setVisible(bool(self._written) and not shown)


_LIKENESS = Qt.ItemDataRole.UserRole + 1


class _Row(QListWidgetItem):
    """A preview; the likest stands first."""

    def __lt__(self, other: QListWidgetItem) -> bool:
        return bool(self.data(_LIKENESS) < other.data(_LIKENESS))


def _previews(
    dataset: Dataset, donor: int, mask: np.ndarray, wanted: np.ndarray, monitor: Monitor
) -> Generator[tuple[str, np.ndarray, float, np.ndarray], None, None]:
    """Yield key, small picture with the mask on it, likeness and mask."""
    from napari_cam_feedback.explanations.display import thumbnail
    from napari_cam_feedback.feedback.masks.size import resized
    from napari_cam_feedback.feedback.painting.same_place import same_place

    colour = np.array(preferences().mask_rgba[:3], np.float32) * 255
    for found in same_place(dataset, donor, mask, wanted.tolist(), monitor=monitor):
        box = _box(found.mask)
        picture = thumbnail(found.image[box], _SIDE).astype(np.float32)
        small = resized(found.mask[box], (picture.shape[0], picture.shape[1]))
        picture[small] = 0.5 * picture[small] + 0.5 * colour
        yield found.key, picture.astype(np.uint8), found.likeness, found.mask


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the part of an image around a mask: twice as much on each side, so that a small mark is seen."""
    parts = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis))
        first, last = int(places[0]), int(places[-1]) + 1
        around = 2 * (last - first)
        parts.append(slice(max(0, first - around), last + around))
    return parts[0], parts[1]


def _pixmap(picture: np.ndarray) -> QPixmap:
    picture = np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    # A copy, since Qt does not keep the array.
    image = QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    mode = Qt.TransformationMode.FastTransformation
    return QPixmap.fromImage(image).scaled(_SIDE, _SIDE, Qt.AspectRatioMode.KeepAspectRatio, mode)
