"""The live learning curves of a training: loss and accuracy of training and validation over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_cam_feedback.widgets.parts.charts import Chart, Line, Mark, side_by_side
from napari_cam_feedback.widgets.parts.plot import COLOURS

if TYPE_CHECKING:
    import napari

    from napari_cam_feedback.training import TrainStep

TRAIN, VALIDATION = "train", "validation"
#: Where the second phase of a training from a model begins, and the epoch that is kept.
TUNED, BEST = "all layers learn", "best"


class TrainPlot(QWidget):
    """Two small charts side by side."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.losses = Chart(napari_viewer, "Loss (cross-entropy)", x_name="epoch")
        self.accuracies = Chart(napari_viewer, "Accuracy", limits=(0.0, 1.0), x_name="epoch")
        self.charts = (self.losses, self.accuracies)
        side_by_side(self, *self.charts)
        self._phase = ""

    @property
    def empty(self) -> bool:
        """Whether nothing was drawn yet."""
        return not self.losses.lines

    def clear(self) -> None:
        """Forget the last training."""
        for chart in self.charts:
            chart.clear()
            chart.redraw()
        self._phase = ""

    def add(self, step: TrainStep) -> None:
        """Take an epoch's measures."""
        for chart, train, validation in (
            (self.losses, step.loss, step.val_loss),
            (self.accuracies, step.train_accuracy, step.val_accuracy),
        ):
            chart.last_x = float(step.epochs)
            for name, colour, value in ((TRAIN, COLOURS[0], train), (VALIDATION, COLOURS[1], validation)):
                if value is not None:
                    chart.lines.setdefault(name, Line(colour=colour)).points.append((step.epoch, value))
            # One legend is enough for two charts, and the losses' has no room.
            named = chart is self.accuracies
            if self._phase and step.phase != self._phase:
                chart.marks[TUNED] = Mark(step.epoch - 0.5, dashed=True, named=named)
            if step.best:
                chart.marks[BEST] = Mark(step.epoch, COLOURS[2], named=named)
            chart.redraw()
        self._phase = step.phase

    def fit(self) -> None:
        """Let the axes end where the training did, which may be long before its last epoch."""
        for chart in self.charts:
            epochs = [x for line in chart.lines.values() for x, _ in line.points]
            chart.last_x = float(max(epochs, default=1))
            chart.redraw()
