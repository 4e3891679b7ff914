"""The figures of a report that show numbers."""

from __future__ import annotations

from napari_cam_feedback.evaluation.intervals import LEVEL
from napari_cam_feedback.evaluation.measures import MEASURES
from napari_cam_feedback.evaluation.report.pictures import Picture, new_figure, save_figure
from napari_cam_feedback.evaluation.versions import VersionComparison

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
