"""What the measures are called, what they mean, and which direction is better; and their values in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_cam_feedback.evaluation.right_reasons import RightReasons


@dataclass(frozen=True, slots=True)
class Measure:
    """How a measure is shown to people.

    Attributes
    ----------
    name : str
        In tables with room.
    short : str
        In narrow tables.
    meaning : str
        A sentence.
    better : str or None
        ``more``, ``less``, or ``nearer 0``; None where neither is better by itself.
    """

    name: str
    short: str
    meaning: str
    better: Literal["more", "less", "nearer 0"] | None

    @property
    def direction(self) -> str:
        """Which direction is better, in words; empty where neither is."""
        return f"{self.better} is better" if self.better else ""


#: Every measure of a comparison.
MEASURES: dict[str, Measure] = {
    "accuracy": Measure("accuracy", "accuracy", "Share of the images that are predicted right, as they are.", "more"),
    "worst_group_accuracy": Measure(
        "accuracy, worst group",
        "worst group",
        "Share predicted right of the group that is told worst, whichever that is: of those that the data name, or each "
        "class with and without what is painted.",
        "more",
    ),
    "conflict_accuracy": Measure(
        "conflict accuracy",
        "conflict accuracy",
        "Share predicted right after what was painted on an image of another class is pasted on, or what lies over whole "
        "images is taken off or put on.",
        "more",
    ),
    "conflict_flip_rate": Measure(
        "conflict flip rate",
        "conflict flips",
        "Share whose prediction changes when what was painted on an image of another class is pasted on, or what lies over "
        "whole images is taken off or put on.",
        "less",
    ),
    "without_accuracy": Measure(
        "accuracy, it taken off",
        "accuracy without",
        "Share of the images with what lies over whole images that are still predicted right when that is taken off.",
        "more",
    ),
    "without_flip_rate": Measure(
        "flip rate, it taken off",
        "flips without",
        "Share of the images with what lies over whole images whose prediction changes when that is taken off.",
        "less",
    ),
    "masked_accuracy": Measure(
        "accuracy, mask refilled",
        "accuracy refilled",
        "Share of the painted images that are still predicted right when what is painted is taken out.",
        "more",
    ),
    "gap": Measure(
        "accuracy lost by refilling",
        "lost by refilling",
        "Accuracy on the painted images as they are, less that when what is painted is taken out.",
        "nearer 0",
    ),
    "flip_rate": Measure(
        "flip rate",
        "flip rate",
        "Share of the painted images whose prediction changes when what is painted is taken out.",
        "less",
    ),
    "random_flip_rate": Measure(
        "flip rate elsewhere",
        "flips elsewhere",
        "The same for a random other place of the same size: how often taking anything out changes the prediction.",
        None,
    ),
    "specificity": Measure(
        "flips, times elsewhere",
        "times elsewhere",
        "How many times more often the painted part decides than a random place of its size; near 1, it is used no more "
        "than any other place.",
        "less",
    ),
    "swap_flip_rate": Measure(
        "flip rate, patch swapped",
        "swap flips",
        "Share of the painted images whose prediction changes when what is painted is exchanged for that of an image of "
        "another class; of painted surroundings, when the object is put before those of another class.",
        "less",
    ),
    "swap_accuracy": Measure(
        "accuracy, patch swapped",
        "accuracy swapped",
        "Share of the painted images that are predicted right when what is painted is exchanged for that of an image of "
        "another class: where the marker conflicts with the class.",
        "more",
    ),
    "mask_share": Measure(
        "heatmap inside mask",
        "CAM in paint",
        "Share of the heatmap that lies in what is painted. It may fall while the predictions stay as dependent as before.",
        "less",
    ),
}

#: Those on masked images, attributes of `RightReasons`.
REASONS = (
    "masked_accuracy",
    "gap",
    "flip_rate",
    "random_flip_rate",
    "specificity",
    "swap_flip_rate",
    "swap_accuracy",
    "mask_share",
)
#: Those that not every pair of evaluations has.
OPTIONAL = ("random_flip_rate", "specificity", "swap_flip_rate", "swap_accuracy")


def show(value: float | None, *, signed: bool = False) -> str:
    """Write a measure for people: three decimals, a dash where it is undefined."""
    if value is None:
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def show_specificity(reasons: RightReasons | None) -> str:
    """Write the specificity for people: times, or in words where only the masked part, or nothing, changes a prediction."""
    if reasons is None or reasons.random_flip_rate is None:
        return "–"
    if reasons.specificity is not None:
        return f"{reasons.specificity:.1f}×"
    return "only there" if reasons.flip_rate else "no flips"
