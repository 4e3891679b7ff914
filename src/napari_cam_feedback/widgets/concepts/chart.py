"""The bars of a concept test, painted with Qt in napari's colours: one below the other, so that names can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip

from napari_cam_feedback.widgets.parts.themed import Themed

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import ConceptResult, ConceptRow

#: Blue and orange are told apart by people who see fewer colours; gray says that nothing was found.
COLOURS = {"for": "#4A90D9", "against": "#E69F00", "none": "#9A9A9A"}
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_ROW = 20
_NAME_SHARE = 0.34
_STARS_WIDTH = 34
_STAR_SIZE = 15


def stars(p: float, significant: bool) -> str:
    """Return one to three stars for a significant p value, else nothing."""
    return next((text for level, text in _STARS if p < level), "*") if significant else ""


class ConceptChart(Themed):
    """A bar for each concept under a heading for each class: mean score, its spread, random concepts, stars.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.lines: list[ConceptRow | str] = []
        self._stars: dict[int, str] = {}

    def show_result(self, result: ConceptResult | None) -> None:
        """Show another result; None for nothing."""
        self.lines, self._stars = [], {}
        if result is not None:
            self._take(result)
        self.setFixedHeight(self.sizeHint().height())
        self.updateGeometry()
        self.update()

    def _take(self, result: ConceptResult) -> None:
        from napari_cam_feedback.explanations.tcav.report import decisive_p

        for row in result.rows:
            if row.class_name not in self.lines:
                self.lines.append(row.class_name)
            self._stars[len(self.lines)] = stars(decisive_p(result, row), row.significant)
            self.lines.append(row)

    def sizeHint(self) -> QSize:
        # Below the bars stands the scale.
        return QSize(300, _ROW * (len(self.lines) + 1) + 4 if self.lines else 0)

    def line_at(self, y: float) -> ConceptRow | str | None:
        """Return the row or heading at a height in pixels."""
        number = int(y // _ROW)
        return self.lines[number] if 0 <= number < len(self.lines) else None

    def _frame(self) -> tuple[float, float]:
        """Return where 0 and 1 are, in pixels."""
        left = round(self.width() * _NAME_SHARE)
        return left, max(self.width() - _STARS_WIDTH, left + 10)

    def paintEvent(self, event: Any) -> None:
        painter, metrics = self.begin()
        left, right = self._frame()
        bottom = _ROW * len(self.lines)
        first, last = event.rect().top() // _ROW, event.rect().bottom() // _ROW
        for number, line in enumerate(self.lines):
            # Of hundreds of classes only those in sight are painted.
            if first <= number <= last:
                if isinstance(line, str):
                    self._paint_heading(painter, metrics, number * _ROW, line)
                else:
                    self._paint_row(painter, metrics, number, line)
        if self.lines:
            for value in (0, 0.5, 1):
                x = left + value * (right - left)
                painter.setPen(QColor(self.text_colour))
                box = QRectF(x - 20, bottom + 2, 40, metrics.height())
                painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, f"{value:g}")
        painter.end()

    def _paint_heading(self, painter: QPainter, metrics: QFontMetricsF, top: float, text: str) -> None:
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor(self.text_colour))
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, self.width() - 8)
        painter.drawText(QRectF(2, top, self.width(), _ROW), Qt.AlignmentFlag.AlignVCenter, shown)
        font.setBold(False)
        painter.setFont(font)

    def _paint_row(self, painter: QPainter, metrics: QFontMetricsF, number: int, row: ConceptRow) -> None:
        left, right = self._frame()
        top, middle = number * _ROW, (number + 0.5) * _ROW
        text = QColor(self.text_colour)

        def x(value: float) -> float:
            return left + min(max(value, 0.0), 1.0) * (right - left)

        name = metrics.elidedText(row.concept, Qt.TextElideMode.ElideMiddle, left - 12)
        painter.setPen(text)
        vertical = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(8, top, left - 12, _ROW), vertical, name)
        faint = QColor(text)
        faint.setAlphaF(0.12)
        band = x(row.random_score - row.random_std), x(row.random_score + row.random_std)
        painter.fillRect(QRectF(band[0], top + 1, band[1] - band[0], _ROW - 2), faint)
        painter.fillRect(QRectF(left, top + 5, max(x(row.score) - left, 1.5), _ROW - 10), QColor(COLOURS[row.effect]))
        painter.setPen(QPen(text, 1, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(x(row.random_score), top + 1), QPointF(x(row.random_score), top + _ROW - 1))
        painter.setPen(QPen(text, 1))
        ends = x(row.score - row.score_std), x(row.score + row.score_std)
        painter.drawLine(QPointF(ends[0], middle), QPointF(ends[1], middle))
        # A score of 0 has no bar; its dot has the colour too.
        painter.setBrush(QColor(COLOURS[row.effect]))
        painter.drawEllipse(QPointF(x(row.score), middle), 3, 3)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        font = painter.font()
        size = font.pixelSize()
        font.setPixelSize(_STAR_SIZE)
        painter.setFont(font)
        # Stars stand high in their line.
        painter.drawText(QRectF(right + 6, top + 3, _STARS_WIDTH, _ROW), vertical, self._stars.get(number, ""))
        font.setPixelSize(size)
        painter.setFont(font)

    def event(self, event: Any) -> bool:
        """Tell all of a bar where the pointer rests on it."""
        if event.type() == QEvent.Type.ToolTip:
            line = self.line_at(event.pos().y())
            if line is None or isinstance(line, str):
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), tip(line), self)
            return True
        return bool(super().event(event))


def tip(row: ConceptRow) -> str:
    """Return all that is known of a row, for a tool tip."""
    return (
        f"{row.concept}, {row.class_name}\n"
        f"score {row.score:.2f} ± {row.score_std:.2f} of {row.class_images} images\n"
        f"random concepts {row.random_score:.2f} ± {row.random_std:.2f}\n"
        f"stronger than {row.stronger_than:.0%} of random concepts\n"
        f"p of the scores {row.p_corrected:.2g}, p of the strength {row.p_unusual_corrected:.2g}, corrected\n"
        f"told from random images: {row.cav_accuracy:.0%} right (50% is chance), {row.images} images"
    )
