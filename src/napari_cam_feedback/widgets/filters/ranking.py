"""How many filters the model needs, and how far the ranking and the user's marks agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.filters.charts import CurvePlot
from napari_cam_feedback.widgets.filters.model import FilterModel
from napari_cam_feedback.widgets.parts.basics import fill, plain_label, push_button, tight, wrapped_label

if TYPE_CHECKING:
    from napari_cam_feedback.explanations.filters.marks import Agreement

_LOOK_FIRST = "Press “Look at all images” in the tab All images first."
_ABOUT = (
    "Ranked by what a filter's mean activation tells of the class: mutual information, importance in random trees, and how "
    "well it classifies alone, with equal weights."
)


class RankingView(QWidget):
    """The tab with the accuracy curve and the agreement.

    Parameters
    ----------
    model : FilterModel
        What is known.
    """

    def __init__(self, model: FilterModel) -> None:
        super().__init__()
        self.model = model
        self.about = wrapped_label(_ABOUT, "quiet")
        self.plot = CurvePlot(model.session.viewer)
        self.curve_label = wrapped_label()
        self.top = QSpinBox()
        self.top.setToolTip("How many of the best filters count as chosen by the ranking; the cut of the curve at first")
        self.cut_button = push_button("The cut", self._to_cut, "Set it to the cut of the curve")
        self.agreement_label = wrapped_label()
        row = QHBoxLayout()
        row.addWidget(plain_label("The ranking's best"))
        fill(row, self.top, self.cut_button)
        row.addStretch(1)
        self._row = QWidget()
        self._row.setLayout(row)
        row.setContentsMargins(0, 0, 0, 0)
        column = tight(QVBoxLayout(self), margins=(0, 4, 0, 0))
        fill(column, self.curve_label, self.plot, self._row, self.agreement_label, self.about)
        column.addStretch(1)
        self.top.valueChanged.connect(self._show_agreement)
        model.looked.connect(self._looked)
        model.marked.connect(self._show_agreement)
        self._looked()

    def _looked(self) -> None:
        survey = self.model.survey
        ranking = None if survey is None else survey.ranking
        curve = None if survey is None else survey.curve
        self.plot.show_curve(curve)
        self.plot.setVisible(curve is not None)
        for widget in (self._row, self.agreement_label, self.about):
            widget.setVisible(ranking is not None)
        if survey is None:
            self.curve_label.setText(_LOOK_FIRST)
        elif curve is not None:
            self.curve_label.setText(curve.sentence)
        else:
            self.curve_label.setText(" ".join(survey.notes))
        if survey is not None:
            with QSignalBlocker(self.top):
                self.top.setRange(1, survey.features.filters)
            self._to_cut()
        self.cut_button.setEnabled(curve is not None and curve.cut is not None)

    def _to_cut(self) -> None:
        survey = self.model.survey
        if survey is None:
            return
        cut = None if survey.curve is None else survey.curve.cut
        self.top.setValue(cut or max(1, survey.features.filters // 2))
        self._show_agreement()

    @property
    def agreement(self) -> Agreement | None:
        """How the marks agree with the ranking; None where nothing is marked or ranked."""
        survey, marks = self.model.survey, self.model.marks
        if survey is None or survey.ranking is None or marks is None or not marks.marks:
            return None
        from napari_cam_feedback.explanations import agreement

        return agreement(marks, survey.ranking.order, self.top.value())

    def _show_agreement(self, *_: object) -> None:
        found, marks = self.agreement, self.model.marks
        if found is None or marks is None:
            self.agreement_label.setText(
                "Mark filters as relevant or irrelevant in the tab All images, and see here how far the ranking agrees."
            )
            return
        precision = _share(
            found.both, found.both + found.only_ranked, "those marked among these best are relevant (precision)"
        )
        recall = _share(found.both, found.both + found.only_marked, "those marked relevant are among these best (recall)")
        marked = f"You marked {len(marks.relevant)} relevant and {len(marks.irrelevant)} irrelevant."
        self.agreement_label.setText(f"{marked} {precision} {recall}")


def _share(part: int, whole: int, what: str) -> str:
    if not whole:
        return f"None to tell how many of {what}."
    return f"{part} of {whole}, {part / whole:.0%}, of {what}."
