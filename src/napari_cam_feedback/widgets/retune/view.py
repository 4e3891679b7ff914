"""What the page *Retune* and its result are made of, from top to bottom; what its parts do is in `retune.dock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import (
    ChoiceBox,
    fill,
    form_layout,
    narrow,
    push_button,
    rich_label,
    tight,
    wrapped_label,
)
from napari_cam_feedback.widgets.parts.charts import StepPlot
from napari_cam_feedback.widgets.parts.comparison_table import ComparisonTable
from napari_cam_feedback.widgets.parts.fold import Fold
from napari_cam_feedback.widgets.parts.run_view import RunView
from napari_cam_feedback.widgets.retune.log import RunLog
from napari_cam_feedback.widgets.retune.old_share import OldShare
from napari_cam_feedback.widgets.retune.settings import RetuneSettings
from napari_cam_feedback.widgets.retune.take_out import TakeOut

if TYPE_CHECKING:
    import napari


class RetuneView(RunView):
    """Hint, what to take out, settings, start and stop, progress, plot, and the result with its decision."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__("Start retune", "Stop now; the best model so far can still be kept")
        self.hint = wrapped_label()
        self.choice = RetuneSettings()
        self.settings = Fold("Method and settings", self.choice, opened=True)
        self.version_label = wrapped_label()
        self.painted_label = wrapped_label()
        self.more_label = wrapped_label()
        self.take_out = TakeOut()
        fill(self.column, self.hint, self.take_out, self.settings, self.version_label, self.painted_label, self.more_label)
        self.add_controls()
        self.log = RunLog()
        self.column.addWidget(self.log)
        self.plot = StepPlot(viewer, parent=self.inside)
        self.column.addWidget(self.plot)

        result = self.add_result()
        # What decides comes first; what is seldom needed is folded.
        self.verdict_label = rich_label()
        result.addWidget(self.verdict_label)
        result.addLayout(self._build_decision())
        self.side_button = QPushButton("Before and after, side by side")
        self.side_button.setCheckable(True)
        self.side_button.setToolTip("Show the current image with its heatmap before and after, and their difference")
        result.addWidget(self.side_button)
        self.pair_label = wrapped_label()
        result.addWidget(self.pair_label)
        self.numbers = rich_label()
        result.addWidget(self.numbers)
        self.reason_label = wrapped_label()
        result.addWidget(Fold("Why this verdict", self.reason_label))
        self.others_fold = Fold("Other models of this run", self._build_others())
        result.addWidget(self.others_fold)
        table = QWidget()
        column = tight(QVBoxLayout(table))
        self.table_label = wrapped_label()
        column.addWidget(self.table_label)
        self.table = ComparisonTable()
        column.addWidget(self.table)
        self.table_fold = Fold("All numbers", table)
        result.addWidget(self.table_fold)

    def _build_decision(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.keep_button = push_button("Keep", tooltip="Save it as a new version of the model and go on with that one")
        self.discard_button = QPushButton("Discard")
        self.discard_button.setToolTip("Go on with the model as it was; only the record of the run is saved")
        self.continue_button = QPushButton("Continue")
        self.continue_button.setToolTip("Go on from where it was stopped, with the settings and masks that it had")
        fill(row, self.keep_button, self.continue_button, self.discard_button)
        return row

    def _build_others(self) -> QWidget:
        """Return what takes another model of the run in place of the best one."""
        content = QWidget()
        column = tight(QVBoxLayout(content))
        self.checkpoint_row = QWidget()
        row = tight(form_layout(self.checkpoint_row))
        self.checkpoint_box = ChoiceBox()
        narrow(self.checkpoint_box)
        self.checkpoint_box.setToolTip(
            "Models seen on the way, of which none is worse in everything than another. On the validation images: accuracy; "
            "accuracy where the shortcut conflicts (another class's marker pasted in, or what lies over whole images "
            "taken off or put on); share of predictions that it changes"
        )
        row.addRow("Take", self.checkpoint_box)
        column.addWidget(self.checkpoint_row)
        self.old_share = OldShare()
        column.addWidget(self.old_share)
        return content
