"""Axes of pyqtgraph in the colours of napari's theme, small enough for a dock."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont, QFontMetricsF, QPen, QShowEvent
from qtpy.QtWidgets import QVBoxLayout

from napari_cam_feedback.widgets.parts.basics import single_shot, tight
from napari_cam_feedback.widgets.parts.themed import Themed

# Okabe and Ito's colours without black: told apart with any colour vision, on a light and on a dark window.
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
#: What is less than the colours: a sum of what they stand for, classes beyond those that can be told apart.
GRAY = "#9E9E9E"
_SIZE = 10
_WAIT_MS = 50
_NAME_HEIGHT = 13
_NAME_WIDTH = 104


class Plot(Themed):
    """One pair of axes, drawn when it is in sight; the mouse passes through it to what it lies on.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    height : int, optional
        Fixed height in pixels.
    title, x_name : str
        What stands above and below.
    legend_low : bool
        Whether the names of lines stand at the bottom, else at the top.
    """

    #: How far the names hide what is under them, as two digits of a colour.
    NAMES_OPACITY = "b0"

    def __init__(
        self, viewer: Any, height: int | None = None, title: str = "", x_name: str = "", *, legend_low: bool = False
    ) -> None:
        self.title, self.x_name, self._legend_low = title, x_name, legend_low
        #: pyqtgraph's ``PlotItem``, None until it is first in sight.
        self.axes: Any = None
        #: What is drawn, by its name.
        self.curves: dict[str, Any] = {}
        self._drawn: dict[str, Any] = {}
        self._written: object = None
        super().__init__(viewer, height)
        self._font = QFont(self.font())
        self._font.setPixelSize(_SIZE)
        self._timer = single_shot(self, _WAIT_MS, self.draw)
        self._column = tight(QVBoxLayout(self))

    def content(self, axes: Any) -> None:
        """Draw all lines and bars, and set the range of the axes; what is not drawn again is taken out."""
        raise NotImplementedError

    def prepare(self, axes: Any) -> None:
        """Set up axes that were just made."""

    def redraw(self) -> None:
        """Draw anew in a moment, once however often this is called until then; where it is not in sight, when it is."""
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def draw(self) -> None:
        """Draw anew at once."""
        if self.axes is None:
            self.axes = self._make()
            self.prepare(self.axes)
        left = set(self.curves)
        self._drawn = {}
        self.content(self.axes)
        for name in left - set(self._drawn):
            self.axes.removeItem(self.curves.pop(name))
        self._write()

    def line(
        self,
        name: str,
        x: Sequence[float] | np.ndarray,
        y: Sequence[float] | np.ndarray,
        colour: str = "",
        *,
        width: float = 1.4,
        dashed: bool = False,
        named: bool = True,
    ) -> None:
        """Draw a line with gaps where y is not finite, over those before; without a colour it has that of text."""
        import pyqtgraph

        pen = pyqtgraph.mkPen(colour or self.text_colour, width=width)
        if dashed:
            pen.setStyle(Qt.PenStyle.DashLine)
        if name not in self.curves:
            self.curves[name] = pyqtgraph.PlotCurveItem(connect="finite")
            self.axes.addItem(self.curves[name])
        curve = self.curves[name]
        curve.setPen(pen)
        x, y = np.asarray(x, float), np.asarray(y, float)
        # A line straight up or across would be two pixels of half its colour.
        curve.setData(x, y, antialias=bool(np.ptp(x) and np.ptp(y)))
        curve.setZValue(len(self._drawn))
        self._drawn[name] = pen if named else None

    def bars(self, name: str, left: Any, right: Any, bottom: Any, top: Any, colours: Sequence[str]) -> None:
        """Draw rectangles from the values of their sides, (N,), each in a colour."""
        import pyqtgraph

        if name in self.curves:
            self.axes.removeItem(self.curves[name])
        sides = dict(zip(("x0", "x1", "y0", "y1"), np.asarray([left, right, bottom, top], float), strict=True))
        self.curves[name] = pyqtgraph.BarGraphItem(**sides, pen=None, brushes=list(colours))
        self.curves[name].setZValue(len(self._drawn))
        self.axes.addItem(self.curves[name])
        self._drawn[name] = None

    def dots(self, name: str, points: np.ndarray, colour: str, size: float, *, ring: bool = False) -> None:
        """Draw points (N, 2), so many pixels wide, filled; as rings they are in the colour of text, without a name."""
        import pyqtgraph

        if name not in self.curves:
            self.curves[name] = pyqtgraph.ScatterPlotItem()
            self.axes.addItem(self.curves[name])
        pen = pyqtgraph.mkPen(self.text_colour, width=1.5) if ring else None
        self.curves[name].setData(pos=points, size=size, pen=pen, brush=pyqtgraph.mkBrush(colour), antialias=True)
        self.curves[name].setZValue(len(self._drawn))
        self._drawn[name] = None if ring else pyqtgraph.mkPen(colour)

    def elided(self, text: str) -> str:
        """Return a name, cut where it is too long for these axes."""
        return QFontMetricsF(self._font).elidedText(text, Qt.TextElideMode.ElideRight, _NAME_WIDTH)

    def _write(self) -> None:
        """Write title and names; only where they have changed, since that takes longer than the lines."""
        # As many names as there is room for.
        names = [name for name, pen in self._drawn.items() if pen][: (self.height() - 80) // _NAME_HEIGHT]
        written = (self.title, self.x_name, self.text_colour, names)
        if written == self._written:
            return
        import pyqtgraph

        self._written, axes, legend = written, self.axes, self.axes.legend
        self.setAccessibleName(self.title)
        axes.setTitle(escape(self.title) or None, color=self.text_colour, size=f"{_SIZE}px")
        if self.title:
            axes.titleLabel.setMaximumHeight(_NAME_HEIGHT)
            axes.layout.setRowFixedHeight(0, _NAME_HEIGHT)
        if self.x_name:
            axes.setLabel("bottom", escape(self.x_name), **{"color": self.text_colour, "font-size": f"{_SIZE}px"})
        axes.showAxis("bottom", bool(self.x_name))
        for side in ("left", "bottom", "right"):
            axes.getAxis(side).setTextPen(self.text_colour)
            axes.getAxis(side).setTickPen(self.text_colour if axes.getAxis(side).grid else None)
            axes.getAxis(side).setPen(self.text_colour if side != "right" else None)
        legend.clear()
        legend.setLabelTextColor(self.text_colour)
        legend.setBrush(f"{self.background_colour}{self.NAMES_OPACITY}")
        for name in names:
            pen = QPen(self._drawn[name])
            pen.setWidth(2)
            legend.addItem(pyqtgraph.PlotCurveItem(pen=pen, antialias=True), escape(self.elided(name)))
            label = legend.items[-1][1]
            label.item.document().setDocumentMargin(1)
            label.setText(label.text)
            legend.layout.setAlignment(label, Qt.AlignmentFlag.AlignVCenter)
        legend.setVisible(bool(names))
        legend.adjustSize()

    def _make(self) -> Any:
        # It takes a third of a second to import.
        from pyqtgraph import PlotWidget

        view = PlotWidget(background=None, enableMenu=False)
        view.setCacheMode(PlotWidget.CacheModeFlag.CacheNone)  # else the background of another theme stays
        view.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._column.addWidget(view)
        axes = view.getPlotItem()
        axes.hideButtons()
        axes.layout.setContentsMargins(1, 1, 16, 1)
        axes.getAxis("bottom").setHeight(2 * _NAME_HEIGHT + 2)
        axes.showAxis("right")
        for axis in map(axes.getAxis, ("left", "bottom", "right")):
            # Numbers at the ends may reach over them, but not where there is a grid: that is the other axis's.
            axis.setStyle(tickFont=self._font, tickLength=0, hideOverlappingLabels=18)
            axis.enableAutoSIPrefix(False)
        axes.getAxis("right").setStyle(showValues=False)
        axes.getAxis("right").setGrid(40)
        axes.addLegend(offset=(-4, -2 if self._legend_low else 2), labelTextSize=f"{_SIZE}px", verSpacing=_NAME_HEIGHT - 20)
        axes.legend.layout.setContentsMargins(2, 0, 2, 0)
        return axes

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.draw()

    def _take_theme(self, event: Any = None, *, value: str | None = None) -> None:
        super()._take_theme(event, value=value)
        self.background_colour = get_theme(value if value is not None else event.value).background.as_hex()
        self.redraw()
