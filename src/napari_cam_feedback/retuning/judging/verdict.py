"""One word, with its reason, on whether a retune helped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_cam_feedback.evaluation.right_reasons import RightReasons
from napari_cam_feedback.retuning.judging.forgetting import (
    change_interval,
    forgetting_unknown,
    forgotten,
    on_groups,
    worst_group_fell,
)
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics
from napari_cam_feedback.retuning.judging.relevance import HARDLY

VerdictName = Literal["fixed", "improved", "mixed", "no effect", "looks fixed but is not", "harmed", "failed"]

#: Differences of accuracies and rates below this are taken for chance.
MARGIN = 0.02
#: Share of changed predictions up to which a shortcut no longer decides.
FIXED_FLIP_RATE = 0.05
#: Share of the accuracy before that a fixed model must still have.
STILL_ABLE = 0.75
#: Fewer held-out painted images than this say little by themselves.
ENOUGH_HELD_OUT = 5
#: Share of held-out images that must change by refilling before that is taken for use of the painted part.
USED_FLIP_RATE = 0.2
_KEEP_MORE = "Take weights nearer to the given ones, or paint more images of the classes that lost."
#: Up to this specificity, the painted part is used no more than any other place.
UNSPECIFIC = 1.25


#: What each verdict says, in one sentence.
HEADLINES: dict[VerdictName, str] = {
    "fixed": "The shortcut no longer decides.",
    "improved": "The shortcut decides less often than before.",
    "mixed": "The shortcut decides less often, but something else was forgotten.",
    "no effect": "Nothing changed that counts.",
    "looks fixed but is not": "The heatmap left what is painted, but the predictions still depend on it.",
    "harmed": "The model got worse.",
    "failed": "Nothing better was found; the model is as it was.",
}


#: And what to do then.
ADVICE: dict[VerdictName, str] = {
    "fixed": "Look again whether something else is used instead; then paint that, and retune again.",
    "improved": "Keep it, paint more images on which it still matters, and retune again.",
    "mixed": "Take weights nearer to the given ones, or paint more images of the classes that lost.",
    "no effect": "See whether the masks cover what the heatmap shows, and paint more images on which it matters.",
    "looks fixed but is not": "Paint more images, or choose another method.",
    "harmed": "Do not use it; see whether the masks cover only what is irrelevant.",
    "failed": "Paint more images on which the model uses it, or choose another method.",
}


@dataclass(frozen=True)
class Verdict:
    """Whether it helped.

    Attributes
    ----------
    name : str
        ``fixed``, ``improved``, ``mixed`` (the shortcut decides less, and something else was forgotten), ``no effect``,
        ``looks fixed but is not``, ``harmed``, or ``failed`` (the weights were thrown away; the model is as it was).
    reason : str
        A sentence with the numbers that decided, and one on what the held-out painted images say.
    """

    name: VerdictName
    reason: str

    @property
    def headline(self) -> str:
        """The verdict in one sentence without numbers."""
        return HEADLINES[self.name]

    @property
    def advice(self) -> str:
        """What to do next, in a sentence."""
        return ADVICE[self.name]


@dataclass(frozen=True)
class _VerdictEvidence:
    """The measures that decide: how often predictions change when the shortcut is tampered with, and are right then."""

    before_accuracy: float
    after_accuracy: float
    before_flips: float
    after_flips: float
    margin: float
    where: str
    #: Measured on what the model has learnt from, at least half.
    learnt: bool = False

    @property
    def gain(self) -> float:
        return self.after_accuracy - self.before_accuracy

    @property
    def drop(self) -> float:
        return self.before_flips - self.after_flips

    @property
    def flips_fell(self) -> bool:
        return self.drop > max(self.margin, self.before_flips / 4)


def judge(before: ValidationMetrics, after: ValidationMetrics, *, held_out: bool, troubles: Sequence[str] = ()) -> Verdict:
    """Judge a retune by two checks.

    Validation images whose shortcut conflicts with the class decide, since there are many of them. Where conflicting patches
    hardly mislead the model, but refilling what is painted on the held-out images does, those decide. Where surroundings are
    painted and few objects are held out, those learnt from decide as well, and no more than *improved* is said.

    Parameters
    ----------
    before, after : ValidationMetrics
        Of the classifier as it was and as it is now.
    held_out : bool
        Whether the painted images measured were kept out of the training.
    troubles : sequence of str
        Why weights were thrown away during the run, beginnings of sentences.
    """
    found = _evidence(before, after, held_out)
    gain, drop, margin = found.gain, found.drop, found.margin
    numbers = (
        f"on {found.where}, accuracy went from "
        f"{found.before_accuracy:.2f} to {found.after_accuracy:.2f} and the share of changed predictions from "
        f"{found.before_flips:.2f} to {found.after_flips:.2f}; on the {after.n} validation images as they are, "
        f"accuracy went from {before.accuracy:.2f} to {after.accuracy:.2f}"
    )
    lost = after.accuracy < before.accuracy - MARGIN
    # A model that knows nothing changes its mind as rarely as one that is right for the right reasons.
    ignorant = max(after.accuracy, found.after_accuracy) < STILL_ABLE * before.accuracy
    # Where most of its knowledge went, a few more right answers than before may be guesses.
    quarter = max(margin, (before.accuracy - found.before_accuracy) / 4)
    name: VerdictName
    disturbed = _disturbed_alike(before)
    used = found.before_flips > max(margin, FIXED_FLIP_RATE) and not disturbed
    if after.iteration == 0 and (troubles or used) and after == before:
        return Verdict("failed", _thrown_away(troubles) + _on_painted("failed", before, after, held_out))
    if gain < -margin or (lost and gain < margin and (drop < margin or ignorant)):
        name, reason = "harmed", f"The model got worse: {numbers}."
    elif not used:
        name, reason = "no effect", f"The model hardly used what is painted to begin with: {numbers}."
        if not held_out:
            # One or two patches need not mislead on other images, whatever the model makes of them on their own.
            reason = f"What is painted hardly misleads the model on other images, and more masks may say more: {numbers}."
        elif disturbed:
            reason = (
                "Patches of the same class change about as many predictions as those of other classes, so the model hardly "
                f"uses what is painted, or the masks lie beside what it uses: {numbers}."
            )
        elif _beside(before):
            reason = f"The model hardly uses what is painted, or the masks lie beside what it uses: {numbers}."
    elif found.learnt and after.conflict_accuracy < before.conflict_accuracy - 1 / after.held_out.n:
        reason = f"The objects learnt from are told better, those held out are told worse: {numbers}."
        name = "no effect"
    elif found.flips_fell and lost and gain <= (quarter if ignorant else margin):
        name = "no effect"
        reason = (
            "Fewer predictions change, but hardly more of them are right where the shortcut conflicts with the class, and "
            f"plain accuracy fell: {numbers}. If the model knows nothing but the shortcut, train it anew."
        )
    elif found.after_flips <= FIXED_FLIP_RATE and drop >= margin and not ignorant:
        name, reason = "fixed", f"What is painted no longer decides: {numbers}."
        if found.learnt:
            name, reason = (
                "improved",
                f"What surrounds the objects learnt from no longer decides; others may differ: {numbers}.",
            )
        elif not held_out:
            # With two masks a model can leave these two patches and still follow all others.
            name, reason = "improved", f"The patches learnt from no longer decide; others may: {numbers}."
        elif _beside(before):
            name = "improved"
            reason = (
                "Patches of other images mislead the model no longer, but on the painted images what is painted hardly "
                f"mattered from the start, so the masks may lie beside what the model uses: {numbers}."
            )
        elif _still_used(before, after, held_out):
            name = "improved"
            reason = f"Patches of other images mislead the model no longer, but what is painted still matters: {numbers}."
    elif not found.flips_fell and _map_left(before, after):
        name = "looks fixed but is not"
        reason = f"The heatmap left the painted part but the predictions still depend on it: {numbers}."
    elif gain > quarter or found.flips_fell:
        name, reason = "improved", f"What is painted decides less often than before: {numbers}."
    elif gain > margin or drop > margin:
        # The best of many looks at the same images is a little better by chance alone.
        name, reason = "no effect", f"Less than a quarter of the harm is gone, too little to count: {numbers}."
    else:
        name, reason = "no effect", f"Nothing changed beyond chance: {numbers}."
    forgot = forgotten(before, after)
    worse = worst_group_fell(before, after)
    if worse and not forgot and name in ("fixed", "improved"):
        name, reason = "mixed", f"What is painted decides less often, but a group of images is told worse: {numbers}."
    if forgot and name in ("fixed", "improved"):
        name, reason = "mixed", f"What is painted decides less often, but {forgot}: {numbers}. {_KEEP_MORE}"
    elif forgot and name == "no effect":
        name, reason = "harmed", f"Nothing was won, and {forgot}: {numbers}."
    elif name in ("fixed", "improved") and forgetting_unknown(before, after):
        reason += " Whether other things were forgotten was not measured, because it was stopped."
    elif name in ("fixed", "improved") and lost:
        reason += " Accuracy where the shortcut tells the truth fell, because the model no longer uses it."
    if troubles:
        reason += f" On the way weights were thrown away {times(len(troubles))}: {lower(troubles[-1])}."
    return Verdict(name, reason + on_groups(before, after) + _on_painted(name, before, after, held_out))


def _thrown_away(troubles: Sequence[str]) -> str:
    if troubles:
        return (
            f"The retune went astray {times(len(troubles))} ({lower(troubles[-1])}), so its weights were thrown away and "
            "the model is as it was; try a learning rate ten times smaller, or leave it open."
        )
    return (
        "No check on the way was better than the start, so the weights were thrown away and the model is as it was; paint "
        "more images on which the model uses it, or try another method."
    )


def times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def hardly_used(before: ValidationMetrics) -> str | None:
    """Say that what is painted hardly matters on the painted images, where that is so before anything is learnt."""
    if before.marks is None or not _beside(before):
        return None
    return (
        "Taking out what is painted, or swapping it for what is painted on others, changed only "
        f"{before.marks:.0%} of the predictions on the painted images: either the model hardly uses it, or the masks lie "
        "beside what it uses. Look at some of them again."
    )


def _beside(before: ValidationMetrics) -> bool:
    """Whether what is painted hardly mattered on the painted images: then the masks may lie beside what the model uses."""
    return before.marks is not None and before.marks <= HARDLY


def _disturbed_alike(before: ValidationMetrics) -> bool:
    """Whether any patch disturbs the model alike, of whichever class, and what is painted hardly matters where it is.

    A patch hides what lies beneath it, which changes predictions of models, too, that never saw a shortcut.
    """
    if before.control is None or not _beside(before):
        return False
    other, same, n = before.control
    return change_interval(same, other, n)[0] <= 0


def _evidence(before: ValidationMetrics, after: ValidationMetrics, held_out: bool) -> _VerdictEvidence:
    old, new = before.held_out, after.held_out
    if before.conflict_flip_rate <= MARGIN and _enough(before, held_out) and _used(old):
        # One image more or less is chance.
        margin = max(MARGIN, 1 / old.n)
        return _VerdictEvidence(
            old.masked_accuracy,
            new.masked_accuracy,
            old.flip_rate,
            new.flip_rate,
            margin,
            f"{new.n} painted images not learnt from, with what is painted taken out (patches of other images hardly "
            "mislead this model)",
        )
    if before.familiar is not None and after.familiar is not None and not _enough(after, held_out):
        return _VerdictEvidence(
            before.selection_accuracy,
            after.selection_accuracy,
            before.selection_flip_rate,
            after.selection_flip_rate,
            MARGIN,
            f"painted objects before the surroundings of other classes (half of it by the {after.held_out.n} held out, "
            "half by those learnt from)",
            learnt=True,
        )
    return _VerdictEvidence(
        before.conflict_accuracy,
        after.conflict_accuracy,
        before.conflict_flip_rate,
        after.conflict_flip_rate,
        MARGIN,
        (
            f"{after.scenes} composites of {after.held_out.n} held-out objects before the surroundings of other classes"
            if after.scenes
            else f"{after.n} validation images {after.style}"
            if after.style
            else f"{after.conflicts} validation images with a conflicting shortcut (another class's marker pasted in)"
        ),
    )


def _enough(check: ValidationMetrics, held_out: bool) -> bool:
    return held_out and check.held_out.n >= ENOUGH_HELD_OUT


def _unspecific(reasons: RightReasons) -> bool:
    return reasons.specificity is not None and reasons.specificity <= UNSPECIFIC


def _used(reasons: RightReasons) -> bool:
    """Whether refilling changes many predictions, and more than at any other place."""
    return reasons.flip_rate >= USED_FLIP_RATE and not _unspecific(reasons)


def _still_used(before: ValidationMetrics, after: ValidationMetrics, held_out: bool) -> bool:
    new = after.held_out
    return _enough(after, held_out) and _used(new) and new.flip_rate > before.held_out.flip_rate * 3 / 4


def _map_left(before: ValidationMetrics, after: ValidationMetrics) -> bool:
    """Whether the heatmap's share inside the painted part fell to half or less."""
    old, new = before.held_out.mask_share, after.held_out.mask_share
    return old is not None and new is not None and new <= old / 2 and old - new > MARGIN


def _on_painted(name: VerdictName, before: ValidationMetrics, after: ValidationMetrics, held_out: bool) -> str:
    """What the painted images kept out of the training say, or that they are too few to say anything."""
    old, new = before.held_out, after.held_out
    if not held_out:
        return (
            " The patches are those learnt from, so no held-out masks confirm this; "
            "paint ten or more images for a judgement by others."
        )
    if not _enough(after, held_out):
        images = "1 painted image was" if new.n == 1 else f"{new.n} painted images were"
        return (
            f" Only {images} held out, too few to say how much the painted part itself matters; "
            "more painted images make that surer."
        )
    text = (
        f" Taking out what is painted changed {old.flip_rate:.0%} of the predictions before and {new.flip_rate:.0%} after "
        f"({new.n} painted images not learnt from)"
    )
    if old.mask_share is not None and new.mask_share is not None:
        text += f", and the heatmap's share in it went from {old.mask_share:.0%} to {new.mask_share:.0%}"
    text += "."
    if name == "no effect" and _unspecific(old):
        text += (
            f" Taking out any other place of that size changed as many ({old.random_flip_rate:.0%} before), "
            "so the model hardly used what is painted more than the rest of the image."
        )
    return text
