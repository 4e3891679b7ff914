"""What is measured at each check of a retune, and what that says of the classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from napari_cam_feedback.evaluation.comparison import ComparisonRow, reasons_rows
from napari_cam_feedback.evaluation.key_numbers import AS_IT_IS, CHANGED, CONFLICT, KeyNumber, share_interval
from napari_cam_feedback.evaluation.measures import show
from napari_cam_feedback.evaluation.right_reasons import RightReasons
from napari_cam_feedback.old_names import OldAttributes

#: What a score must win to count as better; of models that do the same they differ by less.
MIN_GAIN = 0.005
#: What plain accuracy counts where the shortcut helps on the validation images, and where it does not.
SHORTCUT_HELPS, SHORTCUT_IDLE = 0.5, 1.5
#: What the numbers are called where what lies over whole images is swapped.
SWAPPED, CHANGED_BY_SWAPPING = "accuracy with it swapped", "predictions that swapping it changes"
#: Share of what it tells beyond chance that must be left without the shortcut for a classifier to know something else.
LITTLE = 0.25


@dataclass(frozen=True)
class ValidationMetrics(OldAttributes):
    """How the classifier stands at some iteration.

    Attributes
    ----------
    iteration : int
        Steps done.
    n : int
        Validation images.
    accuracy : float
        On the validation images as they are.
    conflict_accuracy : float
        On the validation images whose shortcut conflicts with the class: the painted places refilled, and the painted patch
        of an image of another class pasted on.
    conflict_flip_rate : float
        Share of the validation images whose prediction that changes.
    held_out : RightReasons
        On the painted images held out; swapped patches and random places are measured at the start and the end only.
    scenes : int
        Where what is painted are surroundings, the conflict images are so many composites of held-out objects before the
        surroundings of painted images of other classes; else 0.
    familiar : tuple of float, or None
        There, accuracy on and share of changed predictions of composites of the objects learnt from. The held-out ones are
        few and hang on chance; these are more, and say too much good. The best checkpoint is chosen by both, half and half.
    pasted : int
        Where all that is painted is of one class, the conflict images are so many validation images, those of the other
        classes; else 0, and all are.
    marks : float or None
        At the start: how often a prediction for a painted image changes when what is painted on it is taken out or swapped
        (`marks_matter`), or where all are of one class, how often one of another class becomes that (`marks_mislead`).
    control : tuple of int, or None
        At the start: of the validation images that there are patches both of another class and of their own for, on how many
        the former alone changes the prediction, on how many the latter alone, and how many images they are. None where
        `marks` is None or not small, where one half-transparent mark is painted, and where there are no such images.
    share : float
        How far the weights are on the way from the given ones to those of the iteration; 1 but for those in between.
    lost, won : int
        Validation images as they are that the given classifier had right and this one has wrong, and the other way round.
    lost_by_class : dict of str to int
        By class, how many more were lost than won; classes that lost none are left out.
    neutral : tuple, or None
        Accuracy on the validation images with the painted places refilled, and how many of them were lost and won. None
        where surroundings are painted, or so many places that they cannot be refilled; where the shortcut does not help on
        the images as they are, it is measured at the start and the end only.
    plain_weight : float
        What plain accuracy counts in the score. Half where the shortcut helps on the validation images, since what it gave
        must go; else one and a half, since what is lost there is knowledge.
    probability, conflict_probability : float or None
        Mean probability of the true class on the images of `accuracy` (where the shortcut helps there: with the painted
        places refilled) and of `conflict_accuracy` (and of `familiar`, half and half), at the temperature that fits the
        former (`fit_temperature`), 0 to 1. None where nobody measured it.
    probability_shift : float or None
        Mean total variation distance between the probabilities of these two, 0 to 1.
    worst_group : tuple, or None
        Of the groups that the data name, that of the validation images as they are which is told worst: its name, its
        accuracy, how many images it has, and the ends of an interval that holds for all groups together. None where there
        are no two groups to choose from.
    moved : tuple of float, or None
        Accuracy that painted patches of other classes take where they are, and at the opposite sides of the image
        (`accuracy_lost`). Measured at the start and the end only.
    style : str
        How the validation images are changed to be conflict images where a style is to be taken out, as ``with it swapped``;
        else empty.
    style_alone : bool
        Whether a style is to be taken out and nothing that is painted.
    """

    iteration: int
    n: int
    accuracy: float
    conflict_accuracy: float
    conflict_flip_rate: float
    held_out: RightReasons
    scenes: int = 0
    pasted: int = 0
    familiar: tuple[float, float] | None = None
    marks: float | None = None
    control: tuple[int, int, int] | None = None
    share: float = 1.0
    lost: int = 0
    won: int = 0
    lost_by_class: dict[str, int] = field(default_factory=dict)
    neutral: tuple[float, int, int] | None = None
    plain_weight: float = SHORTCUT_HELPS
    probability: float | None = None
    conflict_probability: float | None = None
    probability_shift: float | None = None
    worst_group: tuple[str, float, int, float, float] | None = None
    moved: tuple[float, ...] | None = None
    style: str = ""
    style_alone: bool = False

    @property
    def conflicts(self) -> int:
        """Conflict images."""
        return self.scenes or self.pasted or self.n

    @property
    def selection_accuracy(self) -> float:
        """Conflict accuracy that the best checkpoint is chosen by; of composites the mean of held-out and learnt objects."""
        return self.conflict_accuracy if self.familiar is None else (self.conflict_accuracy + self.familiar[0]) / 2

    @property
    def selection_flip_rate(self) -> float:
        """Share of changed predictions there, likewise."""
        return self.conflict_flip_rate if self.familiar is None else (self.conflict_flip_rate + self.familiar[1]) / 2

    @property
    def score(self) -> float:
        """What the best checkpoint has most of: conflict accuracy, and few changed predictions.

        Plain accuracy counts too, so that a model that knows nothing, and so never changes its mind, is not chosen. Where
        probabilities are known they take the place of accuracies and changes: of a hundred images some lie on the verge and
        change sides by chance from check to check, while their probabilities hardly move.
        """
        plain, conflict, changed = self.accuracy, self.selection_accuracy, self.selection_flip_rate
        if self.probability is not None and self.conflict_probability is not None and self.probability_shift is not None:
            plain, conflict, changed = self.probability, self.conflict_probability, self.probability_shift
        return conflict + self.plain_weight * plain - 0.25 * changed

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**asdict(self), "held_out": self.held_out.to_json(), "score": self.score}


def check_rows(before: ValidationMetrics, after: ValidationMetrics) -> list[ComparisonRow]:
    """Return what two checks measured, for a table: validation images, then the painted images that were measured."""
    n = after.held_out.n
    painted = (
        f"{n} {'image' if n == 1 else 'images'} with it"
        if after.style_alone
        else f"{n} painted {'image' if n == 1 else 'images'}"
    )
    conflict = after.conflicts
    old, new = before.held_out, after.held_out
    return [
        ComparisonRow("validation", "accuracy", before.accuracy, after.accuracy, images=after.n),
        ComparisonRow("validation", "conflict_accuracy", before.conflict_accuracy, after.conflict_accuracy, images=conflict),
        ComparisonRow(
            "validation", "conflict_flip_rate", before.conflict_flip_rate, after.conflict_flip_rate, images=conflict
        ),
        *_group_rows(before, after),
        ComparisonRow(painted, "accuracy", old.accuracy, new.accuracy, images=n),
        *(_style_rows(painted, old, new) if after.style_alone else reasons_rows(painted, old, new)),
    ]


def _style_rows(images: str, old: RightReasons, new: RightReasons) -> list[ComparisonRow]:
    """What taking a style off says; nothing is painted, so that there is no heatmap inside of it."""
    return [
        ComparisonRow(images, "without_accuracy", old.masked_accuracy, new.masked_accuracy, images=new.n),
        ComparisonRow(images, "without_flip_rate", old.flip_rate, new.flip_rate, images=new.n),
    ]


def _group_rows(before: ValidationMetrics, after: ValidationMetrics) -> list[ComparisonRow]:
    if before.worst_group is None or after.worst_group is None:
        return []
    (old_name, old, *_), (name, new, images, *_) = before.worst_group, after.worst_group
    words = f"{show(old)} ({old_name})", f"{show(new)} ({name})"
    return [ComparisonRow("validation", "worst_group_accuracy", old, new, words, images=images)]


def key_numbers(before: ValidationMetrics, after: ValidationMetrics) -> tuple[KeyNumber, ...]:
    """Return the three numbers that come first, on the validation images."""
    conflict = after.conflicts
    rows = check_rows(before, after)[:3]
    changed = after.style or "with another class's marker pasted in"
    shown = (
        (AS_IT_IS, f"{after.n} validation images", after.n),
        (SWAPPED if after.style_alone else CONFLICT, f"{conflict} validation images {changed}", conflict),
        (CHANGED_BY_SWAPPING if after.style_alone else CHANGED, f"{conflict} validation images {changed}", conflict),
    )
    return tuple(
        KeyNumber(
            name,
            images,
            row.before,
            row.after,
            share_interval(row.before, count),
            share_interval(row.after, count),
            row.mark,
        )
        for row, (name, images, count) in zip(rows, shown, strict=True)
    )


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
    # One that tells no more than chance as it is has no shortcut to tell by either.
    return start.accuracy > chance and start.neutral[0] - chance < LITTLE * (start.accuracy - chance)


def little_else_sentence(start: ValidationMetrics) -> str:
    """Say so to the user, of a classifier that knows hardly anything else."""
    assert start.neutral is not None
    what = "it" if start.style_alone else "what is painted"
    return (
        f"Without {what} the model tells only {start.neutral[0]:.0%} of the validation images right, "
        f"{start.accuracy:.0%} with it, so it knows hardly anything else and must learn the classes anew: this takes more "
        "steps, and how well it can do so hangs on the number of training images."
    )
