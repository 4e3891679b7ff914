"""The line below a result that says what the new model leans on besides what was painted, and shows what to paint next."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_cam_feedback.errors import name_settings
from napari_cam_feedback.widgets.parts.basics import rich_label, tight
from napari_cam_feedback.widgets.retune.take_out import FOLDER_NAMES

if TYPE_CHECKING:
    from napari_cam_feedback.auditing import NextShortcut
    from napari_cam_feedback.monitor import Monitor
    from napari_cam_feedback.retuning import RetuneResult
    from napari_cam_feedback.widgets.retune.run import UndecidedRun
    from napari_cam_feedback.widgets.session.session import Session

JOB = "next shortcut"


class NextShortcutLine(QWidget):
    """Looks for the next shortcut in a worker; shown only where there is one, or could not be looked for.

    Signals
    -------
    paint_wanted : list of int
        Items to paint next, the button was pressed.
    """

    paint_wanted = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._items: list[int] = []
        column = tight(QVBoxLayout(self), 3)
        self.sentence = rich_label()
        column.addWidget(self.sentence)
        self.button = QPushButton("Show the images to paint next")
        self.button.setToolTip("Show the first of them; next and previous go on among them")
        self.button.clicked.connect(lambda: self.paint_wanted.emit(self._items))
        column.addWidget(self.button)
        self.clear()

    def clear(self) -> None:
        """Look no further, and say nothing."""
        self._session.jobs.stop(JOB)
        self._items = []
        self.hide()

    def look(self, run: UndecidedRun, result: RetuneResult) -> None:
        """Look for what the model of a result leans on besides."""
        from napari_cam_feedback.auditing import next_shortcuts

        dataset = run.project.dataset

        def work(monitor: Monitor) -> tuple[NextShortcut, ...]:
            return next_shortcuts(result.classifier, dataset, result.masks, seed=result.config.seed, monitor=monitor)

        def done(found: tuple[NextShortcut, ...]) -> None:
            if run.result is result and found:
                self._show(found, [dataset.index_of(key) for key in found[0].keys])

        def failed(sentence: str) -> None:
            self._show_text(f"The next shortcut could not be looked for: {escape(sentence)}")

        self._session.jobs.start(
            JOB, work, on_done=done, on_failed=failed, description="Looking for the next shortcut", replace=True
        )

    def _show(self, found: tuple[NextShortcut, ...], items: list[int]) -> None:
        self._items = items
        said = [name_settings(each.sentence, each.fields, FOLDER_NAMES) for each in found]
        self._show_text("<br>".join(f"<b>Next:</b> {escape(each)}" for each in said))

    def _show_text(self, text: str) -> None:
        self.sentence.setText(text)
        self.button.setVisible(bool(self._items))
        self.show()
