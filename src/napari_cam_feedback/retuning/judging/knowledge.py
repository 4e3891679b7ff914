"""What a classifier knows besides the shortcut, before anything is learnt."""

from __future__ import annotations

from napari_cam_feedback.retuning.judging.validation import ValidationMetrics

#: Share of what it tells beyond chance that must be left without the shortcut for a classifier to know something else.
LITTLE = 0.25


def knows_little_else(start: ValidationMetrics, classes: int) -> bool:
    """Tell whether a classifier that was measured at the start of a retune knows hardly anything but the shortcut.

    Its accuracy on the validation images beyond chance, as kappa has it (Cohen 1960): (accuracy - 1/K) / (1 - 1/K). With
    the painted places refilled, less than a quarter of that is left.

    Parameters
    ----------
    start : ValidationMetrics
        Of the classifier as it was given.
    classes : int
        K, the classes that the images show.

    Returns
    -------
    bool
        False where nobody measured it with the painted places refilled.
    """
    if start.neutral is None or classes < 2:
        return False
    chance = 1 / classes
    return start.neutral[0] - chance < LITTLE * (start.accuracy - chance)


def little_else_sentence(start: ValidationMetrics) -> str:
    """Say so to the user, of a classifier that knows hardly anything else."""
    assert start.neutral is not None
    return (
        f"Without what is painted the model tells only {start.neutral[0]:.0%} of the validation images right, "
        f"{start.accuracy:.0%} with it, so it knows hardly anything else and must learn the classes anew: this takes more "
        "steps, and how well it can do so hangs on the number of training images."
    )
