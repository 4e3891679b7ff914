"""Masks from a filter: ordinary masks of where it is active, put into the project like painted ones."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.monitor import Monitor
from napari_cam_feedback.widgets.parts.basics import fill, narrow, plain_label, push_button, tight, wrapped_label
from napari_cam_feedback.widgets.session.taking_back import PackedMasks, unchanged

if TYPE_CHECKING:
    from napari_cam_feedback.feedback import FilterMask
    from napari_cam_feedback.widgets.filters.model import FilterModel, SurveyResult

JOB = "filter masks"
THIS, SHOWN, LISTED = "this", "shown", "listed"


class FilterMasking(QWidget):
    """The row that makes masks from the chosen filter, and takes them back.

    Parameters
    ----------
    model : FilterModel
        Whose filter.
    shown : callable
        Returns the items whose small images are shown.
    """

    def __init__(self, model: FilterModel, shown: Callable[[], list[int]]) -> None:
        super().__init__()
        self._model, self._session, self._shown = model, model.session, shown
        # Keys of the masks made last, with their pixels packed, so that none that was edited since is taken back.
        self._made = PackedMasks()
        self._counts = {"saved": 0, "kept": 0, "empty": 0}
        self._closed = False
        self.scope = QComboBox()
        for text, value in (("this image", THIS), ("images above", SHOWN), ("the list of Look", LISTED)):
            self.scope.addItem(text, value)
        self.scope.setToolTip(
            "Which images get a mask: the current one, those whose small images are shown above, or those listed at Look.\n"
            "An image that has a mask already keeps it."
        )
        narrow(self.scope, 9)
        self.percentile = QDoubleSpinBox()
        self.percentile.setRange(0, 99.9)
        self.percentile.setDecimals(0)
        self.percentile.setValue(70)
        self.percentile.setSuffix(" %")
        self.percentile.setToolTip("Masked is where the filter's map is above this percentile of the image")
        self.button = QPushButton("Paint from this filter")
        self.button.setToolTip(
            "Mask where the filter is active, as if you had painted it; then edit the masks in the layer “irrelevant”"
        )
        self.button.clicked.connect(self.paint)
        self.stop_button = push_button("Stop", lambda: self._session.jobs.stop(JOB))
        self.stop_button.hide()
        self.back_button = QPushButton("Take back")
        self.back_button.setToolTip("Remove the masks just made, but for those that you have edited since")
        self.back_button.clicked.connect(self.take_back)
        self.back_button.hide()
        self.said = wrapped_label()
        self.said.hide()
        settings = QHBoxLayout()
        settings.addWidget(plain_label("Above"))
        settings.addWidget(self.percentile)
        settings.addWidget(plain_label("in"))
        settings.addWidget(self.scope, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.button, 1)
        fill(buttons, self.stop_button, self.back_button)
        column = tight(QVBoxLayout(self), 3)
        fill(column, settings, buttons, self.said)
        machine = self._session.jobs.phase(JOB)
        self.refresh = machine.drive(start=[self.button, self.back_button], stop=[self.stop_button], ready=self._ready)
        machine.changed.connect(lambda phase: self.stop_button.setVisible(phase.busy))
        model.looked.connect(self._forget)
        self._session.opened.connect(self._forget)
        self._session.closing.connect(self._close)

    def _ready(self) -> bool:
        return self._model.found is not None and self._model.number is not None

    def _close(self) -> None:
        self._closed = True

    def _forget(self) -> None:
        self._made.clear()
        self.back_button.hide()
        self.said.hide()
        self.refresh()

    def _say(self, text: str) -> None:
        self.said.setText(text)
        self.said.show()

    def _items(self) -> list[int]:
        scope = self.scope.currentData()
        if scope == SHOWN:
            return list(dict.fromkeys(self._shown()))
        if scope == LISTED:
            return [int(index) for index in self._session.order]
        return [] if self._session.index is None else [self._session.index]

    # Making ----------------------------------------------------------------------------------------

    def paint(self) -> None:
        """Make masks of the chosen filter for the chosen images that have none."""
        look, number, session = self._model.found, self._model.number, self._session
        if look is None or number is None or session.jobs.running(JOB):
            return
        from napari_cam_feedback.feedback.proposals.from_filter import author_of

        project, dataset, author = session.project, look.dataset, author_of(number)
        items, painted = self._items(), session.painted()
        wanted = [index for index in items if dataset.keys[index] not in painted]
        self._counts = {"saved": 0, "kept": len(items) - len(wanted), "empty": 0}
        self._made = PackedMasks()
        self.back_button.hide()
        if not wanted:
            self._say("There is a mask already on each of these images, which is kept." if items else "No image is chosen.")
            return
        percentile = self.percentile.value()

        def step(found: FilterMask) -> None:
            if session.project is not project:
                session.jobs.stop(JOB)
            elif found.key in session.painted():
                self._counts["kept"] += 1  # painted meanwhile
            elif not found.mask.any():
                self._counts["empty"] += 1
            else:
                session.put_mask(found.key, found.mask, author)
                self._made[found.key] = found.mask
                self._counts["saved"] += 1

        def done(unread: int) -> None:
            if self._closed or session.project is not project:
                return
            self._say(self._sentence(unread))
            self.back_button.setVisible(bool(self._made))
            if len(self._made) == 1 and session.key in self._made:
                session.paint()

        session.jobs.start(
            JOB,
            lambda monitor: _masks(look, wanted, number, percentile, monitor),
            on_step=step,
            on_done=done,
            on_failed=self._say,
            description="Making masks from the filter",
        )

    def _sentence(self, unread: int) -> str:
        saved, kept, empty = self._counts["saved"], self._counts["kept"], self._counts["empty"]
        made = "1 mask made; edit it" if saved == 1 else f"{saved} masks made; edit them"
        parts = [f"{made} in the layer “irrelevant”" if saved else "No mask made"]
        if kept:
            parts.append(f"{kept} kept the mask they had")
        if empty:
            parts.append(f"in {empty} the filter stands out nowhere")
        if unread:
            parts.append(f"{unread} could not be read")
        return "; ".join(parts) + "."

    # Taking back -----------------------------------------------------------------------------------

    def take_back(self) -> None:
        """Remove the masks just made, but for those edited since."""
        session, project, made = self._session, self._session.project, PackedMasks(self._made)
        if project is None or not made or session.jobs.running(JOB):
            return
        session.save()

        def step(key: str) -> None:
            if session.project is project:
                session.put_mask(key, np.zeros(made[key].shape, bool))
                self._made.pop(key, None)

        def done(_: object) -> None:
            if self._closed or session.project is not project:
                return
            left = len(self._made)
            edited = f" {left} that you have edited since {'is' if left == 1 else 'are'} kept." if left else ""
            self._say(f"{len(made) - left} {'mask' if len(made) - left == 1 else 'masks'} taken back.{edited}")
            self._made = PackedMasks()
            self.back_button.hide()

        session.jobs.start(
            JOB,
            lambda monitor: unchanged(project.masks, made, monitor),
            on_step=step,
            on_done=done,
            on_failed=self._say,
            description="Taking masks back",
        )


def _masks(
    look: SurveyResult, items: list[int], number: int, percentile: float, monitor: Monitor
) -> Generator[FilterMask, None, int]:
    """Yield the masks; return how many of the images could not be read."""
    from napari_cam_feedback.feedback import filter_masks

    inputs = look.inputs
    yield from filter_masks(
        look.classifier, look.dataset, items, number, percentile=percentile, inputs=inputs, monitor=monitor
    )
    return sum(look.dataset.keys[index] in inputs.skipped for index in items)
