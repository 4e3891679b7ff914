"""What a concept test found: a sentence, bars, a table, warnings, and the button that saves all of it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_cam_feedback.widgets.concepts.chart import ConceptChart, tip
from napari_cam_feedback.widgets.concepts.model import SAVE_JOB, ConceptModel
from napari_cam_feedback.widgets.parts.basics import breakable, link_to, plain, rich_label, tight, wrapped_label
from napari_cam_feedback.widgets.parts.tones import set_rich_text

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import ConceptResult

HEADERS = ("concept", "class", "score", "rand.", "p", "CAV")
_TIPS = (
    "What was tested",
    "For which class",
    "Share of the class's images whose score for the class rises with the concept",
    "The same for random concepts, on average",
    "Corrected p value; bold where significant",
    "Share of images kept aside that the layer tells from random ones; 50% is chance",
)
_LEGEND = (
    "Bar: share of the class's images that rise with the concept. Line: its spread. Dashed, band: random concepts. "
    "Blue: for, orange: against, gray: not significant. Stars: p below 0.05, 0.01, 0.001."
)
#: Readable on napari's dark and on its light theme, which Qt's own is not.
_MAX_NAMED = 4
_MAX_SKIPPED = 3


class ConceptView(QWidget):
    """The result; hidden while there is none.

    Parameters
    ----------
    model : ConceptModel
        Whose result.
    viewer : napari.Viewer
        Whose theme.
    """

    def __init__(self, model: ConceptModel, viewer: Any) -> None:
        super().__init__()
        self._model = model
        self.finding = rich_label()
        self.meaning = wrapped_label()
        self.chart = ConceptChart(viewer)
        self.legend = wrapped_label(_LEGEND, "quiet")
        self.table = _table()
        self.warnings = wrapped_label(tone="warning")
        self.save_button = QPushButton("Save into the project")
        self.save_button.setToolTip(
            "Table (CSV), chart (PNG), vectors (npz) and settings (JSON) in a new folder of the project"
        )
        self.save_button.clicked.connect(model.save)
        self.place = rich_label()
        self.place.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.place.setOpenExternalLinks(True)
        column = tight(QVBoxLayout(self), 5)
        for widget in (
            self.finding,
            self.chart,
            self.meaning,
            self.warnings,
            self.legend,
            self.table,
            self.save_button,
            self.place,
        ):
            column.addWidget(widget)
        model.session.jobs.phase(SAVE_JOB).drive(start=[self.save_button])
        model.tested.connect(self._tested)
        model.saved.connect(self._saved)
        self._tested()

    def _tested(self) -> None:
        result = self._model.result
        self.setVisible(result is not None)
        self.chart.show_result(result)
        self.place.hide()
        if result is None:
            self.table.setRowCount(0)
            return
        from napari_cam_feedback.explanations.tcav.report import meaning

        self.finding.setText(finding(result))
        self.meaning.setText(meaning(result))
        self.warnings.setText("\n".join(warnings(result)))
        self.warnings.setToolTip("\n".join(result.skipped.values()))
        self.warnings.setVisible(bool(self.warnings.text()))
        self._fill(result)

    def _fill(self, result: ConceptResult) -> None:
        from napari_cam_feedback.explanations.tcav.report import decisive_p

        self.table.setRowCount(len(result.rows))
        for number, row in enumerate(result.rows):
            texts = (
                row.concept,
                row.class_name,
                f"{row.score:.2f}",
                f"{row.random_score:.2f}",
                f"{decisive_p(result, row):.2g}",
                f"{row.cav_accuracy:.0%}",
            )
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(plain(tip(row)))
                if row.significant:
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                if column > 1:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(number, column, item)
        rows = min(len(result.rows), 12)
        height = self.table.verticalHeader().defaultSectionSize() * rows
        self.table.setFixedHeight(height + self.table.horizontalHeader().sizeHint().height() + 4)

    def _saved(self, folder: Path) -> None:
        set_rich_text(self.place, lambda: f"Saved in {link_to(folder)}.")
        self.place.show()


def _table() -> QTableWidget:
    table = QTableWidget(0, len(HEADERS))
    for column, (name, text) in enumerate(zip(HEADERS, _TIPS, strict=True)):
        title = QTableWidgetItem(name)
        title.setToolTip(text)
        table.setHorizontalHeaderItem(column, title)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 4)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    header = table.horizontalHeader()
    header.setMinimumSectionSize(30)
    for column in range(len(HEADERS)):
        mode = QHeaderView.ResizeMode.Stretch if column < 2 else QHeaderView.ResizeMode.ResizeToContents
        header.setSectionResizeMode(column, mode)
    return table


def finding(result: ConceptResult) -> str:
    """Return what was found in words, for people who read one sentence only; rich text."""
    layer = ", ".join(dict.fromkeys(row.layer for row in result.rows))
    found = [row for row in result.rows if row.significant]
    if not found:
        return (
            f"<b>No concept came out significant</b> (layer {breakable(escape(layer))}). "
            "That is not proof that none matters: try more images, or another layer."
        )
    said = [
        f"<b>{escape(row.concept)}</b> speaks {row.effect} <b>{escape(row.class_name)}</b>"
        for row in sorted(found, key=lambda row: row.effect, reverse=True)[:_MAX_NAMED]
    ]
    more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return f"{'; '.join(said)}{more} (layer {breakable(escape(layer))})."


def warnings(result: ConceptResult) -> list[str]:
    """Return what makes the scores less worth, and which images were left out, as sentences."""
    said = list(result.warnings)
    count = len(result.skipped)
    if count:
        named = ", ".join(list(result.skipped)[:_MAX_SKIPPED])
        more = f" and {count - _MAX_SKIPPED} more" if count > _MAX_SKIPPED else ""
        many = "1 image that cannot be read was" if count == 1 else f"{count} images that cannot be read were"
        said.append(f"{many} left out: {named}{more}.")
    return said
