"""What docks have in common that start a training: a column that scrolls, start and stop, progress, a status."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.parts.basics import fill, fill_scrolling, plain_label, push_button, tight, wrapped_label


class RunView(QWidget):
    """A dock that scrolls, and the controls of a run.

    Parameters
    ----------
    start, stop_tip : str
        What the start button says, and what stopping does.

    Attributes
    ----------
    inside : QWidget
        What scrolls.
    column : QVBoxLayout
        Its layout.
    """

    def __init__(self, start: str, stop_tip: str) -> None:
        super().__init__()
        # As the other docks have it; the settings need no more.
        self.setMinimumWidth(330)
        self.inside = QWidget()
        self.area = fill_scrolling(self, self.inside)
        self.column = tight(QVBoxLayout(self.inside), 5, margins=6)
        self.start_button = QPushButton(start)
        self.stop_button = push_button("Stop", tooltip=stop_tip)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        # Not wrapped: a new text of a wrapped label lays out, and paints, the whole dock again.
        self.progress_label = plain_label()
        self.progress_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.status = wrapped_label()
        self.result_box = QWidget()

    def add_controls(self) -> None:
        """Put the buttons, the progress and the status below what is in the column."""
        buttons = QHBoxLayout()
        buttons.addWidget(self.start_button, 2)
        buttons.addWidget(self.stop_button, 1)
        fill(self.column, buttons, self.progress, self.progress_label, self.status)

    def add_result(self) -> QVBoxLayout:
        """Put the box of the result at the bottom of the column; return its layout, to be filled."""
        result = tight(QVBoxLayout(self.result_box), 5)
        self.column.addWidget(self.result_box)
        self.column.addStretch(1)
        return result
