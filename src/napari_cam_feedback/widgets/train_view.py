"""What the *Train* dock is made of, from top to bottom; what its parts do is in `train_widget`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cam_feedback.widgets.error_view import ErrorView
from napari_cam_feedback.widgets.fold import Fold
from napari_cam_feedback.widgets.parts import fill_scrolling, wrapped_label
from napari_cam_feedback.widgets.train_form import TrainForm
from napari_cam_feedback.widgets.train_plot import TrainPlot

if TYPE_CHECKING:
    import napari


class TrainView(QWidget):
    """What to train, start and stop, progress, learning curves, and what to do with the result."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setMinimumWidth(330)
        inside = QWidget()
        self.area = fill_scrolling(self, inside)
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(5)
        self.form = TrainForm()
        self.choice = Fold("What to train", self.form, opened=True)
        layout.addWidget(self.choice)
        buttons = QHBoxLayout()
        self.start_button = QPushButton("Start training")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop now; the best epoch so far is saved")
        buttons.addWidget(self.start_button, 2)
        buttons.addWidget(self.stop_button, 1)
        layout.addLayout(buttons)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        # Not wrapped: a new text of a wrapped label lays out, and paints, the whole dock again.
        self.progress_label = QLabel()
        self.progress_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        layout.addWidget(self.progress)
        layout.addWidget(self.progress_label)
        self.status = wrapped_label()
        layout.addWidget(self.status)
        self.error = ErrorView()
        layout.addWidget(self.error)
        self.plot = TrainPlot(viewer, parent=inside)
        layout.addWidget(self.plot)
        self.result_box = QWidget()
        result = QVBoxLayout(self.result_box)
        result.setContentsMargins(0, 0, 0, 0)
        result.setSpacing(5)
        self.result_label = wrapped_label()
        self.result_label.setTextFormat(Qt.TextFormat.RichText)
        result.addWidget(self.result_label)
        row = QHBoxLayout()
        self.open_button = QPushButton("Open in Session")
        self.open_button.setToolTip("Open the trained model with its images, look at what it uses, and paint")
        self.save_button = QPushButton("Save again")
        self.save_button.setToolTip("Save the trained model under the name that is given above now")
        row.addWidget(self.open_button)
        row.addWidget(self.save_button)
        result.addLayout(row)
        layout.addWidget(self.result_box)
        layout.addStretch(1)
