"""How much of the old weights to keep: a slider with the models that were measured between the given and the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QHBoxLayout, QSlider, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, plain_label, tight, wrapped_label

if TYPE_CHECKING:
    from napari_cam_feedback.retuning import ValidationMetrics

_TOOLTIP = (
    "Weights between those that the model had and those that it learnt: more of the old forgets less, and leaves more of "
    "the shortcut. Each stop was measured on the validation images"
)


class _Slider(QSlider):
    """A turn of the wheel scrolls the dock instead of taking another model unseen."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class OldShare(QWidget):
    """A slider whose stops are models, with their numbers beneath; hidden where there is no path.

    Attributes
    ----------
    slider : QSlider
        A stop for each model; the first keeps nothing of the old weights.
    numbers : QLabel
        What was measured of the stop.
    chosen : Signal
        The user went to another stop; carries the share of the way from the given weights, 1 for the first stop.
    """

    chosen = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._checks: Sequence[ValidationMetrics] = ()
        title = plain_label("How much of the old to keep")
        self.slider = _Slider(Qt.Orientation.Horizontal)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setTickInterval(1)
        self.slider.setPageStep(1)
        # While it is dragged only the numbers follow.
        self.slider.setTracking(False)
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.slider.setAccessibleName(title.text())
        title.setBuddy(self.slider)
        self.stops = tight(QHBoxLayout())
        self.numbers = wrapped_label()
        layout = tight(QVBoxLayout(self), 2)
        fill(layout, title, self.slider, self.stops, self.numbers)
        self.slider.sliderMoved.connect(self._show_numbers)
        self.slider.valueChanged.connect(self._stop_chosen)
        self.set_path((), 1.0)

    @property
    def iteration(self) -> int | None:
        """The iteration whose weights are at the first stop; None without a path."""
        return self._checks[0].iteration if self._checks else None

    def set_path(self, checks: Sequence[ValidationMetrics], share: float) -> None:
        """Take a run's path.

        Parameters
        ----------
        checks : sequence of ValidationMetrics
            As `RetuneResult.path_checks`; empty where there is none.
        share : float
            The stop to begin at.
        """
        self._checks = checks
        while self.stops.count():
            item: Any = self.stops.takeAt(0)
            item.widget().hide()
            item.widget().deleteLater()
        for number, check in enumerate(checks):
            label = plain_label(_percent(check))
            end = Qt.AlignmentFlag.AlignLeft if number == 0 else Qt.AlignmentFlag.AlignRight
            between = 0 < number < len(checks) - 1
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter if between else end)
            # Twice as wide between the ends, so that each stands under its stop.
            self.stops.addWidget(label, 2 if between else 1)
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, max(len(checks) - 1, 0))
        self.set_usable(True)
        self.set_share(share)
        self.setVisible(bool(checks))

    def set_share(self, share: float) -> None:
        """Go to a stop without taking its model."""
        shares = [check.share for check in self._checks]
        with QSignalBlocker(self.slider):
            self.slider.setValue(shares.index(share) if share in shares else 0)
        self._show_numbers(self.slider.value())

    def set_usable(self, usable: bool) -> None:
        """Let the slider be moved, or say in its tooltip why it cannot."""
        self.slider.setEnabled(usable)
        why = f"Weights in between were measured for iteration {self.iteration} only; take that one to move the slider."
        self.setToolTip(_TOOLTIP if usable else why)
        self.slider.setToolTip(self.toolTip())
        if usable:
            self._show_numbers(self.slider.value())
        else:
            # A slider that is switched off looks nearly as ever.
            self.numbers.setText(why)

    def _show_numbers(self, value: int) -> None:
        if value >= len(self._checks):
            self.numbers.setText("")
            return
        check = self._checks[value]
        self.numbers.setText(
            f"{_percent(check)} of the old: accuracy {check.accuracy:.2f} as it is, {check.conflict_accuracy:.2f} where the "
            f"shortcut conflicts; {100 * check.conflict_flip_rate:.0f} % of the predictions change there."
        )

    def _stop_chosen(self, value: int) -> None:
        self._show_numbers(value)
        if value < len(self._checks):
            self.chosen.emit(self._checks[value].share)


def _percent(check: ValidationMetrics) -> str:
    return f"{100 * (1 - check.share):.0f} %"
