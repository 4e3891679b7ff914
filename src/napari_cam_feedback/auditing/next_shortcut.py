"""The next shortcut: what a model leans on besides what was painted, and which images to paint for it.

Data seldom has one shortcut, and a model that is kept from one may turn to the next (Li et al. 2023, *A whac-a-mole
dilemma: shortcuts come in multiples where mitigating one amplifies others*, CVPR). So a model is asked whether it follows a
place that is not content: the border, a corner, the surroundings, or brightness and colour are taken over from an image of
another class, and the predictions that become that class are counted. What either image shows in its centre is left out of
that, as an audit does: a part of it that reaches to the place is followed for what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.auditing.colours import colours_of, with_colours
from napari_cam_feedback.auditing.cues import CUES, Cue
from napari_cam_feedback.auditing.pictures import make_picture
from napari_cam_feedback.auditing.run import audit
from napari_cam_feedback.data.cache import InputCache
from napari_cam_feedback.data.dataset import Dataset
from napari_cam_feedback.data.preprocessing import Preprocessing
from napari_cam_feedback.data.splits import TRAIN, VAL
from napari_cam_feedback.errors import DataError
from napari_cam_feedback.evaluation.intervals import Interval, rate_interval
from napari_cam_feedback.evaluation.sampling import draw
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.monitor import QUIET, Monitor, Part, takes_monitor
from napari_cam_feedback.torch_loader import torch

#: Images that a model is asked about at most, and their pixels at most; large ones cost a second for some ten.
MAX_ASKED, MAX_PIXELS = 100, 4e6
#: Images below which nothing can be told.
MIN_ASKED = 20
#: Share of predictions that must follow a place, at the lower end of its interval, before it counts as leant on.
MIN_FOLLOWED = 0.05
#: Images by which it is told whether the place tells the class in the data.
MAX_TOLD = 500
#: Images to paint next that are named at most.
MAX_OFFERED = 10
#: Share of a place that must be painted already for it to be no new one.
PAINTED_SHARE = 0.3
#: Share of what a place does that a smaller one must do for the larger not to be named beside it.
EXPLAINED = 0.75
_COLOUR = "brightness and colour"
_CUES = tuple(cue for cue in CUES if cue.place is not None or cue.name == _COLOUR)


@dataclass(frozen=True)
class NextShortcut:
    """A place, or brightness and colour, that a model follows though it is no content.

    Attributes
    ----------
    cue : str
        Its name, as of an audit.
    followed : float
        Share of the images, predicted right as they are, whose prediction becomes the class of another image when the place
        is taken over from that.
    interval : Interval
        Of it, 95 %.
    n : int
        Images asked about.
    accuracy, chance : float
        How well the class is told by it alone in the data (balanced accuracy), and by guessing.
    painted : bool
        Whether it was painted already, at least in part, or what was painted lies there for the most part.
    keys : tuple of str
        Training images to paint next: those on which the model follows it; empty where it is at no place.
    """

    cue: str
    followed: float
    interval: Interval
    n: int
    accuracy: float
    chance: float
    painted: bool
    keys: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What it leans on, how much, and what to do."""
        ends = f"{self.interval.low:.0%} to {self.interval.high:.0%}"
        what = "brightness and colour" if self.cue == _COLOUR else f"the {self.cue}"
        what += ", where what was painted lies" if self.painted else ""
        of = "" if self.cue == _COLOUR else " of an image"
        text = (
            f"The model {'still' if self.painted else 'also'} leans on {what}: with that{of} of another class, "
            f"{self.followed:.0%} of the predictions become that class ({ends}), and in the data it alone tells the class "
            f"of {self.accuracy:.0%} of the images (by chance {self.chance:.0%})."
        )
        if self.cue == _COLOUR:
            return (
                f"{text} That cannot be painted: take it out beside what is painted, in one retune, or collect images of "
                "each class in all lights."
            )
        more = ", …" if len(self.keys) > 3 else ""
        where = f", for instance in {', '.join(self.keys[:3])}{more}" if self.keys else ""
        what = "Paint it on more images" if self.painted else "Paint it as well"
        return f"{text} {what}{where}, and retune again."

    @property
    def fields(self) -> tuple[str, ...]:
        """The settings that the sentence is about, by their names in the API."""
        return ("colours",) if self.cue == _COLOUR else ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "interval": self.interval.to_json(), "keys": list(self.keys), "sentence": self.sentence}


