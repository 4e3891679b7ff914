"""One word, with its reason, on whether a retune helped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_cam_feedback.retune.checks import Check

VerdictName = Literal["fixed", "improved", "no effect", "looks fixed but is not", "harmed"]

#: Differences of accuracies and rates below this are taken for chance.
MARGIN = 0.02
#: Share of changed predictions up to which a shortcut no longer decides.
FIXED_FLIP_RATE = 0.05
#: Share of the accuracy before that a fixed model must still have.
STILL_ABLE = 0.75
#: Fewer held-out painted images than this say little by themselves.
ENOUGH_HELD_OUT = 5


@dataclass(frozen=True)
class Verdict:
    """Whether it helped.

    Attributes
    ----------
    name : str
        ``fixed``, ``improved``, ``no effect``, ``looks fixed but is not`` or ``harmed``.
    reason : str
        One or two sentences with the numbers behind it.
    """

    name: VerdictName
    reason: str


def judge(before: Check, after: Check, *, held_out: bool) -> Verdict:
    """Judge a retune by two checks.

    Parameters
    ----------
    before, after : Check
        Of the classifier as it was and as it is now.
    held_out : bool
        Whether the painted images measured were kept out of the training.
    """
    gain = after.misled_accuracy - before.misled_accuracy
    drop = before.misled_flip_rate - after.misled_flip_rate
    numbers = (
        f"on {after.n} validation images made to lie by painted patches of other classes, accuracy went from "
        f"{before.misled_accuracy:.2f} to {after.misled_accuracy:.2f} and the share of changed predictions from "
        f"{before.misled_flip_rate:.2f} to {after.misled_flip_rate:.2f}; on the same images as they are, accuracy went from "
        f"{before.accuracy:.2f} to {after.accuracy:.2f}"
    )
    lost = after.accuracy < before.accuracy - MARGIN
    # A model that knows nothing changes its mind as rarely as one that is right for the right reasons.
    ignorant = max(after.accuracy, after.misled_accuracy) < STILL_ABLE * before.accuracy
    name: VerdictName
    if gain < -MARGIN or (lost and gain < MARGIN and (drop < MARGIN or ignorant)):
        name, reason = "harmed", f"The model got worse: {numbers}."
    elif before.misled_flip_rate <= MARGIN:
        name, reason = "no effect", f"The model hardly used what is painted to begin with: {numbers}."
    elif after.misled_flip_rate <= FIXED_FLIP_RATE and drop >= MARGIN and not ignorant:
        name, reason = "fixed", f"What is painted no longer decides: {numbers}."
    elif gain > MARGIN or drop > max(MARGIN, before.misled_flip_rate / 4):
        name, reason = "improved", f"What is painted decides less often than before: {numbers}."
    elif _cosmetic(before, after):
        name = "looks fixed but is not"
        reason = f"The heatmap left the painted part but the predictions still depend on it: {numbers}."
    else:
        name, reason = "no effect", f"Nothing changed beyond chance: {numbers}."
    if name in ("fixed", "improved") and after.accuracy < before.accuracy - MARGIN:
        reason += " Accuracy where the shortcut tells the truth fell, because the model no longer uses it."
    if not held_out:
        reason += " The patches are those learnt from; paint ten or more images for a judgement by others."
    elif after.held_out.n < ENOUGH_HELD_OUT:
        reason += f" The patches came from only {after.held_out.n} held-out images, so take this with care."
    return Verdict(name, reason)


def _cosmetic(before: Check, after: Check) -> bool:
    old, new = before.held_out.mask_share, after.held_out.mask_share
    return old is not None and new is not None and new <= old / 2 and old - new > MARGIN
