"""What the ranking of the current image's filters is made of; what its parts do is in `filters.image_filters`."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.filters.table import ORDERS, UNDER_PAINT, FilterTable
from napari_cam_feedback.widgets.parts.basics import OPEN_FIRST, fill, narrow, plain_label, push_button, tight


class ImageFiltersView(QWidget):
    """Order and number of filters, their ranking, and what shows them as layers or over the image."""

    def __init__(self) -> None:
        super().__init__()
        layout = tight(QVBoxLayout(self), margins=6)
        self.hint = plain_label(OPEN_FIRST)
        self.hint.setWordWrap(True)
        layout.addWidget(self.hint)

        form = tight(QFormLayout())
        self.order_box = QComboBox()
        for key, text in ORDERS:
            self.order_box.addItem(text, key)
        self.order_box.setToolTip(
            "Contribution: weight of the filter for the shown class times its mean activation.\n"
            "Under the mask: which filters look at what you painted as irrelevant."
        )
        narrow(self.order_box, 10)
        self.order_box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.count_box = QSpinBox()
        self.count_box.setRange(1, 64)
        self.count_box.setValue(9)
        self.count_box.setToolTip("How many filters are laid out as layers")
        form.addRow("Rank by", self.order_box)
        form.addRow("Top", self.count_box)
        layout.addLayout(form)

        buttons = QHBoxLayout()
        self.show_button = QPushButton("Show as layers")
        self.show_button.setToolTip("Lay the top filters out beside the image, in napari's grid")
        self.back_button = push_button("Back to the image", tooltip="Leave the grid and remove its layers")
        fill(buttons, self.show_button, self.back_button)
        layout.addLayout(buttons)

        self.table = FilterTable()
        self.view = QTableView()
        self.view.setModel(self.table)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.view.verticalHeader().setDefaultSectionSize(20)
        self.view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.view.setColumnHidden(UNDER_PAINT, True)
        self.view.setMinimumHeight(120)
        layout.addWidget(self.view, 1)

        row = QHBoxLayout()
        self.over_check = QCheckBox("Over the image: filter")
        self.over_check.setToolTip("Show one filter over the image; select a row above, or type its number")
        self.number_box = QSpinBox()
        self.number_box.setRange(0, 0)
        fill(row, self.over_check, self.number_box)
        row.addStretch(1)
        layout.addLayout(row)
