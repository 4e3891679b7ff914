"""The verdict on a retune against what lies over whole images, by validation images with it swapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_cam_feedback.retuning.judging.forgetting import forgetting_unknown, forgotten, on_groups, worst_group_fell
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics
from napari_cam_feedback.retuning.judging.verdict import (
    FIXED_FLIP_RATE,
    MARGIN,
    STILL_ABLE,
    Verdict,
    VerdictName,
    lower,
    times,
)

#: What to do then, where nothing is painted.
STYLE_ADVICE: dict[VerdictName, str] = {
    "fixed": "Look again whether something else is used instead.",
    "improved": "Keep it, give more images of each class with it and without it, and retune again.",
    "mixed": "Take weights nearer to the given ones.",
    "no effect": "See whether the model uses it at all; images shown with it and without it must differ in nothing else.",
    "harmed": "Do not use it; images shown with it and without it must differ in nothing else.",
    "failed": "Give more images of each class with it and without it, or a learning rate ten times larger.",
}


@dataclass(frozen=True)
class StyleVerdict(Verdict):
    """A verdict on a retune against what lies over whole images."""

    @property
    def advice(self) -> str:
        """What to do next, in a sentence."""
        return STYLE_ADVICE[self.name]


def judge_style(before: ValidationMetrics, after: ValidationMetrics, *, troubles: Sequence[str] = ()) -> StyleVerdict:
    """Judge a retune against a style by two checks.

    Validation images on which the style is swapped decide: taken off those that have it, put on the others, so that it
    conflicts with the class where it told it.

    Parameters
    ----------
    before, after : ValidationMetrics
        Of the classifier as it was and as it is now.
    troubles : sequence of str
        Why weights were thrown away during the run, beginnings of sentences.
    """
    gain = after.conflict_accuracy - before.conflict_accuracy
    drop = before.conflict_flip_rate - after.conflict_flip_rate
    lost = after.accuracy < before.accuracy - MARGIN
    ignorant = max(after.accuracy, after.conflict_accuracy) < STILL_ABLE * before.accuracy
    used = before.conflict_flip_rate > FIXED_FLIP_RATE
    quarter = max(MARGIN, (before.accuracy - before.conflict_accuracy) / 4)
    numbers = (
        f"on {after.n} validation images {after.style}, accuracy went from "
        f"{before.conflict_accuracy:.2f} to {after.conflict_accuracy:.2f} and the share of changed predictions from "
        f"{before.conflict_flip_rate:.2f} to {after.conflict_flip_rate:.2f}; as they are, accuracy went from "
        f"{before.accuracy:.2f} to {after.accuracy:.2f}"
    )
    if after.iteration == 0 and (troubles or used) and after == before:
        why = f"went astray {times(len(troubles))} ({lower(troubles[-1])})" if troubles else "found nothing better"
        reason = (
            f"The retune {why}, so its weights were thrown away and the model is as it was; give more images of "
            f"each class with it and without it: {numbers}."
        )
        return StyleVerdict("failed", reason)
    name: VerdictName
    if gain < -MARGIN or (lost and gain < MARGIN and (drop < MARGIN or ignorant)):
        name, reason = "harmed", f"The model got worse: {numbers}."
    elif not used:
        name, reason = "no effect", f"The model hardly used it to begin with: {numbers}."
    elif after.conflict_flip_rate <= FIXED_FLIP_RATE and drop >= MARGIN and not ignorant:
        name, reason = "fixed", f"It no longer decides: {numbers}."
    elif gain > quarter or drop > max(MARGIN, before.conflict_flip_rate / 4):
        name, reason = "improved", f"It decides less often than before: {numbers}."
    else:
        name, reason = "no effect", f"Nothing changed that counts: {numbers}."
    forgot = forgotten(before, after)
    if forgot and name in ("fixed", "improved"):
        name, reason = "mixed", f"It decides less often, but {forgot}: {numbers}. Take weights nearer to the given ones."
    elif forgot and name == "no effect":
        name, reason = "harmed", f"Nothing was won, and {forgot}: {numbers}."
    elif name in ("fixed", "improved") and worst_group_fell(before, after):
        name, reason = "mixed", f"It decides less often, but a group of images is told worse: {numbers}."
    elif name in ("fixed", "improved") and forgetting_unknown(before, after):
        reason += " Whether other things were forgotten was not measured, because it was stopped."
    if troubles:
        reason += f" On the way weights were thrown away {times(len(troubles))}: {lower(troubles[-1])}."
    limit = (
        " It is put on and taken off by what an image is as a whole, so look at images, too: taking it "
        f"off changed {before.held_out.flip_rate:.0%} of the predictions on {after.held_out.n} images that have it before, "
        f"{after.held_out.flip_rate:.0%} after."
    )
    return StyleVerdict(name, reason + limit + on_groups(before, after))
