"""Pictures of one image before and after: the image, both heatmaps and the mask, side by side."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.explain.inspect import Inspection, inspect_item
from napari_cam_feedback.explain.methods import default_method
from napari_cam_feedback.explain.targets import Target
from napari_cam_feedback.explain.views import cam_display
from napari_cam_feedback.models.classifier import Classifier


@dataclass(frozen=True)
class Picture:
    """A picture of one item.

    Attributes
    ----------
    key : str
        The item's.
    caption : str
        What was predicted before and after.
    png : bytes
        PNG file.
    """

    key: str
    caption: str
    png: bytes


def picture_before_after(
    before: Classifier,
    after: Classifier,
    dataset: Dataset,
    index: int,
    mask: np.ndarray | None,
    *,
    target: Target = "predicted",
) -> Picture:
    """Draw image, heatmap before, heatmap after, and mask of one item.

    Parameters
    ----------
    before, after : Classifier
        The heatmap is CAM where the model allows it, else Grad-CAM.
    dataset : Dataset
        Where the item is.
    index : int
        Which item.
    mask : ndarray or None
        (H, W) bool of what is irrelevant.
    target : str or int
        Class of the heatmaps.

    Raises
    ------
    DataError
        The image cannot be read.
    """
    old = inspect_item(before, dataset, index, target=target, method=default_method(before))
    new = inspect_item(after, dataset, index, target=target, method=default_method(after))
    names = dataset.class_names
    truth = "unknown" if old.label is None else names[old.label]
    figure = Figure(figsize=(8, 2.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    gray = {"cmap": "gray"} if old.image.ndim == 2 else {}
    _panel(axes[0], f"image: {truth}", old.image, **gray)
    for axis, label, found in ((axes[1], "before", old), (axes[2], "after", new)):
        predicted = f"{label}: {names[found.predicted]} ({found.probabilities[found.predicted]:.0%})"
        _panel(axis, predicted, old.image, **gray)
        _heat(axis, found)
    _panel(axes[3], "irrelevant", old.image, **gray)
    if mask is not None and mask.any():
        tint = np.zeros((*mask.shape, 4), np.float32)
        tint[mask] = (1.0, 0.1, 0.3, 0.55)
        axes[3].imshow(tint, interpolation="nearest")
    else:
        axes[3].set_xlabel("nothing painted")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    caption = f"{old.key}: {truth}; predicted {names[old.predicted]} before, {names[new.predicted]} after."
    return Picture(old.key, caption, file.getvalue())


def _panel(axis, title: str, image: np.ndarray, **options: str) -> None:  # type: ignore[no-untyped-def]
    axis.imshow(image, interpolation="nearest", **options)
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def _heat(axis, found: Inspection) -> None:  # type: ignore[no-untyped-def]
    if found.evidence:
        axis.imshow(cam_display(found.map), cmap="inferno", alpha=0.6, vmin=0, vmax=1, interpolation="nearest")
    else:
        axis.set_xlabel("no positive evidence" if found.no_heatmap is None else "no heatmap: no places", fontsize=8)
