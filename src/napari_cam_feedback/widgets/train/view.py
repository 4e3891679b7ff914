"""What the *Train* dock is made of, from top to bottom; what its parts do is in `train_widget`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton

from napari_cam_feedback.widgets.parts.basics import fill, push_button, rich_label
from napari_cam_feedback.widgets.parts.error_view import ErrorView
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.run_view import RunView
from napari_cam_feedback.widgets.train.form import TrainForm
from napari_cam_feedback.widgets.train.plot import TrainPlot

if TYPE_CHECKING:
    import napari


class TrainView(RunView):
    """What to train, start and stop, progress, learning curves, and what to do with the result."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__("Start training", "Stop now; the best epoch so far is saved")
        self.form = TrainForm()
        self.choice = Fold("What to train", self.form, opened=True)
        self.column.addWidget(self.choice)
        self.add_controls()
        self.error = ErrorView()
        self.plot = TrainPlot(viewer, parent=self.inside)
        fill(self.column, self.error, self.plot)
        result = self.add_result()
        self.result_label = rich_label()
        result.addWidget(self.result_label)
        row = QHBoxLayout()
        self.open_button = QPushButton("Open in Session")
        self.open_button.setToolTip("Open the trained model with its images, look at what it uses, and paint")
        self.save_button = push_button("Save again", tooltip="Save the trained model under the name that is given above now")
        fill(row, self.open_button, self.save_button)
        result.addLayout(row)
