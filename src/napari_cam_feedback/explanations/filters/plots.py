"""Charts of filters as PNG: the accuracy curve, histograms by class, histograms before and after, the map of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_cam_feedback.explanations.filters.accuracy_curve import AccuracyCurve
from napari_cam_feedback.explanations.filters.changes import ChangeHistograms
from napari_cam_feedback.explanations.filters.embedding import Embedding
from napari_cam_feedback.explanations.filters.statistics import ClassHistograms
from napari_cam_feedback.figures import png_of
from napari_cam_feedback.files import write_bytes

# Okabe and Ito's, told apart with any colour vision.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8a7a00", "#000000", "#7f7f7f", "#6a3d9a")
#: Classes that are named in a legend at most; the others share the last colour.
MAX_NAMED = len(_COLOURS)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    write_bytes(path, png_of(figure))


def save_curve(curve: AccuracyCurve, path: str | os.PathLike[str]) -> None:
    """Write the accuracy against the number of filters, with the model's own and the cut; raises StorageError."""
    figure, axes = _figure(5.2, 3.4)
    low, high = curve.full - curve.standard_error, curve.full + curve.standard_error
    axes.axhspan(low, high, color="#000000", alpha=0.08, lw=0)
    axes.axhline(curve.full, ls="--", lw=1, color="#333333", label=f"the whole model: {curve.full:.1%}")
    axes.plot(curve.counts, curve.accuracy, ".-", ms=4, lw=1.2, color=_COLOURS[0], label=f"the best k alone ({curve.head})")
    if curve.cut is not None:
        axes.axvline(curve.cut, lw=1.2, color=_COLOURS[4], label=f"cut: {curve.cut} filters")
    axes.set(xlabel="number of filters k", ylabel="validation accuracy")
    axes.legend(fontsize=8)
    _save(figure, path)


def save_class_histograms(
    histograms: ClassHistograms, number: int, class_names: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Write a filter's histograms, a line a class; raises StorageError."""
    figure, axes = _figure(5.2, 3.2)
    for label, counts in enumerate(histograms.counts):
        if counts.any():
            named = label < MAX_NAMED
            axes.stairs(
                counts,
                histograms.edges,
                color=_COLOURS[min(label, MAX_NAMED - 1)],
                label=class_names[label] if named else None,
                lw=1.4 if named else 0.5,
            )
    axes.set(xlabel=f"mean activation of filter {number}", ylabel="images")
    if histograms.counts.any():
        axes.legend(fontsize=8)
    _save(figure, path)


def save_change_histograms(histograms: ChangeHistograms, number: int, path: str | os.PathLike[str]) -> None:
    """Write a filter's histograms before and after; raises StorageError."""
    figure, axes = _figure(5.2, 3.2)
    axes.stairs(histograms.before, histograms.edges, fill=True, alpha=0.45, color=_COLOURS[0], label="before")
    axes.stairs(histograms.after, histograms.edges, fill=True, alpha=0.45, color=_COLOURS[1], label="after")
    axes.set(xlabel=f"mean activation of filter {number}", ylabel="images")
    axes.legend(fontsize=8)
    _save(figure, path)


def save_embedding(embedding: Embedding, class_names: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write the map of the images, coloured by class, those predicted wrongly ringed; raises StorageError."""
    figure, axes = _figure(6.0, 5.0)
    x, y = embedding.points.T
    size = float(np.clip(8000 / max(len(x), 1), 3, 24))
    for label in range(-1, len(class_names)):
        rows = embedding.labels == label
        if rows.any():
            colour = "#bbbbbb" if label < 0 else _COLOURS[min(label, MAX_NAMED - 1)]
            name = "no label" if label < 0 else class_names[label] if label < MAX_NAMED else None
            axes.scatter(x[rows], y[rows], s=size, color=colour, label=name, lw=0)
    wrong = embedding.errors
    if wrong.any():
        axes.scatter(x[wrong], y[wrong], s=2.5 * size, facecolors="none", edgecolors="#cc0000", lw=0.7, label="wrong")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set(xticks=[], yticks=[])
    if embedding.explained is not None:
        along, up = embedding.explained
        axes.set(xlabel=f"component 1 ({along:.0%})", ylabel=f"component 2 ({up:.0%})")
    _save(figure, path)
