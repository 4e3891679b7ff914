"""The live plot of a retune: loss terms, and what the painted images' true classes get. Drawn at most 4 times a second."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.style as mplstyle
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from napari.utils.theme import get_theme
from napari_matplotlib.base import BaseNapariMPLWidget
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    import napari
    from qtpy.QtWidgets import QWidget

# Okabe and Ito's colours without black: told apart with any colour vision, on a light and on a dark window.
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
REDRAW_MS = 250
# A redraw costs the same however long the run; beyond this many points a line is thinned before it is drawn.
MAX_POINTS = 400


class StepPlot(BaseNapariMPLWidget):
    """Two small axes side by side: losses over iterations, and probabilities of the painted images.

    Values are kept at once and drawn by a timer, so that no step of a run pays for a drawing.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent=parent)
        # The bar costs a third of the height and a constrained layout half of the drawing time.
        self.toolbar.hide()
        self.figure.set_layout_engine("none")
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.setFixedHeight(170)
        self.setMinimumWidth(260)
        self.draws = 0
        self.longest_draw_s = 0.0
        self._losses: dict[str, list[tuple[int, float]]] = {}
        self._painted: dict[str, list[tuple[int, float]]] = {}
        self._dirty = False
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self._redraw)
        self._make_axes()

    # -- data ---------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the last run."""
        self._losses.clear()
        self._painted.clear()
        self._make_axes()
        self.canvas.draw_idle()

    def add(
        self,
        iteration: int,
        losses: Mapping[str, float],
        painted_keys: Sequence[str] = (),
        probabilities: Any = None,
    ) -> None:
        """Take one step's values; they are drawn within a quarter of a second.

        Parameters
        ----------
        iteration : int
        losses : mapping of str to float
            One value a loss term; a value that is not finite leaves a gap.
        painted_keys : sequence of str
        probabilities : array (P,) or None
            Probability of the true class of each painted image, where it was measured.
        """
        for name, value in losses.items():
            self._losses.setdefault(name, []).append((iteration, float(value)))
        if probabilities is not None:
            for key, value in zip(painted_keys, np.asarray(probabilities, dtype=float).ravel(), strict=False):
                self._painted.setdefault(key, []).append((iteration, float(value)))
        self._dirty = True
        if not self._timer.isActive():
            self._timer.start()

    def finish(self) -> None:
        """Draw what is left and stop the timer."""
        self._timer.stop()
        self._dirty = True
        self._redraw()
        self._timer.stop()

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms seen so far."""
        return tuple(self._losses)

    @property
    def painted_keys(self) -> tuple[str, ...]:
        """Keys of the painted images with a probability so far."""
        return tuple(self._painted)

    # -- drawing ------------------------------------------------------------------------------------------

    def _style(self) -> dict[str, Any]:
        text = get_theme(self.viewer.theme).text.as_hex()
        return {
            **self.napari_theme_style_sheet,
            "font.size": 7.5,
            "axes.titlesize": 8,
            "axes.labelsize": 7.5,
            "axes.edgecolor": text,
            "xtick.color": text,
            "ytick.color": text,
            "axes.titlecolor": text,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "lines.linewidth": 1.2,
            "path.simplify": True,
        }

    def _make_axes(self) -> None:
        with mplstyle.context(self._style()):
            self.figure.clear()
            self.loss_axes = self.figure.add_axes((0.09, 0.19, 0.39, 0.66))
            self.probability_axes = self.figure.add_axes((0.58, 0.19, 0.40, 0.66))
            self.loss_axes.set_title("Loss terms")
            self.probability_axes.set_title("Painted images: p of the true class")
            self.probability_axes.set_ylim(-0.03, 1.03)
            self.probability_axes.set_yticks([0, 0.5, 1])
            for axes in (self.loss_axes, self.probability_axes):
                axes.set_xlabel("iteration", labelpad=1)
                axes.set_xlim(0, 1)
                axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        self._loss_lines: dict[str, Any] = {}
        text = get_theme(self.viewer.theme).text.as_hex()
        self._single = LineCollection([], colors=COLOURS[0], linewidths=0.6, alpha=0.35)
        self.probability_axes.add_collection(self._single)
        (self._mean,) = self.probability_axes.plot([], [], color=text, linewidth=1.8)
        self._empty = self.loss_axes.text(
            0.5, 0.5, "starts with a retune", ha="center", va="center", transform=self.loss_axes.transAxes
        )
        self._empty.set_color(text)
        self._empty.set_fontsize(7.5)

    def _redraw(self) -> None:
        if not self._dirty:
            self._timer.stop()
            return
        self._dirty = False
        if not self.isVisible():
            self._dirty = True  # drawn when the dock is shown
            self._timer.stop()
            return
        start = time.perf_counter()
        self._update_losses()
        self._update_painted()
        self.canvas.draw_idle()
        self.draws += 1
        self.longest_draw_s = max(self.longest_draw_s, time.perf_counter() - start)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self._dirty:
            self._timer.start()

    def _update_losses(self) -> None:
        added = False
        lowest, highest, last = math.inf, -math.inf, 1
        for number, (name, points) in enumerate(self._losses.items()):
            if name not in self._loss_lines:
                (line,) = self.loss_axes.plot([], [], color=COLOURS[number % len(COLOURS)], label=name)
                self._loss_lines[name] = line
                added = True
            data = _thinned(points)
            self._loss_lines[name].set_data(data[:, 0], data[:, 1])
            finite = data[np.isfinite(data[:, 1]), 1]
            if finite.size:
                lowest, highest = min(lowest, finite.min()), max(highest, finite.max())
            last = max(last, int(data[-1, 0]))
        if added:
            self._empty.set_visible(False)
            legend = self.loss_axes.legend(
                loc="upper right", fontsize=6.5, frameon=False, handlelength=1.2, labelspacing=0.2
            )
            for label in legend.get_texts():
                label.set_color(get_theme(self.viewer.theme).text.as_hex())
        if highest >= lowest:
            # Terms of very different size (a penalty of 10, an error of 0.05) only read on a log scale.
            if lowest > 0 and highest / lowest > 100:
                self.loss_axes.set_yscale("log")
                self.loss_axes.set_ylim(lowest / 1.3, highest * 1.6)
            else:
                self.loss_axes.set_yscale("linear")
                room = 0.06 * (highest - min(lowest, 0.0)) or 1.0
                self.loss_axes.set_ylim(min(lowest, 0.0) - room, highest + 3 * room)
        self.loss_axes.set_xlim(0, last)

    def _update_painted(self) -> None:
        if not self._painted:
            return
        lines = [_thinned(points) for points in self._painted.values()]
        self._single.set_segments(lines)
        by_iteration: dict[int, list[float]] = {}
        for line in self._painted.values():
            for iteration, value in line:
                by_iteration.setdefault(iteration, []).append(value)
        mean = _thinned([(step, float(np.nanmean(values))) for step, values in sorted(by_iteration.items())])
        self._mean.set_data(mean[:, 0], mean[:, 1])
        self.probability_axes.set_xlim(0, max(1, int(mean[-1, 0])))

    def _on_napari_theme_changed(self, event: Any) -> None:
        super()._on_napari_theme_changed(event)
        self._make_axes()
        self._dirty = True
        self._timer.start()


def _thinned(points: Sequence[tuple[int, float]]) -> np.ndarray:
    """Return the points (n, 2), at most `MAX_POINTS` of them, the newest always among them."""
    data = np.asarray(points, dtype=float).reshape(-1, 2)
    if len(data) <= MAX_POINTS:
        return data
    keep = np.linspace(0, len(data) - 1, MAX_POINTS).round().astype(int)
    return data[keep]
