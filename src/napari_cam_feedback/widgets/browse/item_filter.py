"""The row above the table of items: which of them are shown."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLineEdit, QWidget

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.widgets.parts.basics import narrow, plain_label, single_shot, tight


class ItemFilter(QWidget):
    """Words, a split, and two ticks; and how many items pass.

    Signals
    -------
    changed
        The items that are to be shown are others.
    split_changed
        The split is another; `changed` comes too, before.
    """

    changed = Signal()
    split_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        grid = tight(QGridLayout(self), 4)
        self.text = QLineEdit()
        self.text.setPlaceholderText("Filter by name or class")
        self.text.setClearButtonEnabled(True)
        self.split_box = QComboBox()
        self.split_box.setToolTip("Show one split only")
        narrow(self.split_box, 10)
        self.wrong = QCheckBox("wrong only")
        self.wrong.setToolTip("Show only items that the model gets wrong, as far as they have been predicted")
        self.painted = QCheckBox("painted only")
        self.painted.setToolTip("Show only items with a mask")
        self.count = plain_label()
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(self.text, 0, 0, 1, 2)
        grid.addWidget(self.split_box, 0, 2)
        grid.addWidget(self.wrong, 1, 0)
        grid.addWidget(self.painted, 1, 1)
        grid.addWidget(self.count, 1, 2)
        # While somebody types, a large table is not filtered for every letter.
        self._typed = single_shot(self, 150, self.apply)
        self.text.textChanged.connect(lambda: self._typed.start())
        self.split_box.currentIndexChanged.connect(self._split_chosen)
        self.wrong.toggled.connect(lambda _: self.apply())
        self.painted.toggled.connect(lambda _: self.apply())

    @property
    def split(self) -> str | None:
        """The split that is shown, None for all."""
        return self.split_box.currentData()

    def set_dataset(self, dataset: Dataset | None) -> None:
        """Offer the splits of a dataset, and let everything pass; emits nothing."""
        with QSignalBlocker(self.split_box):
            self.split_box.clear()
            if dataset is not None:
                for name in dataset.split_names:
                    self.split_box.addItem(f"{name} ({len(dataset.indices(name))})", name)
                self.split_box.addItem(f"all ({len(dataset)})", None)
        with QSignalBlocker(self.text):
            self.text.clear()
        for box in (self.wrong, self.painted):
            with QSignalBlocker(box):
                box.setChecked(False)

    def set_split(self, split: str | None) -> None:
        """Choose a split; emits nothing."""
        with QSignalBlocker(self.split_box):
            self.split_box.setCurrentIndex(max(0, self.split_box.findData(split)))

    def apply(self) -> None:
        """Have what is chosen take effect now."""
        self._typed.stop()
        self.changed.emit()

    def _split_chosen(self) -> None:
        self.apply()
        self.split_changed.emit()
