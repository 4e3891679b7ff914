"""Pictures of a report: one image as several classifiers see it, and the figures that show numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.evaluation.intervals import LEVEL
from napari_cam_feedback.evaluation.measures import MEASURES
from napari_cam_feedback.evaluation.versions import VersionComparison
from napari_cam_feedback.explanations.display import cam_display
from napari_cam_feedback.explanations.maps.explanation import Explanation, explain_item
from napari_cam_feedback.explanations.maps.registry import default_method
from napari_cam_feedback.explanations.targets import Target
from napari_cam_feedback.figures import png_of
from napari_cam_feedback.models.classifier import Classifier


@dataclass(frozen=True)
class Picture:
    """A picture for a report.

    Attributes
    ----------
    key : str
        Of the item that it shows, or what else it is called by.
    caption : str
        What there is to see.
    png : bytes
        PNG file.
    """

    key: str
    caption: str
    png: bytes


def picture_versions(
    models: Mapping[str, Classifier], dataset: Dataset, index: int, mask: np.ndarray | None = None
) -> Picture:
    """Draw one item as two or more classifiers see it: image with its mask, each heatmap, and its difference from the first.

    All heatmaps are of one class, or they could not be subtracted: the true class, where that is unknown the class that the
    first classifier predicts. Each is stretched to 0..1; a difference is the later map less the first, -1..1.

    Parameters
    ----------
    models : mapping
        Name to classifier, two or more. The heatmap is CAM where the model allows it, else Grad-CAM.
    dataset : Dataset
        Where the item is.
    index : int
        Which item.
    mask : ndarray, optional
        (H, W) bool of what is irrelevant.

    Raises
    ------
    DataError
        The image cannot be read.
    """
    label = int(dataset.labels[index])
    found: list[Explanation] = []
    for classifier in models.values():
        target: Target = found[0].target if found else (label if label >= 0 else "predicted")
        found.append(explain_item(classifier, dataset, index, target=target, method=default_method(classifier)))
    first, class_names = found[0], dataset.class_names
    shown = [cam_display(each.map) for each in found]
    truth = "unknown" if label < 0 else class_names[label]
    gray = {"cmap": "gray"} if first.image.ndim == 2 else {}
    rows = 1 if len(found) == 2 else 2
    columns = 4 if rows == 1 else 1 + len(found)
    figure = new_figure(2.0 * columns, 2.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    _panel(axes[0, 0], f"image: {truth}", first.image, **gray)
    if mask is not None:
        _tint(axes[0, 0], mask)
    for number, (name, each) in enumerate(zip(models, found, strict=True), 1):
        axis = axes[0, number]
        predicted = class_names[each.predicted]
        _panel(axis, f"{name}: {predicted} ({each.probabilities[each.predicted]:.0%})", first.image, **gray)
        _heat(axis, each)
        if number > 1:
            axis = axes[0, 3] if rows == 1 else axes[1, number]
            difference = shown[number - 1] - shown[0]
            axis.imshow(difference, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            _frame(axis, "difference" if rows == 1 else f"{name} − {next(iter(models))}")
    told = ", ".join(
        f"{class_names[each.predicted]} by {name} ({class_names[first.target]}: {each.probabilities[first.target]:.2f})"
        for name, each in zip(models, found, strict=True)
    )
    caption = f"{first.key}: {truth}; predicted {told}. Heatmaps of the class {class_names[first.target]}."
    return Picture(first.key, caption, save_figure(figure))


def choose_shown(
    painted: Sequence[int], flipped: Sequence[Sequence[int]], count: int, groups: Sequence[np.ndarray] = ()
) -> list[int]:
    """Choose which items to draw: painted ones and flipped ones in turn, each once.

    Of those whose turn it is, one of the group that has been drawn least comes first: where splits and then classes are the
    groups, of the split drawn least, and there of the class drawn least.

    Parameters
    ----------
    painted : sequence of int
        Items, the most telling first.
    flipped : sequence of sequence of int
        The same of each kind of flip.
    count : int
        At most so many.
    groups : sequence of ndarray
        What they are spread over, what matters most first: for each a value of every item of the dataset, (N,).
    """
    queues = [list(map(int, each)) for each in (painted, *flipped)]
    drawn: list[Counter[Any]] = [Counter() for _ in groups]
    found: list[int] = []

    def drawn_already(item: int) -> list[int]:
        return [counted[values[item]] for counted, values in zip(drawn, groups, strict=True)]

    while any(queues) and len(found) < count:
        for queue in queues:
            queue[:] = [item for item in queue if item not in found]
            if queue and len(found) < count:
                item = min(queue, key=drawn_already)  # of equals the first
                found.append(item)
                for counted, values in zip(drawn, groups, strict=True):
                    counted[values[item]] += 1
    return found


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of this size in inches, which belongs to no window."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure) -> bytes:
    """Return a figure as a PNG file, the same bytes each time."""
    return png_of(figure)


def _tint(axis, mask: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    """Draw a mask over an image."""
    tint = np.zeros((*mask.shape, 4), np.float32)
    tint[mask] = (1.0, 0.1, 0.3, 0.55)
    axis.imshow(tint, interpolation="nearest")


def _panel(axis, title: str, image: np.ndarray, **options: str) -> None:  # type: ignore[no-untyped-def]
    axis.imshow(image, interpolation="nearest", **options)
    _frame(axis, title)


def _frame(axis, title: str) -> None:  # type: ignore[no-untyped-def]
    axis.axis("on")
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def _heat(axis, found: Explanation) -> None:  # type: ignore[no-untyped-def]
    if found.evidence:
        axis.imshow(cam_display(found.map), cmap="inferno", alpha=0.6, vmin=0, vmax=1, interpolation="nearest")
    else:
        axis.set_xlabel("no positive evidence" if found.no_heatmap is None else "no heatmap: no places", fontsize=8)


#: Okabe and Ito's colours, told apart with any colour vision.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
#: Shares, which have one axis in common.
SHOWN = ("accuracy", "masked_accuracy", "flip_rate", "swap_flip_rate", "random_flip_rate", "mask_share")


def draw_measures(comparison: VersionComparison) -> Picture:
    """Draw accuracy and the measures on masked images of every split: a point and an interval for each version."""
    names, splits = comparison.names, comparison.splits
    by_split = {
        split: [key for key in SHOWN if any((row.split, row.measure) == (split, key) for row in comparison.rows[0])]
        for split in splits
    }
    tallest = max((len(keys) for keys in by_split.values()), default=1)
    figure = new_figure(max(4.5, 3.2 * max(len(splits), 1)), 1.2 + 0.25 * tallest * len(names))
    axes = figure.subplots(1, max(len(splits), 1), squeeze=False)[0]
    for axis, split in zip(axes, splits, strict=False):
        keys = by_split[split]
        for number in range(len(names)):
            rows = comparison.rows[max(number - 1, 0)]
            for place, key in enumerate(keys):
                row = next((each for each in rows if (each.split, each.measure) == (split, key)), None)
                value = None if row is None else row.after if number else row.before
                if row is None or value is None:
                    continue
                sure = row.certainty
                interval = None if sure is None else sure.after if number else sure.before
                y = place + 0.7 * ((number + 0.5) / len(names) - 0.5)
                colour = COLOURS[number % len(COLOURS)]
                if interval is not None:
                    axis.plot([interval.low, interval.high], [y, y], color=colour, linewidth=1.6)
                label = names[number] if place == 0 else None
                axis.plot([value], [y], "o", color=colour, markersize=5, label=label)
        axis.set_title(f"{split} ({comparison.evaluations[0].splits[split].n} images)", fontsize=9)
        axis.set_yticks(range(len(keys)), [MEASURES[key].name for key in keys], fontsize=8)
        axis.set_ylim(len(keys) - 0.5, -0.5)
        axis.set_xlim(-0.02, 1.02)
        axis.grid(axis="x", alpha=0.25)
        axis.tick_params(labelsize=8)
        if axis is not axes[0] and keys == by_split[splits[0]]:
            axis.set_yticklabels([])
    if splits:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside lower center", ncols=min(len(names), 4))
    caption = f"Each version's measures, with {100 * LEVEL:.0f} % bootstrap intervals over the images."
    return Picture("measures", caption, save_figure(figure))
