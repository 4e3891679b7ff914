"""The panel “Merge masks” of the page *Open*: whose masks, where the two differ, and which to take."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from napari_cam_feedback.errors import describe
from napari_cam_feedback.widgets.open.merge_model import JOB, JOINED, MergeModel, side_text
from napari_cam_feedback.widgets.parts.basics import (
    bring_into_view,
    fill,
    narrow,
    plain,
    plain_label,
    push_button,
    wrapped_label,
)
from napari_cam_feedback.widgets.parts.path_field import PathField
from napari_cam_feedback.widgets.session.session import Session
from napari_cam_feedback.widgets.tasks.workers import Progress

CHOICES = (
    ("", "decide …"),
    ("mine", "mine"),
    ("theirs", "theirs"),
    ("union", "both together"),
    ("intersection", "what both have"),
    ("newest", "the newer one"),
)
_TITLES = dict(CHOICES)
#: In the list, whose names of images need the room.
_SHORT = {**_TITLES, "union": "both", "intersection": "shared", "newest": "newer"}
_FILES = "Masks (*.npz *.json *.pkl *.pickle *.p);;All files (*)"
_NONE = "No masks were found there that fit the project's images; choose another folder or file."
_KEY = Qt.ItemDataRole.UserRole
_ROWS = 8


class MaskMerging(QGroupBox):
    """Compares the project's masks with somebody else's, shows both where they differ, and brings theirs in.

    Parameters
    ----------
    session : Session
        Whose project is mine.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Merge masks")
        self._session = session
        self.model = MergeModel(session)
        column = QVBoxLayout(self)
        column.setSpacing(4)
        column.addWidget(
            wrapped_label(
                "Somebody else's masks of the same images: a project, a folder of masks, or a file (.npz, COCO's .json, a "
                "pickled dictionary).",
                "quiet",
            )
        )
        self.path = PathField(folder=True, files=_FILES, hint="their masks")
        column.addWidget(self.path)
        self.resize_box = QCheckBox("Resize masks of another size")
        self.resize_box.setToolTip("Bring a mask of another size to its image's; else it is left out")
        column.addWidget(self.resize_box)
        self.compare_button = push_button("Compare", self.compare)
        self.stop_button = push_button("Stop", self.model.stop)
        self.close_button = push_button("Close", self.close_panel)
        column.addLayout(_row(self.compare_button, self.stop_button, self.close_button))
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        column.addWidget(self.bar)
        self.said = wrapped_label()
        self.error = wrapped_label(tone="warning")
        self.conflicts = self._build_conflicts()
        self.sides = wrapped_label()
        fill(column, self.said, self.error, self.conflicts, self.sides)
        self.take = QComboBox()
        self.take_label = plain_label("Take")
        for name, title in CHOICES:
            self.take.addItem(title, name)
        narrow(self.take, 12)
        self.take.activated.connect(self._chosen)
        self.all_button = push_button("For all", self._chosen_for_all, "Take the same of every image in the list")
        row = QHBoxLayout()
        row.addWidget(self.take_label)
        row.addWidget(self.take, 1)
        row.addWidget(self.all_button)
        column.addLayout(row)
        self.merge_button = QPushButton("Merge")
        self.merge_button.setToolTip(
            "Bring their masks into this project; masks that they replace are kept in its folder “masks-replaced”"
        )
        self.merge_button.clicked.connect(self.model.merge)
        column.addWidget(self.merge_button)
        model = self.model
        model.compared.connect(self._show)
        model.progressed.connect(self._progress)
        model.merged.connect(self._merged)
        model.failed.connect(self._failed)
        session.jobs.changed.connect(lambda name: self._refresh() if name == JOB else None)
        session.opened.connect(self._refresh)
        self._show()

    def _build_conflicts(self) -> QTreeWidget:
        tree = QTreeWidget()
        tree.setHeaderLabels(["Image", "Overlap", "Take"])
        tree.setRootIsDecorated(False)
        tree.setUniformRowHeights(True)
        tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        # The file's name tells images apart, and the folder above all which class.
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        tree.headerItem().setToolTip(1, "Pixels painted by both over pixels painted by either (IoU)")
        header = tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for number in (1, 2):
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.ResizeToContents)
        tree.itemSelectionChanged.connect(self._selected)
        return tree

    # The user acts --------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare with what is chosen."""
        path = self.path.path
        self._say("")
        if path is None:
            self._failed("Choose their masks first: a project, a folder of masks, or a file.")
            return
        self.model.compare(path, resize=self.resize_box.isChecked())

    def close_panel(self) -> None:
        """Put everything away; nothing is merged."""
        self.model.stop()
        self.model.end()
        self._say("")
        self.hide()

    def _chosen(self, row: int) -> None:
        key, choice = self.selected, self.take.itemData(row)
        if key is not None and choice:
            self.model.choose(key, choice)
            self._show_choices()

    def _chosen_for_all(self) -> None:
        if self.take.currentData():
            self.model.choose_all(self.take.currentData())
            self._show_choices()

    @property
    def selected(self) -> str | None:
        """The key that is selected among the conflicts."""
        item = self.conflicts.currentItem()
        return None if item is None else item.data(0, _KEY)

    def select(self, key: str) -> None:
        """Select one of the conflicts, as a click does."""
        for item in self._items():
            if item.data(0, _KEY) == key:
                self.conflicts.setCurrentItem(item)

    def _items(self) -> list[QTreeWidgetItem]:
        return self.conflicts.findItems("*", Qt.MatchFlag.MatchWildcard, 0)

    def _selected(self) -> None:
        now, key = self.model.now, self.selected
        conflict = None if now is None or key is None else now.found.conflicts.get(key)
        if now is None or conflict is None:
            self.sides.setText("")
            return
        self.sides.setText("\n".join(side_text(name, conflict) for name in ("mine", "theirs")))
        with QSignalBlocker(self.take):
            self._offer(JOINED, conflict.iou is not None)
            self.take.setCurrentIndex(self.take.findData(now.choices.get(conflict.key, "")))
        self.model.look(conflict.key)

    def _offer(self, choices: tuple[str, ...], can: bool) -> None:
        """Let these be chosen, or not."""
        model = self.take.model()
        for choice in choices:
            item = model.item(self.take.findData(choice)) if isinstance(model, QStandardItemModel) else None
            if item is not None:
                item.setEnabled(can)

    # What is shown --------------------------------------------------------------------------------

    def _show(self) -> None:
        """Show what was compared."""
        now = self.model.now
        with QSignalBlocker(self.conflicts):
            self.conflicts.clear()
            for conflict in sorted(now.found.conflicts.values(), key=_worst_first) if now is not None else ():
                item = QTreeWidgetItem([conflict.key, "–" if conflict.iou is None else f"{conflict.iou:.2f}", ""])
                item.setData(0, _KEY, conflict.key)
                item.setToolTip(0, plain(conflict.key))
                if conflict.iou is None:
                    item.setToolTip(1, "The two masks are of different sizes, so that they cannot be joined")
                self.conflicts.addTopLevelItem(item)
        count = self.conflicts.topLevelItemCount()
        height = max(self.conflicts.sizeHintForRow(0), 18)
        self.conflicts.setFixedHeight(self.conflicts.header().sizeHint().height() + min(max(count, 1), _ROWS) * height + 6)
        for widget in (self.conflicts, self.sides, self.take, self.take_label, self.all_button):
            widget.setVisible(count > 0)
        self.merge_button.setVisible(now is not None)
        self.sides.setText("Click an image to see both masks over it: mine in magenta, theirs in yellow." if count else "")
        self._offer(JOINED, True)
        self.take.setCurrentIndex(0)
        if now is not None:
            found = now.found
            parts = [
                f"only mine {len(found.only_mine)}",
                f"only theirs {len(found.only_theirs)}",
                f"the same {len(found.equal)}",
                f"different {count}",
            ]
            unreadable = [f"Left out: {key}: {sentence}" for key, sentence in list(found.unreadable.items())[:3]]
            first = f"Images with a mask: {', '.join(parts)}." if len(now.theirs) else _NONE
            self._say("\n".join([first, *now.remarks, *unreadable]))
            # They may lie below the dock's end.
            bring_into_view(self.conflicts, self.said, self.merge_button)
        self._show_choices()

    def _show_choices(self) -> None:
        now = self.model.now
        for item in self._items():
            if now is not None:
                choice = now.choices.get(item.data(0, _KEY), "")
                item.setText(2, _SHORT[choice])
                item.setToolTip(2, _TITLES[choice])
        self._refresh()

    def _refresh(self) -> None:
        busy = self._session.jobs.running(JOB)
        now = self.model.now
        self.compare_button.setEnabled(not busy and self._session.project is not None)
        self.stop_button.setVisible(busy)
        self.bar.setVisible(busy)
        if not busy:
            self.bar.setRange(0, 0)
        left = len(now.open_conflicts) if now is not None else 0
        self.merge_button.setEnabled(now is not None and now.brings and not busy)
        self.merge_button.setText(
            "Merge" if not left else f"Merge, {left} undecided {'stays' if left == 1 else 'stay'} mine"
        )

    def _progress(self, step: Progress) -> None:
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)

    def _merged(self, sentence: str) -> None:
        self._say(sentence)
        self._refresh()

    def _failed(self, error: BaseException | str) -> None:
        self.error.setText(error if isinstance(error, str) else describe(error))
        self.error.show()
        self._refresh()

    def _say(self, text: str) -> None:
        self.said.setText(text)
        self.said.setVisible(bool(text))
        self.error.hide()


def _row(*buttons: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    for button in buttons:
        row.addWidget(button)
    return row


def _worst_first(conflict: Any) -> tuple[bool, float, str]:
    return conflict.iou is not None, conflict.iou or 0.0, conflict.key
