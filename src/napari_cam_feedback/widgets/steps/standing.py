"""Where the user stands, and the next sensible thing to do: a sentence and its button. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from html import escape

from napari_cam_feedback.widgets.viewer.docks import COMPARE, LOOK, OPEN, PAINT, RETUNE

#: From so many painted images on, one in five is kept out of the learning and judges the result (`MIN_IMAGES_TO_HOLD_OUT`).
ENOUGH = 10


class Act(Enum):
    """What a button of the next step does."""

    LOAD = auto()
    OPEN = auto()
    LOOK = auto()
    SUGGEST = auto()
    STOP_SUGGESTING = auto()
    PAINT_BEST = auto()
    PROPOSE = auto()
    ANSWER = auto()
    RETUNE = auto()
    WATCH = auto()
    RESULT = auto()


@dataclass(frozen=True)
class Standing:
    """Where the user stands.

    Attributes
    ----------
    step : str
        The step whose page is shown.
    opened : bool
        Whether a project is open.
    loading : bool
        Whether something is being opened.
    looked : bool
        Whether the images were looked at since.
    painted : int
        Images whose masks would be learnt from.
    unused : int
        Painted images that would not be: of a test split, or without a class.
    of_style : bool
        Whether something over whole images is to be taken out, and not what is painted.
    suggesting : bool
        Whether it is being found out which images to paint.
    best : str or None
        The image to paint next, where that is known.
    here : bool
        Whether that image is shown.
    proposals : int
        Proposed masks that wait for an answer.
    retuning : str or None
        How far a retune is; None where none runs.
    result : str or None
        The verdict on a result that waits to be kept or discarded.
    decided : str
        What became of the last result, a sentence; empty where nothing was painted since then.
    versions : int
        How many versions of the model there are.
    """

    step: str = OPEN
    opened: bool = False
    loading: bool = False
    looked: bool = False
    painted: int = 0
    unused: int = 0
    of_style: bool = False
    suggesting: bool = False
    best: str | None = None
    here: bool = False
    proposals: int = 0
    retuning: str | None = None
    result: str | None = None
    decided: str = ""
    versions: int = 1


@dataclass(frozen=True)
class NextStep:
    """The next sensible thing.

    Attributes
    ----------
    sentence : str
        What it is, and why; HTML.
    buttons : tuple of (str, Act)
        What the user may press, the likeliest first; none where there is nothing to press.
    """

    sentence: str
    buttons: tuple[tuple[str, Act], ...] = ()


def titles(now: Standing) -> dict[str, str]:
    """Return what the strip says of each step: its name, and how far it is."""
    painted = f" {now.painted}/{ENOUGH}" if now.opened else ""
    return {
        OPEN: f"{OPEN} ✓" if now.opened else OPEN,
        LOOK: LOOK,
        PAINT: PAINT + painted,
        RETUNE: f"{RETUNE} …" if now.retuning is not None else RETUNE,
        COMPARE: f"{COMPARE} !" if now.result is not None else COMPARE,
    }


def next_step(now: Standing) -> NextStep:
    """Return the next sensible thing; where the page that is shown lacks something, that first."""
    if not now.opened or now.loading:
        return _opening(now)
    if now.retuning is not None:
        more = () if now.step == RETUNE else (("Watch", Act.WATCH),)
        return NextStep(f"Retuning{now.retuning}. You can go on looking and painting meanwhile.", more)
    if now.result is not None:
        said = f"A result waits: <b>{now.result}</b>."
        if now.step == COMPARE:
            return NextStep(f"{said} Look at some images before and after, then keep or discard it.")
        return NextStep(f"{said} Compare, then keep or discard it.", (("Compare", Act.RESULT),))
    if not now.looked and not now.painted and now.step == OPEN:
        return NextStep("Look at some images: the heatmap shows what the model uses.", (("Look", Act.LOOK),))
    if now.suggesting:
        return NextStep("Looking for the images that help most when they are painted …", (("Stop", Act.STOP_SUGGESTING),))
    if now.proposals and not now.decided:
        count = "1 proposed mask waits" if now.proposals == 1 else f"{now.proposals} proposed masks wait"
        answer = ("Look at them", Act.ANSWER)
        if now.painted >= ENOUGH:
            return NextStep(f"{now.painted} images are painted, and {count} for your answer.", (_RETUNE, answer))
        return NextStep(f"{count} for your answer; none counts before you accept it.", (answer, _best(now)))
    if now.decided:
        return NextStep(f"{now.decided} Look again: is something else used instead? Then paint that.", (_best(now),))
    if now.step == COMPARE and now.versions < 2:
        return NextStep(f"There is nothing to compare yet: {_of_painting(now)}", _paint_or_retune(now))
    if now.step == RETUNE and now.of_style:
        return NextStep("Something over whole images is to be taken out; nothing need be painted.", (_RETUNE,))
    if now.step == RETUNE and not now.painted:
        return NextStep(f"There is nothing to learn from yet: {_of_painting(now)}", (_best(now),))
    return NextStep(_capitalised(_of_painting(now)), _paint_or_retune(now))


_RETUNE = ("Start retune", Act.RETUNE)


def _opening(now: Standing) -> NextStep:
    if now.loading:
        return NextStep("Opening …", () if now.step == OPEN else (("Show", Act.OPEN),))
    if now.step == OPEN:
        return NextStep("Choose a sample, or your own model and images; then load it.", (("Load", Act.LOAD),))
    return NextStep("Nothing is open yet: open a sample, or a model with its images, first.", (("Open", Act.OPEN),))


def _best(now: Standing) -> tuple[str, Act]:
    if now.best is None:
        return "Find an image to paint", Act.SUGGEST
    if now.here:
        return "Take the brush", Act.PAINT_BEST
    return "Paint the next image" if now.painted else "Paint the best image", Act.PAINT_BEST


def _of_painting(now: Standing) -> str:
    unused = f" ({now.unused} more will not be learnt from: test images, or without a class)" if now.unused else ""
    if now.painted >= ENOUGH:
        return f"{now.painted} images are painted{unused}: enough to retune."
    if not now.painted:
        if now.here:
            return f"this image tells most: paint what the model should not use in it{unused}."
        where = (
            f"on {escape(now.best)}, which tells most" if now.best else f"on {ENOUGH} images; the best can be found for you"
        )
        return f"paint what is irrelevant {where}{unused}."
    next_one = " Next: this one." if now.here else f" Next: {escape(now.best)}." if now.best else ""
    images = "1 image is" if now.painted == 1 else f"{now.painted} images are"
    return (
        f"{images} painted{unused}; with {ENOUGH}, some are kept aside to judge the result.{next_one} "
        "Or let masks be proposed for images like these."
    )


def _paint_or_retune(now: Standing) -> tuple[tuple[str, Act], ...]:
    # Whoever has gone there may want to try with few.
    if now.painted >= ENOUGH or (now.painted and now.step == RETUNE):
        return _RETUNE, _best(now)
    if now.painted:
        return _best(now), ("Propose masks", Act.PROPOSE)
    return (_best(now),)


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