@takes_monitor
def next_shortcuts(
    classifier: Classifier,
    dataset: Dataset,
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    seed: int = 0,
    monitor: Monitor = QUIET,
) -> tuple[NextShortcut, ...]:
    """Find what a model leans on that is no content, the strongest first.

    It must both be followed by the model and tell the class in the data: what an object shows at the edge may change
    predictions, too, but seldom to the class of a given other image.

    Parameters
    ----------
    classifier : Classifier
        As after a retune.
    dataset : Dataset
        Its data. The validation images are asked about where there are enough of two classes, else those of train.
    masks : mapping, optional
        Key to (H, W) bool of what was painted, to tell what is new.
    seed : int
        Which images are asked about.
    monitor : Monitor, optional
        Told of places done; once stopped, nothing more is found.

    Returns
    -------
    tuple of NextShortcut
        Empty where it leans on none, and where the data are too few to tell.
    """
    asked = _asked(classifier, dataset, seed)
    if asked is None:
        return ()
    inputs, labels, donors = asked
    right = _predicted(classifier, inputs) == labels
    suspects: list[tuple[Cue, Interval, float]] = []
    for number, cue in enumerate(_CUES):
        if monitor.stopped:
            return ()
        follows = (_predicted(classifier, _swapped(inputs, cue, donors, classifier.preprocessing)) == labels[donors])[right]
        interval = rate_interval(follows.astype(float), seed=seed)
        if interval is not None and interval.low > MIN_FOLLOWED:
            suspects.append((cue, interval, float(follows.mean())))
        monitor.progress(number + 1, len(_CUES), "looking for the next shortcut")
    if not suspects:
        return ()
    try:
        report = audit(dataset, most=MAX_TOLD, seed=seed, monitor=Part(monitor, silent=True))
    except DataError:  # too few images, or stopped
        return ()
    told = {finding.cue: finding for finding in report.findings}
    found = []
    for cue, interval, followed in suspects:
        finding = told.get(cue.name)
        if finding is None:
            continue
        keys = () if cue.place is None else _offered(classifier, dataset, cue, masks or {}, seed)
        found.append(
            NextShortcut(
                cue=cue.name,
                followed=followed,
                interval=interval,
                n=int(right.sum()),
                accuracy=finding.accuracy,
                chance=finding.chance,
                painted=_is_painted(cue, masks or {}),
                keys=keys,
            )
        )
    return tuple(sorted(_smallest(found, classifier.preprocessing.size), key=lambda each: -each.followed))


def _smallest(found: list[NextShortcut], size: tuple[int, int]) -> list[NextShortcut]:
    """Return what was found without the places of which a smaller one explains nearly all, with brightness and colour.

    A large place shows how bright the image is, too. Whoever painted it for that would paint much that is none.
    """
    colour = sum(each.followed for each in found if each.cue == _COLOUR)
    areas = {cue.name: int(cue.place(*size).sum()) for cue in _CUES if cue.place is not None}

    def explained(each: NextShortcut) -> bool:
        smaller = [other for other in found if areas.get(other.cue, np.inf) < areas.get(each.cue, 0)]
        return any(other.followed + colour >= EXPLAINED * each.followed for other in smaller)

    return [each for each in found if not explained(each)]


