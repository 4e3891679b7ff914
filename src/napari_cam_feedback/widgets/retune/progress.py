"""Progress and plot of a retune under way, drawn a few times a second however fast the steps come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QLabel, QProgressBar

from napari_cam_feedback.widgets.parts.basics import time_left
from napari_cam_feedback.widgets.retune.run import replay

if TYPE_CHECKING:
    from napari_cam_feedback.retuning import RetuneConfig, RetuneStep, RunState
    from napari_cam_feedback.widgets.parts.charts import StepPlot

#: How often progress and plot are drawn; with software OpenGL each time costs 40 ms for the whole window.
REDRAW_MS = 250


class RetuneProgress(QObject):
    """Takes the steps of a run and shows them.

    Parameters
    ----------
    bar : QProgressBar
        For the iterations.
    label : QLabel
        For their number and the time that is left.
    plot : StepPlot
        For what each came to.
    parent : QObject
        Its owner.
    """

    def __init__(self, bar: QProgressBar, label: QLabel, plot: StepPlot, parent: QObject) -> None:
        super().__init__(parent)
        self._bar, self._label, self._plot = bar, label, plot
        self._began = self._started = 0.0
        self._first = 0
        self._at_most = self._searching = False
        self._latest: RetuneStep | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self._show)

    def begin(self, config: RetuneConfig, run_state: RunState | None) -> None:
        """Start anew with some settings, or from where a run was stopped."""
        iterations = config.iterations or 0
        self._at_most = config.ends_by_itself
        self._plot.clear(None if self._at_most else iterations or 1)
        if run_state is not None:
            replay(self._plot, run_state)
        self._label.setText("Reading the images…")
        self._bar.setRange(0, iterations)
        self._bar.setValue(0 if run_state is None else run_state.iteration)
        self._began = self._started = 0.0
        self._first, self._latest, self._searching = 0, None, False
        self._timer.start()

    def take(self, step: RetuneStep) -> None:
        """Take one step."""
        self._keep_time(step)
        if step.losses or step.painted_probabilities is not None:
            self._plot.add(step.iteration, step.losses, step.painted_keys, step.painted_probabilities)
        self._latest = step

    def _keep_time(self, step: RetuneStep) -> None:
        """Note since when and from which iteration on a step takes its usual time."""
        now = time.monotonic()
        if not self._began:
            self._began = now
            if not self._at_most:
                self._plot.reach(step.iterations)
        self._searching = self._searching or step.trying is not None
        if self._searching or not self._started:
            self._started, self._first = now, step.iteration
        # The steps of the learning rate that is taken come all at once, the last with a message.
        if step.trying is None and step.message:
            self._searching = False

    def end(self) -> float:
        """Show the last that came, and no more; return the seconds since the first step, 0 where there was none."""
        self._timer.stop()
        self._latest = None
        self._label.setText("")
        self._plot.fit()
        self._plot.redraw()
        seconds = time.monotonic() - self._began if self._began else 0.0
        self._began = self._started = 0.0
        return seconds

    def _show(self) -> None:
        """Draw what has come since the last time; called by a timer, so that no step pays for a drawing."""
        step = self._latest
        if step is None:
            return
        self._latest = None
        # A progress bar paints at once when its value is set; this way it is painted together with the rest.
        self._bar.setUpdatesEnabled(False)
        self._bar.setMaximum(step.iterations)
        self._bar.setValue(step.iteration)
        self._bar.setUpdatesEnabled(True)
        self._label.setText(self._text(step))
        self._plot.redraw()

    def _text(self, step: RetuneStep) -> str:
        """Return where the run stands."""
        if step.trying is not None:
            return f"Trying a learning rate of {step.trying:g}…"
        if step.check is not None and step.check.share != 1:
            return "Looking at weights between the old and the best ones…"
        most = "at most " if self._at_most else ""
        text = f"Iteration {step.iteration} of {most}{step.iterations}"
        if step.iteration > self._first:
            each = (time.monotonic() - self._started) / (step.iteration - self._first)
            # With both "at most" it is wider than the dock.
            gap = "\n" if most else " "
            text += f",{gap}{most}{time_left(each * (step.iterations - step.iteration))}"
        return text
