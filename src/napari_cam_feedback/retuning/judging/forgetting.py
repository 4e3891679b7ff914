"""What a retune lost: images told worse than before beyond chance, and the group that is told worst."""

from __future__ import annotations

import math

from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics

#: Classes named that lost images.
MAX_CLASSES_NAMED = 3


def change_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a change of accuracy on the same n images, of which some were lost and some won.

    The normal interval of a difference of paired proportions, after half an image was added to each of the four cells of
    the table (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions").
    """
    b, c, total = lost + 0.5, won + 0.5, n + 2
    change = (c - b) / total
    deviation = math.sqrt((b + c) / total - change**2) / math.sqrt(total)
    return change - 1.96 * deviation, change + 1.96 * deviation


def fell_beyond_chance(check: ValidationMetrics) -> bool:
    """Tell whether accuracy on the validation images as they are fell by more than chance since the start."""
    return change_interval(check.lost, check.won, check.n)[1] < 0


def forgotten(before: ValidationMetrics, after: ValidationMetrics) -> str | None:
    """Say what was lost beyond chance that the shortcut did not give; None where nothing was.

    Images with the shortcut in its usual place are told worse without it. So both must have fallen: accuracy on the images
    as they are, and with the painted places refilled, which the shortcut never helped.
    """
    if after.neutral is None or before.neutral is None:
        return None
    low, high = change_interval(after.lost, after.won, after.n)
    _, neutral_high = change_interval(after.neutral[1], after.neutral[2], after.n)
    if high >= 0 or neutral_high >= 0:
        return None
    sentence = (
        f"other things were forgotten (accuracy on the {after.n} validation images as they are changed by "
        f"{after.accuracy - before.accuracy:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"
    )
    worst = sorted(after.lost_by_class.items(), key=lambda item: (-item[1], item[0]))[:MAX_CLASSES_NAMED]
    if worst:
        sentence += "; lost most: " + ", ".join(f"{name} ({count})" for name, count in worst)
    return sentence + ")"


def forgetting_unknown(before: ValidationMetrics, after: ValidationMetrics) -> bool:
    """Whether accuracy fell and the measure that tells what was forgotten, which the start has, is missing."""
    return after.neutral is None and before.neutral is not None and fell_beyond_chance(after)


def worst_group_fell(before: ValidationMetrics, after: ValidationMetrics) -> bool:
    """Whether some group is told worse than the worst one was, beyond chance."""
    return before.worst_group is not None and after.worst_group is not None and after.worst_group[4] < before.worst_group[1]


def on_groups(before: ValidationMetrics, after: ValidationMetrics) -> str:
    """Say which group was told worst and which one is now; empty where the data name no groups."""
    if before.worst_group is None or after.worst_group is None:
        return ""
    (old, old_accuracy, *_), (new, accuracy, n, low, high) = before.worst_group, after.worst_group
    return (
        f" Of the groups that the data name, {old} was told worst ({old_accuracy:.2f}), and now {new} is: {accuracy:.2f} "
        f"({low:.2f} to {high:.2f}, {n} validation images)."
    )