def _asked(classifier: Classifier, dataset: Dataset, seed: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray] | None:
    """Return inputs (N, C, h, w), labels (N,), and for each a row of another class; None where there are too few."""
    height, width = classifier.preprocessing.size
    count = int(min(MAX_ASKED, max(MIN_ASKED, MAX_PIXELS / (height * width))))
    for split in (VAL, TRAIN):
        if split not in dataset.split_names:
            continue
        indices = dataset.indices(split)
        indices = indices[dataset.labels[indices] >= 0]
        indices = draw(indices, dataset.labels[indices], count, seed)
        found = _with_donors(classifier, dataset, indices, seed)
        if found is not None and len(found[0]) >= MIN_ASKED:
            return found[1], dataset.labels[found[0]], found[2]
    return None


def _with_donors(
    classifier: Classifier, dataset: Dataset, indices: np.ndarray, seed: int
) -> tuple[np.ndarray, torch.Tensor, np.ndarray] | None:
    """Return the items that can be read (N,), their inputs (N, C, h, w), and for each a row of another class.

    None where they are of fewer than two classes.
    """
    read = list(InputCache(dataset, classifier.preprocessing).batches(indices, 32))
    items = np.concatenate([np.empty(0, np.int64), *(picked for picked, _ in read)])
    labels = dataset.labels[items]
    if len(np.unique(labels)) < 2:
        return None
    rng = np.random.default_rng(seed)
    donors = np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])
    return items, torch.cat([part for _, part in read]), donors


def _swapped(inputs: torch.Tensor, cue: Cue, donors: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """Return images with the cue of others: their place, or their brightness and colour.

    What an image shows in its centre is neither taken over nor covered.
    """
    others = torch.from_numpy(donors)
    if cue.place is None:
        return with_colours(inputs, colours_of(inputs[others]))
    around, content = _around(inputs, preprocessing)
    return torch.where(torch.from_numpy(cue.place(*inputs.shape[2:])) & ~content, around[others], inputs)


def _around(inputs: torch.Tensor, preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, C, h, w) without what they show in their centre, and where that is, bool (N, 1, h, w)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    pixels = (inputs * std + mean).clamp(0, 1).movedim(1, -1)
    pictures = [make_picture(each.expand(-1, -1, 3).numpy()) for each in pixels]
    around = torch.from_numpy(np.stack([each.around for each in pictures])).movedim(-1, 1)[:, : inputs.shape[1]]
    content = torch.from_numpy(np.stack([each.content for each in pictures]))
    return (around - mean) / std, content[:, None]


def _predicted(classifier: Classifier, inputs: torch.Tensor) -> np.ndarray:
    return np.concatenate([classifier.logits(part).argmax(1).cpu().numpy() for part in inputs.split(32)])


def _is_painted(cue: Cue, masks: Mapping[str, np.ndarray]) -> bool:
    """Whether what was painted covers some of the cue's place on any image, or lies in it for the most part on all together.

    Then what is followed there may be what was painted.
    """
    if cue.place is None:
        return False
    pairs = [(mask, cue.place(*mask.shape)) for mask in masks.values()]
    inside, painted = sum(int(mask[place].sum()) for mask, place in pairs), sum(int(mask.sum()) for mask, _ in pairs)
    return any(mask[place].mean() > PAINTED_SHARE for mask, place in pairs) or inside > painted / 2


def _offered(
    classifier: Classifier, dataset: Dataset, cue: Cue, masks: Mapping[str, np.ndarray], seed: int
) -> tuple[str, ...]:
    """Return training images on which the model follows the place, without a mask yet; spread over the classes."""
    indices = dataset.learnable()
    indices = np.array([index for index in indices if dataset.keys[int(index)] not in masks], np.int64)
    if TRAIN in dataset.split_names:
        indices = indices[dataset.splits[indices] == TRAIN]
    indices = draw(indices, dataset.labels[indices], 3 * MAX_OFFERED, seed)
    found = _with_donors(classifier, dataset, indices, seed)
    if found is None:
        return ()
    items, inputs, donors = found
    swapped = _swapped(inputs, cue, donors, classifier.preprocessing)
    follows = _predicted(classifier, swapped) == dataset.labels[items][donors]
    # Those that follow first; the others carry it as well.
    order = np.argsort(~follows, kind="stable")
    return tuple(dataset.keys[int(items[row])] for row in order[:MAX_OFFERED])
