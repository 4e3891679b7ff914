"""What the *Retune* dock is made of, from top to bottom; what its parts do is in `retune_widget`."""

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

from napari_cam_feedback.widgets.comparison import ComparisonTable
from napari_cam_feedback.widgets.config_form import ChoiceBox
from napari_cam_feedback.widgets.fold import Fold
from napari_cam_feedback.widgets.parts import fill_scrolling, form_layout, narrow, wrapped_label
from napari_cam_feedback.widgets.plots import StepPlot
from napari_cam_feedback.widgets.retune_settings import RetuneSettings

if TYPE_CHECKING:
    import napari


class RetuneView(QWidget):
    """Hint, settings, what is painted, start and stop, progress, plot, and the result with its decision."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        # As the other docks have it; the settings need no more.
        self.setMinimumWidth(330)
        inside = QWidget()
        fill_scrolling(self, inside)
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(5)

        self.hint = wrapped_label()
        layout.addWidget(self.hint)

        self.choice = RetuneSettings()
        self.settings = Fold("Method and settings", self.choice, opened=True)
        layout.addWidget(self.settings)

        self.painted_label = wrapped_label()
        layout.addWidget(self.painted_label)

        buttons = QHBoxLayout()
        self.start_button = QPushButton("Start retune")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop now; the best model so far can still be kept")
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

        self.plot = StepPlot(viewer, parent=inside)
        layout.addWidget(self.plot)

        self.result_box = QWidget()
        result = QVBoxLayout(self.result_box)
        result.setContentsMargins(0, 0, 0, 0)
        result.setSpacing(5)
        self.verdict_label = wrapped_label()
        self.verdict_label.setTextFormat(Qt.TextFormat.RichText)
        result.addWidget(self.verdict_label)
        self.checkpoint_row = QWidget()
        row = form_layout(self.checkpoint_row)
        row.setContentsMargins(0, 0, 0, 0)
        self.checkpoint_box = ChoiceBox()
        narrow(self.checkpoint_box)
        self.checkpoint_box.setToolTip(
            "Models seen on the way, of which none is worse in everything than another. On the validation images: accuracy; "
            "accuracy where painted patches of other images lie; share of predictions that these change"
        )
        row.addRow("Take", self.checkpoint_box)
        result.addWidget(self.checkpoint_row)
        decide = QHBoxLayout()
        self.keep_button = QPushButton("Keep")
        self.keep_button.setToolTip("Save it as a new version of the model and go on with that one")
        self.discard_button = QPushButton("Discard")
        self.discard_button.setToolTip("Go on with the model as it was; only the record of the run is saved")
        self.continue_button = QPushButton("Continue")
        self.continue_button.setToolTip("Go on from where it was stopped, with the settings and masks that it had")
        for button in (self.keep_button, self.continue_button, self.discard_button):
            decide.addWidget(button)
        result.addLayout(decide)
        self.side_button = QPushButton("CAM before and after, side by side")
        self.side_button.setCheckable(True)
        self.side_button.setToolTip("Show the current image's CAMs before, after, and their difference in napari's grid")
        result.addWidget(self.side_button)
        self.pair_label = wrapped_label()
        result.addWidget(self.pair_label)
        self.table_label = wrapped_label()
        result.addWidget(self.table_label)
        self.table = ComparisonTable()
        result.addWidget(self.table)
        layout.addWidget(self.result_box)
        layout.addStretch(1)
