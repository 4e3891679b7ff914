"""Two pages on what to paint: the images to paint next with their reasons, and the groups of like maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.parts.basics import fill, plain_label, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.parts.thumbnails import Group, ThumbnailPanel
from napari_cam_feedback.widgets.parts.tones import set_tone
from napari_cam_feedback.widgets.suggest.model import SIDE, SUGGEST, SuggestModel
from napari_cam_feedback.widgets.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Tile

_ICON = 56
_INDEX = Qt.ItemDataRole.UserRole
_HINT = "Which images help most when they are painted? One look at all images tells; those for testing are never suggested."
#: With the mean map they fill one row of a narrow dock.
_EXAMPLES = 4


class SuggestList(QWidget):
    """The ranked list: a picture, what speaks for it, and whether it is painted by now."""

    def __init__(self, model: SuggestModel) -> None:
        super().__init__()
        self._model, self._session = model, model.session
        self.hint = wrapped_label(_HINT)
        self.count = QSpinBox()
        self.count.setRange(1, 500)
        self.count.setValue(preferences().suggested_images)
        self.count.setToolTip("How many images to suggest")
        self.button = push_button("Suggest", lambda: model.suggest(self.count.value()))
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop looking; the suggestions are among the images looked at")
        self.stop_button.clicked.connect(lambda: self._session.jobs.stop(SUGGEST))
        self.bar = QProgressBar()
        self.status = wrapped_label()
        self.list = QListWidget()
        self.list.setIconSize(QSize(_ICON, _ICON))
        self.list.setWordWrap(True)
        self.list.setSpacing(3)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setToolTip("A double click shows the image, ready to paint")
        self.list.itemActivated.connect(self._open)
        row = QHBoxLayout()
        row.addWidget(plain_label("Images"))
        row.addWidget(self.count)
        row.addWidget(self.button, 1)
        row.addWidget(self.stop_button)
        column = tight(QVBoxLayout(self), 5, margins=(4, 6, 4, 4))
        fill(column, self.hint, row, self.bar, self.status)
        column.addWidget(self.list, 1)
        machine = self._session.jobs.phase(SUGGEST)
        self.refresh = machine.drive(
            start=[self.button, self.count], stop=[self.stop_button], ready=lambda: self._session.project is not None
        )
        machine.changed.connect(self._phase_changed)
        self._phase_changed(machine.phase)
        model.suggested.connect(self.show_found)
        self._session.opened.connect(self.refresh)
        self._session.mask_changed.connect(self._mask_changed)

    def _phase_changed(self, phase: Any) -> None:
        self.bar.setVisible(phase.busy)
        self.stop_button.setVisible(phase.busy)

    def progressed(self, step: Any) -> None:
        """Move the bar."""
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat(f"{step.text} %p%" if step.text else "%p%")

    def say(self, sentence: str, wrong: bool = False) -> None:
        """Show a sentence below the buttons."""
        self.status.setText(sentence)
        set_tone(self.status, "warning" if wrong else None)

    def show_found(self) -> None:
        """Show what was found, or nothing."""
        self.list.clear()
        found = self._model.found
        if found is None:
            self.say("")
            self.hint.show()
            return
        self.hint.hide()
        painted = self._session.painted()
        for item in found.suggestions.items:
            row = QListWidgetItem(_text(item, item.key in painted))
            row.setData(_INDEX, item.rank - 1)
            if item.index in found.pictures:
                row.setIcon(QIcon(pixmap_of(found.pictures[item.index], _ICON)))
            row.setToolTip("\n".join(f"{name}: adds {value:.2f}" for name, value in item.parts.items()))
            self.list.addItem(row)

    def select(self, row: int) -> None:
        """Mark a row of the list, and bring it into view."""
        self.list.setCurrentRow(row)

    def _open(self, row: QListWidgetItem) -> None:
        found = self._model.found
        if found is not None:
            self._session.go_to(found.suggestions.items[row.data(_INDEX)].index)
            self._session.paint()

    def _mask_changed(self, key: str) -> None:
        found = self._model.found
        if found is None:
            return
        for item in found.suggestions.items:
            row = self.list.item(item.rank - 1)
            if item.key == key and row is not None:
                row.setText(_text(item, key in self._session.painted()))


class GroupsPage(QWidget):
    """The groups of like maps: their mean map and the images most typical of them; a click opens an image."""

    def __init__(self, model: SuggestModel, viewer: Any) -> None:
        super().__init__()
        self._model = model
        self.hint = wrapped_label()
        self.panel = _GroupPanel(viewer)
        self.panel.clicked.connect(model.session.go_to)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(self.panel)
        column = tight(QVBoxLayout(self), margins=(4, 6, 4, 4))
        column.addWidget(self.hint)
        column.addWidget(area, 1)
        model.suggested.connect(self.show_found)
        model.session.item_changed.connect(lambda: self.panel.set_current(model.session.index))
        self.show_found()

    def show_found(self) -> None:
        """Show the groups, or how to get them."""
        found = self._model.found
        if found is None:
            self.hint.setText(
                "Press Suggest on the first page; then the images of each class are grouped by where the model looks."
            )
            self.panel.show_groups([])
            return
        names = found.suggestions.class_names
        self.hint.setText(
            "Each row: the mean heatmap of a group, and images most typical of it. A small bright spot that always lies in "
            "the same place is what a shortcut looks like."
        )
        self.panel.class_names = names
        groups = []
        for cluster, picture in zip(found.suggestions.clusters, found.maps, strict=True):
            tiles = [_tile(int(cluster.indices[0]), picture, 0, cluster.predicted)]
            examples = [int(index) for index in cluster.examples if int(index) in found.pictures][:_EXAMPLES]
            tiles += [_tile(index, found.pictures[index], n, cluster.predicted) for n, index in enumerate(examples, 1)]
            wrong = f", {cluster.wrong} wrong" if cluster.wrong else ""
            title = f"predicted {names[cluster.predicted]}: {cluster.size} of {cluster.of} images{wrong}"
            groups.append(Group(title, tiles))
        self.panel.show_groups(groups)


class _GroupPanel(ThumbnailPanel):
    def describe(self, tile: Tile) -> str:
        """Return what a small image is."""
        return "The mean heatmap of the group" if tile.place == 0 else "One of the images most typical of the group"


def _tile(index: int, picture: np.ndarray, place: int, predicted: int) -> Tile:
    from napari_cam_feedback.explanations import Tile

    # The mean map belongs to no image; a click on it opens the most typical one.
    return Tile(0, place, index, "", None, predicted, 0.0, picture, np.ones(picture.shape[:2], bool))


def pixmap_of(picture: np.ndarray, side: int = SIDE) -> QPixmap:
    """Return (h, w, 3) uint8 as a pixmap whose longer side has `side` pixels."""
    picture = np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    image = QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    return QPixmap.fromImage(image).scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio)


def _text(item: Any, painted: bool) -> str:
    return f"{item.rank}. {item.key}{'  ✓ painted' if painted else ''}\n{item.reason}"
